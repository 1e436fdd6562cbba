"""Downloads in every format: ordered, followed while they are made, fetched; or all of it in one request."""

from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from hyperstem.web.api_jobs import JobId, runner_of
from hyperstem.web.api_sound import WAV, Name, attachment, done_job, final_sound, mixed, title_of
from hyperstem.web.jobs.mixes import Mix, TooMany
from hyperstem.web.jobs.store import Job
from hyperstem.web.schema import errors
from hyperstem.web.sound.archive import stream_zip
from hyperstem.web.sound.mix import Lane
from hyperstem.web.sound.takes import MANIFEST, STEMS
from hyperstem.web.wishes import (
    MAX_LANES,
    FormatName,
    MixLane,
    MixOrder,
    MixView,
    Seconds,
    Subtype,
    Wish,
    download_name,
    file_name,
)

TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "stem.mp4": "audio/mp4",
}

router = APIRouter(prefix="/jobs/{job_id}", tags=["downloads"])

Single = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]
MixId = Annotated[str, Path(pattern="^[0-9a-f]{16}(-[0-9]{1,3})?$", description="The download's id.")]
BINARY = {"schema": {"type": "string", "format": "binary"}}
SOUND = {200: {"content": dict.fromkeys((*TYPES.values(), "application/zip"), BINARY)}}


def _ordered(request: Request, wish: Wish) -> Mix:
    try:
        return runner_of(request).mixes.order(wish.job, wish.order)
    except TooMany:
        raise HTTPException(429, "too many downloads wait already; try again later", {"retry-after": "10"}) from None


def _view(mix: Mix, mix_id: str, pick: int | None) -> MixView:
    return MixView(
        id=mix_id,
        state=mix.state,
        progress=mix.progress,
        error=mix.error,
        name=download_name(mix.job, mix.order, pick),
        url=f"api/v1/jobs/{mix.job.id}/mixes/{mix_id}/file",
    )


def _send(request: Request, mix: Mix, pick: int | None) -> Response:
    if mix.state == "failed":
        raise HTTPException(409, mix.error or "this download failed")
    folder, order = runner_of(request).mixes.folder(mix), mix.order
    if not all((folder / file).is_file() for file in mix.files):
        raise HTTPException(404, "this download is gone; order it again")
    name = download_name(mix.job, order, pick)
    if pick is None and len(mix.files) > 1:
        return _zip(mix.job, {file: folder / file for file in mix.files}, name)
    return FileResponse(folder / file_name(order, pick or 0), media_type=TYPES[order.format], headers=attachment(name))


def _zip(job: Job, files: dict[str, FilePath], name: str) -> StreamingResponse:
    named = {f"{title_of(job)}/{file}": path for file, path in files.items()}
    return StreamingResponse(stream_zip(named), media_type="application/zip", headers=attachment(name))


async def _made(request: Request, wish: Wish) -> Response:
    """The download in one request: ordered, awaited, sent."""
    mix = _ordered(request, wish)
    await mix.ended.wait()
    return _send(request, mix, wish.pick)


def _known(request: Request, job_id: str, mix_id: str) -> tuple[Mix, int | None]:
    key, _, number = mix_id.partition("-")
    mix = runner_of(request).mixes.get(done_job(request, job_id), key)
    pick = int(number) if number else None
    if mix is None or (pick is not None and pick >= len(mix.order.parts)):
        raise HTTPException(404, f"there is no download {mix_id}; order it with POST")
    return mix, pick


@router.post("/mixes", status_code=201, responses=errors(400, 404, 409, 413, 429))
async def order_mix(request: Request, response: Response, job_id: JobId, wanted: MixOrder) -> MixView:
    """Orders a download: it is made beside the queue of songs. The same order gives the same download.

    Without a stretch and without `lanes` the files are, byte for byte, those that `hyperstem separate` writes.
    """
    wish = Wish(done_job(request, job_id), wanted)
    mix = _ordered(request, wish)
    response.headers["location"] = f"{request.url.path}/{wish.id}"
    return _view(mix, wish.id, wish.pick)


@router.get("/mixes/{mix_id}", responses=errors(404, 409))
async def read_mix(request: Request, job_id: JobId, mix_id: MixId) -> MixView:
    """How far a download is."""
    mix, pick = _known(request, job_id, mix_id)
    return _view(mix, mix_id, pick)


@router.delete("/mixes/{mix_id}", status_code=204, response_class=Response, responses=errors(404, 409))
async def cancel_mix(request: Request, job_id: JobId, mix_id: MixId) -> Response:
    """Stops a download that is being made, and forgets one that is done."""
    mix, _ = _known(request, job_id, mix_id)
    runner_of(request).mixes.cancel(mix)
    return Response(status_code=204)


@router.get("/mixes/{mix_id}/file", response_class=Response, responses={**SOUND, **errors(400, 404, 409, 416)})
async def fetch_mix(request: Request, job_id: JobId, mix_id: MixId) -> Response:
    """Fetches a download that is done."""
    mix, pick = _known(request, job_id, mix_id)
    if not mix.ended.is_set():
        raise HTTPException(409, "this download is still being made")
    return _send(request, mix, pick)


From = Annotated[Seconds, Query(description="Where the stretch begins.")]
To = Annotated[Seconds | None, Query(description="Where it ends; the song's end if nothing is given.")]
Samples = Annotated[Subtype | None, Query(description="Of wav and flac.")]
ZIPPED = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
    **errors(404, 409, 429),
}
MADE = {**SOUND, 206: {"description": "The range asked for."}, **errors(400, 404, 409, 416, 429)}


@router.get("/song.stem.mp4", response_class=Response, responses=MADE)
async def download_song(request: Request, job_id: JobId, start_s: From = 0.0, end_s: To = None) -> Response:
    """The song and all stems in one file."""
    wanted = MixOrder(format="stem.mp4", start_s=start_s, end_s=end_s)
    return await _made(request, Wish(done_job(request, job_id), wanted))


@router.get("/stems.zip", response_class=StreamingResponse, responses=ZIPPED)
async def download_all(
    request: Request,
    job_id: JobId,
    format: FormatName = "wav",
    subtype: Samples = None,
    start_s: From = 0.0,
    end_s: To = None,
) -> Response:
    """All stems in one archive, with the manifest that `hyperstem separate` writes beside them."""
    wanted = MixOrder(format=format, subtype=subtype, start_s=start_s, end_s=end_s)
    wish = Wish(done_job(request, job_id), wanted)
    if not wish.is_there:
        return await _made(request, wish)
    folder = runner_of(request).storage.path(wish.job) / STEMS
    names = [*(f"{stem}.wav" for stem in wish.job.stems), MANIFEST]
    return _zip(
        wish.job,
        {name: folder / name for name in names if (folder / name).exists()},
        wish.name,
    )


@router.get("/stems/{stem}.wav", response_class=FileResponse, responses={**WAV, **MADE, 200: WAV[200]})
async def download_stem(
    request: Request, job_id: JobId, stem: Name, subtype: Samples = None, start_s: From = 0.0, end_s: To = None
) -> Response:
    """One stem, the same bytes as `hyperstem separate` writes."""
    wanted = MixOrder(format="wav", subtype=subtype, stem=stem, start_s=start_s, end_s=end_s)
    wish = Wish(done_job(request, job_id), wanted)
    if not wish.is_there:
        return await _made(request, wish)
    path = runner_of(request).storage.path(wish.job) / STEMS / f"{stem}.wav"
    return FileResponse(path, media_type="audio/wav", headers=attachment(wish.name))


@router.get("/stems/{stem}.{format}", response_class=Response, responses=MADE)
async def download_stem_as(
    request: Request,
    job_id: JobId,
    stem: Name,
    format: Single,
    subtype: Samples = None,
    start_s: From = 0.0,
    end_s: To = None,
) -> Response:
    """One stem in any format, made first where it is not there; the answer waits for that."""
    wanted = MixOrder(format=format, subtype=subtype, stem=stem, start_s=start_s, end_s=end_s)
    return await _made(request, Wish(done_job(request, job_id), wanted))


@router.get("/without/{stem}.{format}", response_class=Response, responses=MADE)
async def download_without(
    request: Request,
    job_id: JobId,
    stem: Name,
    format: Single,
    subtype: Samples = None,
    start_s: From = 0.0,
    end_s: To = None,
) -> Response:
    """The song without one stem, as `hyperstem separate --without` writes it."""
    wanted = MixOrder(format=format, subtype=subtype, without=stem, start_s=start_s, end_s=end_s)
    return await _made(request, Wish(done_job(request, job_id), wanted))


@router.get("/mix.{format}", response_class=Response, responses=MADE)
async def download_mix(
    request: Request,
    job_id: JobId,
    format: Single,
    lane: Annotated[
        list[str],
        Query(
            max_length=MAX_LANES,
            description="`stem:volume:pan`, once for each stem that sounds; volume 0 to 2, pan -1 to 1.",
            examples=[["drums:1:0", "vocals:0.5:-0.3"]],
        ),
    ],
    subtype: Samples = None,
    start_s: From = 0.0,
    end_s: To = None,
) -> Response:
    """The stems named, at those volumes and places; turned down as a whole where their sum would clip."""
    job = done_job(request, job_id)
    lanes = [_lane(text) for text in lane]
    wanted = MixOrder(format=format, subtype=subtype, lanes=lanes, start_s=start_s, end_s=end_s)
    wish = Wish(job, wanted)
    if format != "wav" or wish.order.subtype != "pcm16":
        return await _made(request, wish)
    sounds = [Lane(final_sound(request, job, one.stem), one.volume, one.pan) for one in lanes]
    return mixed(job, sounds, "mix", start_s, end_s)


def _lane(text: str) -> MixLane:
    stem, _, pan = text.rpartition(":")
    stem, _, volume = stem.rpartition(":")
    try:
        return MixLane(stem=stem, volume=float(volume), pan=float(pan))
    except ValueError:
        raise HTTPException(
            422, f"lane {text[:80]!r} must read stem:volume:pan, volume 0 to 2, pan -1 to 1, such as drums:1:0"
        ) from None
