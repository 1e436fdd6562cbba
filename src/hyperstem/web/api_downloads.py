"""The downloads API: order, follow and fetch a download, or get it in one request."""

from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from hyperstem.web.api_jobs import CurrentRunner
from hyperstem.web.api_sound import BINARY, WAV, DoneJob, Name, attachment, final_sound, mixed, title_of
from hyperstem.web.downloads import (
    MAX_LANES,
    Download,
    FormatName,
    MixLane,
    MixOrder,
    MixView,
    Seconds,
    Subtype,
    download_name,
    file_name,
)
from hyperstem.web.jobs.downloads import DownloadTask, QueueFullError
from hyperstem.web.jobs.runner import Runner
from hyperstem.web.jobs.store import Job
from hyperstem.web.schema import errors
from hyperstem.web.sound.archive import stream_zip
from hyperstem.web.sound.mix import Lane
from hyperstem.web.sound.takes import MANIFEST, STEMS

TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "stem.mp4": "audio/mp4",
}
Single = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]
MixId = Annotated[str, Path(pattern="^[0-9a-f]{16}(-[0-9]{1,3})?$", description="The download's id.")]
SOUND = {200: {"content": dict.fromkeys((*TYPES.values(), "application/zip"), BINARY)}}
ZIPPED = {200: {"content": {"application/zip": BINARY}}, **errors(404, 409, 429)}
RENDERED = {**SOUND, 206: {"description": "The requested range."}, **errors(400, 404, 409, 416, 429)}

router = APIRouter(prefix="/jobs/{job_id}", tags=["downloads"])


async def _options(
    subtype: Annotated[Subtype | None, Query(description="Sample format of wav and flac.")] = None,
    start_s: Annotated[Seconds, Query(description="Start of the section.")] = 0.0,
    end_s: Annotated[Seconds | None, Query(description="End of the section; default: the song's end.")] = None,
) -> dict[str, Any]:
    return {"subtype": subtype, "start_s": start_s, "end_s": end_s}


Options = Annotated[dict[str, Any], Depends(_options)]
"""Fields of a `MixOrder` that every download has as query parameters."""


def _submit(runner: Runner, download: Download) -> DownloadTask:
    try:
        return runner.downloads.submit(download.job, download.order)
    except QueueFullError:
        raise HTTPException(429, "too many downloads wait already; try again later", {"retry-after": "10"}) from None


def _view(task: DownloadTask, mix_id: str, pick: int | None) -> MixView:
    return MixView(
        id=mix_id,
        state=task.state,
        progress=task.progress,
        error=task.error,
        name=download_name(task.job, task.order, pick),
        url=f"api/v1/jobs/{task.job.id}/mixes/{mix_id}/file",
    )


def _send(runner: Runner, task: DownloadTask, pick: int | None) -> Response:
    if task.state == "failed":
        raise HTTPException(409, task.error or "this download failed")
    folder, order = runner.downloads.folder(task), task.order
    if not all((folder / file).is_file() for file in task.files):
        raise HTTPException(404, "this download has been deleted; order it again")
    name = download_name(task.job, order, pick)
    if pick is None and len(task.files) > 1:
        return _zip(task.job, {file: folder / file for file in task.files}, name)
    return FileResponse(folder / file_name(order, pick or 0), media_type=TYPES[order.format], headers=attachment(name))


def _zip(job: Job, files: dict[str, FilePath], name: str) -> StreamingResponse:
    named = {f"{title_of(job)}/{file}": path for file, path in files.items()}
    return StreamingResponse(stream_zip(named), media_type="application/zip", headers=attachment(name))


async def _render(runner: Runner, download: Download) -> Response:
    """Orders the download, waits until it is done, and sends it."""
    task = _submit(runner, download)
    await task.ended.wait()
    return _send(runner, task, download.pick)


def _find(runner: Runner, job: Job, mix_id: str) -> tuple[DownloadTask, int | None]:
    key, _, number = mix_id.partition("-")
    task = runner.downloads.get(job, key)
    pick = int(number) if number else None
    if task is None or (pick is not None and pick >= len(task.order.parts)):
        raise HTTPException(404, f"there is no download {mix_id}; order it with POST")
    return task, pick


@router.post("/mixes", status_code=201, responses=errors(400, 404, 409, 413, 429))
async def order_mix(
    request: Request, response: Response, runner: CurrentRunner, job: DoneJob, wanted: MixOrder
) -> MixView:
    """Orders a download, which is rendered beside the queue of songs. The same order gives the same download.

    Without a section and without `lanes` the files are, byte for byte, those that `hyperstem separate` writes.
    """
    download = Download(job, wanted)
    task = _submit(runner, download)
    response.headers["location"] = f"{request.url.path}/{download.id}"
    return _view(task, download.id, download.pick)


@router.get("/mixes/{mix_id}", responses=errors(404, 409))
async def read_mix(runner: CurrentRunner, job: DoneJob, mix_id: MixId) -> MixView:
    """State and progress of a download."""
    task, pick = _find(runner, job, mix_id)
    return _view(task, mix_id, pick)


@router.delete("/mixes/{mix_id}", status_code=204, response_class=Response, responses=errors(404, 409))
async def cancel_mix(runner: CurrentRunner, job: DoneJob, mix_id: MixId) -> Response:
    """Cancels a download, or forgets one that is done."""
    task, _ = _find(runner, job, mix_id)
    runner.downloads.cancel(task)
    return Response(status_code=204)


@router.get("/mixes/{mix_id}/file", response_class=Response, responses={**SOUND, **errors(400, 404, 409, 416)})
async def fetch_mix(runner: CurrentRunner, job: DoneJob, mix_id: MixId) -> Response:
    """Fetches a download that is done."""
    task, pick = _find(runner, job, mix_id)
    if not task.ended.is_set():
        raise HTTPException(409, "this download is still being made")
    return _send(runner, task, pick)


@router.get("/song.stem.mp4", response_class=Response, responses=RENDERED)
async def download_song(
    runner: CurrentRunner,
    job: DoneJob,
    start_s: Annotated[Seconds, Query(description="Start of the section.")] = 0.0,
    end_s: Annotated[Seconds | None, Query(description="End of the section; default: the song's end.")] = None,
) -> Response:
    """The song and all stems in one file."""
    return await _render(runner, Download(job, MixOrder(format="stem.mp4", start_s=start_s, end_s=end_s)))


@router.get("/stems.zip", response_class=StreamingResponse, responses=ZIPPED)
async def download_all(runner: CurrentRunner, job: DoneJob, options: Options, format: FormatName = "wav") -> Response:
    """All stems in one archive, with the manifest that `hyperstem separate` writes beside them."""
    download = Download(job, MixOrder(format=format, **options))
    if not download.exists:
        return await _render(runner, download)
    folder = runner.storage.path(job) / STEMS
    names = [*(f"{stem}.wav" for stem in job.stems), MANIFEST]
    return _zip(job, {name: folder / name for name in names if (folder / name).exists()}, download.name)


@router.get("/stems/{stem}.wav", response_class=FileResponse, responses={**WAV, **RENDERED, 200: WAV[200]})
async def download_stem(runner: CurrentRunner, job: DoneJob, stem: Name, options: Options) -> Response:
    """One stem, the same bytes as `hyperstem separate` writes."""
    download = Download(job, MixOrder(format="wav", stem=stem, **options))
    if not download.exists:
        return await _render(runner, download)
    path = runner.storage.path(job) / STEMS / f"{stem}.wav"
    return FileResponse(path, media_type="audio/wav", headers=attachment(download.name))


@router.get("/stems/{stem}.{format}", response_class=Response, responses=RENDERED)
async def download_stem_as(
    runner: CurrentRunner, job: DoneJob, stem: Name, format: Single, options: Options
) -> Response:
    """One stem in any format; the response waits until it is rendered."""
    return await _render(runner, Download(job, MixOrder(format=format, stem=stem, **options)))


@router.get("/without/{stem}.{format}", response_class=Response, responses=RENDERED)
async def download_without(
    runner: CurrentRunner, job: DoneJob, stem: Name, format: Single, options: Options
) -> Response:
    """The song without one stem, as `hyperstem separate --without` writes it."""
    return await _render(runner, Download(job, MixOrder(format=format, without=stem, **options)))


@router.get("/mix.{format}", response_class=Response, responses=RENDERED)
async def download_mix(
    runner: CurrentRunner,
    job: DoneJob,
    format: Single,
    lane: Annotated[
        list[str],
        Query(
            max_length=MAX_LANES,
            description="`stem:volume:pan`, once for each audible stem; volume 0 to 2, pan -1 to 1.",
            examples=[["drums:1:0", "vocals:0.5:-0.3"]],
        ),
    ],
    options: Options,
) -> Response:
    """The given stems at those volumes and pan positions; the whole mix is scaled down if it would clip."""
    lanes = [_lane(text) for text in lane]
    download = Download(job, MixOrder(format=format, lanes=lanes, **options))
    if format != "wav" or download.order.subtype != "pcm16":
        return await _render(runner, download)
    sounds = [Lane(final_sound(runner, job, one.stem), one.volume, one.pan) for one in lanes]
    return mixed(job, sounds, "mix", options["start_s"], options["end_s"])


def _lane(text: str) -> MixLane:
    stem, _, pan = text.rpartition(":")
    stem, _, volume = stem.rpartition(":")
    try:
        return MixLane(stem=stem, volume=float(volume), pan=float(pan))
    except ValueError:
        raise HTTPException(
            422, f"lane {text[:80]!r} must read stem:volume:pan, volume 0 to 2, pan -1 to 1, such as drums:1:0"
        ) from None
