"""The sound of a job: files to download, and the samples, outlines and spectrograms that the page shows."""

import re
from pathlib import Path as FilePath
from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from hyperstem.web.api_jobs import JobId, find_job, runner_of
from hyperstem.web.jobs.store import Job
from hyperstem.web.schema import errors
from hyperstem.web.sound.mix import Lane, out_channels, render, wav_bytes
from hyperstem.web.sound.orders import stretch
from hyperstem.web.sound.peaks import STEP
from hyperstem.web.sound.spectrogram import picture
from hyperstem.web.sound.takes import ORIGINAL, STEMS, Sound, find_sound, read_outline

MAX_FRAMES = 1 << 21
VOCALS = "vocals"
MAX_STEP = STEP << 12

router = APIRouter(prefix="/jobs/{job_id}", tags=["sound"])

Name = Annotated[
    str, Path(max_length=100, pattern=r"^[^/\x00]+$", description="A stem, or 'original' where that is heard.")
]
Take = Annotated[str, Query(max_length=20, description="original, preview, standard or full")]
WAV = {
    200: {"description": "16-bit PCM.", "content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}}
}
BYTES = {200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


def done_job(request: Request, job_id: str) -> Job:
    """The job of that id, or 404, or 409 where it is not done."""
    job = find_job(request, job_id)
    if job.state != "done":
        raise HTTPException(409, f"this song is {job.state}; its files are there when it is done")
    folder = runner_of(request).storage.path(job) / STEMS
    if not all((folder / f"{stem}.wav").is_file() for stem in job.stems):
        raise HTTPException(404, "this song's files are gone from the studio's folder")
    return job


def title_of(job: Job) -> str:
    """The song's name without its ending, fit to be a file's or a folder's on any system."""
    words = re.sub(r'[\\/:*?"<>|]', "_", FilePath(job.name).stem).strip(". ")
    return words or "song"


def attachment(name: str) -> dict[str, str]:
    """The header that names a download (RFC 6266)."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in " -_.()") else "_" for char in name)
    encoded = "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-_.") else f"%{byte:02X}"
        for byte in name.encode()
    )
    return {"content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"}


@router.get("/karaoke.wav", response_class=StreamingResponse, responses={**WAV, **errors(404, 409)})
async def download_karaoke(request: Request, job_id: JobId) -> StreamingResponse:
    """The song without its vocals."""
    job = done_job(request, job_id)
    if VOCALS not in job.stems:
        raise HTTPException(404, "this song has no stem named vocals")
    lanes = [Lane(final_sound(request, job, stem)) for stem in job.stems if stem != VOCALS]
    return mixed(job, lanes, "karaoke")


def final_sound(request: Request, job: Job, stem: str) -> Sound:
    """The finished stem."""
    return _sound(request, job, job.final or "", stem)


def mixed(
    job: Job, lanes: list[Lane], what: str, start_s: float = 0.0, end_s: float | None = None
) -> StreamingResponse:
    """A 16-bit wav file of a mix, made while it is sent.

    Raises:
        HTTPException: 409, it would be too large for a wav file.
    """
    channels, rate_hz = job.channels or 1, job.rate_hz or 1
    first, frames = stretch(start_s, end_s, job.frames or 0, rate_hz)
    if frames * out_channels(lanes, channels) * 2 > 0xFFFFFFFF - 36:
        raise HTTPException(409, "this mix would be larger than a wav file can be (4 GiB)")
    headers = attachment(f"{title_of(job)} - {what}.wav") | {"content-length": str(wav_bytes(lanes, channels, frames))}
    return StreamingResponse(render(lanes, channels, frames, rate_hz, first), media_type="audio/wav", headers=headers)


def _sound(request: Request, job: Job, take: str, lane: str) -> Sound:
    known = [ORIGINAL] if take == ORIGINAL else job.stems
    if take not in job.takes or lane not in known or job.channels is None:
        raise HTTPException(404, f"there is no {lane[:80]!r} in take {take!r} of this song yet")
    sound = find_sound(runner_of(request).storage.path(job), take, lane, job.channels, job.final)
    if sound is None:
        raise HTTPException(404, f"there is no {lane[:80]!r} in take {take!r} of this song yet")
    return sound


@router.get("/audio/{lane}", response_class=Response, responses={**BYTES, **errors(404)})
def read_audio(
    request: Request,
    job_id: JobId,
    lane: Name,
    take: Take,
    start: Annotated[int, Query(ge=0, lt=2**48)],
    frames: Annotated[int, Query(ge=1, le=MAX_FRAMES)],
) -> Response:
    """A stretch of a lane, also of one still being separated: interleaved 16-bit little-endian samples."""
    job = find_job(request, job_id)
    return _binary(_sound(request, job, take, lane).read(start, frames))


@router.get("/peaks/{lane}", response_class=Response, responses={**BYTES, **errors(404)})
def read_peaks(
    request: Request,
    job_id: JobId,
    lane: Name,
    take: Take,
    step: Annotated[int, Query(ge=STEP, le=MAX_STEP, multiple_of=STEP, description="Frames per point.")] = 1024,
    start: Annotated[int, Query(ge=0, lt=2**40, description="First point.")] = 0,
) -> Response:
    """The outline of a lane from a point on: least and greatest sample of each step, int8, full scale 127."""
    job = find_job(request, job_id)
    _sound(request, job, take, lane)
    try:
        return _binary(read_outline(runner_of(request).storage.path(job), take, lane, step, start))
    except FileNotFoundError:
        raise HTTPException(404, f"there is no outline of {lane[:80]!r} yet") from None


@router.get("/spectrogram/{lane}", response_class=Response, responses={**BYTES, **errors(404)})
def read_spectrogram(
    request: Request,
    job_id: JobId,
    lane: Name,
    take: Take,
    start: Annotated[int, Query(ge=0, lt=2**48)],
    frames: Annotated[int, Query(ge=1, lt=2**48)],
    columns: Annotated[int, Query(ge=1, le=2048)] = 800,
    rows: Annotated[int, Query(ge=1, le=512)] = 96,
) -> Response:
    """Levels of a stretch: uint8 row by row, highest frequency first; 0 is -96 dB, 255 is full scale."""
    job = find_job(request, job_id)
    sound = _sound(request, job, take, lane)
    stretch = sound.mapped()[start : start + frames]
    if not len(stretch):
        return _binary(np.zeros((rows, columns), np.uint8))
    present = max(1, round(columns * len(stretch) / frames))
    levels = np.zeros((rows, columns), np.uint8)
    levels[:, :present] = picture(stretch, job.rate_hz or 1, present, rows)
    return _binary(levels)


def _binary(values: np.ndarray) -> Response:
    return Response(values.tobytes(), media_type="application/octet-stream")
