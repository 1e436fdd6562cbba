"""The sound of a job: the karaoke mix, and the samples, peaks and spectrograms that the page shows."""

import re
from pathlib import Path as FilePath
from typing import Annotated
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response
from fastapi.responses import StreamingResponse

from hyperstem.web.api_jobs import CurrentJob, CurrentRunner
from hyperstem.web.jobs.runner import Runner
from hyperstem.web.jobs.store import Job
from hyperstem.web.schema import errors
from hyperstem.web.sound.mix import Lane, out_channels, render, wav_bytes
from hyperstem.web.sound.orders import frame_range
from hyperstem.web.sound.peaks import STEP
from hyperstem.web.sound.spectrogram import spectrogram_levels
from hyperstem.web.sound.takes import ORIGINAL, STEMS, Sound, find_sound, load_peaks

MAX_FRAMES = 1 << 21
VOCALS = "vocals"
MAX_STEP = STEP << 12

router = APIRouter(prefix="/jobs/{job_id}", tags=["sound"])

Name = Annotated[
    str, Path(max_length=100, pattern=r"^[^/\x00]+$", description="A stem, or 'original' where that is available.")
]
Take = Annotated[str, Query(max_length=20, description="original, preview, standard or full")]
BINARY = {"schema": {"type": "string", "format": "binary"}}
WAV = {200: {"description": "16-bit PCM.", "content": {"audio/wav": BINARY}}}
BYTES = {200: {"content": {"application/octet-stream": BINARY}}}


async def done_job(runner: CurrentRunner, job: CurrentJob) -> Job:
    """The separated job of that id; 404 if there is none, 409 if it is not done."""
    if job.state != "done":
        raise HTTPException(409, f"this song is {job.state}; its files are there when it is done")
    folder = runner.storage.path(job) / STEMS
    if not all((folder / f"{stem}.wav").is_file() for stem in job.stems):
        raise HTTPException(404, "this song's files are gone from the studio's folder")
    return job


DoneJob = Annotated[Job, Depends(done_job)]


def title_of(job: Job) -> str:
    """The song's name without its extension, valid as a file or folder name on any system."""
    words = re.sub(r'[\\/:*?"<>|]', "_", FilePath(job.name).stem).strip(". ")
    return words or "song"


def attachment(name: str) -> dict[str, str]:
    """The header that names a download (RFC 6266)."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in " -_.()") else "_" for char in name)
    encoded = quote(name, safe="")
    return {"content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"}


@router.get("/karaoke.wav", response_class=StreamingResponse, responses={**WAV, **errors(404, 409)})
async def download_karaoke(runner: CurrentRunner, job: DoneJob) -> StreamingResponse:
    """The song without its vocals."""
    if VOCALS not in job.stems:
        raise HTTPException(404, "this song has no stem named vocals")
    lanes = [Lane(final_sound(runner, job, stem)) for stem in job.stems if stem != VOCALS]
    return mixed(job, lanes, "karaoke")


def final_sound(runner: Runner, job: Job, stem: str) -> Sound:
    """The finished stem."""
    return _sound(runner, job, job.final or "", stem)


def mixed(
    job: Job, lanes: list[Lane], what: str, start_s: float = 0.0, end_s: float | None = None
) -> StreamingResponse:
    """A 16-bit wav file of a mix, rendered while it is sent.

    Raises:
        HTTPException: 409, it would be too large for a wav file.
    """
    channels, rate_hz = job.channels or 1, job.rate_hz or 1
    first, frames = frame_range(start_s, end_s, job.frames or 0, rate_hz)
    if frames * out_channels(lanes, channels) * 2 > 0xFFFFFFFF - 36:
        raise HTTPException(409, "this mix would be larger than a wav file can be (4 GiB)")
    headers = attachment(f"{title_of(job)} - {what}.wav") | {"content-length": str(wav_bytes(lanes, channels, frames))}
    return StreamingResponse(render(lanes, channels, frames, rate_hz, first), media_type="audio/wav", headers=headers)


def _sound(runner: Runner, job: Job, take: str, lane: str) -> Sound:
    lanes = [ORIGINAL] if take == ORIGINAL else job.stems
    sound = None
    if take in job.takes and lane in lanes and job.channels is not None:
        sound = find_sound(runner.storage.path(job), take, lane, job.channels, job.final)
    if sound is None:
        raise HTTPException(404, f"there is no {lane[:80]!r} in take {take!r} of this song yet")
    return sound


@router.get("/audio/{lane}", response_class=Response, responses={**BYTES, **errors(404)})
def read_audio(
    runner: CurrentRunner,
    job: CurrentJob,
    lane: Name,
    take: Take,
    start: Annotated[int, Query(ge=0, lt=2**48)],
    frames: Annotated[int, Query(ge=1, le=MAX_FRAMES)],
) -> Response:
    """Samples of a lane, also during separation: interleaved 16-bit little-endian."""
    return _binary(_sound(runner, job, take, lane).read(start, frames))


@router.get("/peaks/{lane}", response_class=Response, responses={**BYTES, **errors(404)})
def read_peaks(
    runner: CurrentRunner,
    job: CurrentJob,
    lane: Name,
    take: Take,
    step: Annotated[int, Query(ge=STEP, le=MAX_STEP, multiple_of=STEP, description="Frames per point.")] = 1024,
    start: Annotated[int, Query(ge=0, lt=2**40, description="First point.")] = 0,
) -> Response:
    """The waveform's peaks from a point on: lowest and highest sample of each step, int8, full scale 127."""
    _sound(runner, job, take, lane)
    try:
        return _binary(load_peaks(runner.storage.path(job), take, lane, step, start))
    except FileNotFoundError:
        raise HTTPException(404, f"there are no peaks of {lane[:80]!r} yet") from None


@router.get("/spectrogram/{lane}", response_class=Response, responses={**BYTES, **errors(404)})
def read_spectrogram(
    runner: CurrentRunner,
    job: CurrentJob,
    lane: Name,
    take: Take,
    start: Annotated[int, Query(ge=0, lt=2**48)],
    frames: Annotated[int, Query(ge=1, lt=2**48)],
    columns: Annotated[int, Query(ge=1, le=2048)] = 800,
    rows: Annotated[int, Query(ge=1, le=512)] = 96,
) -> Response:
    """Levels over time and frequency: uint8 row by row, highest frequency first; 0 is -96 dB, 255 is full scale."""
    samples = _sound(runner, job, take, lane).mapped()[start : start + frames]
    levels = np.zeros((rows, columns), np.uint8)
    if len(samples):
        filled = max(1, round(columns * len(samples) / frames))
        levels[:, :filled] = spectrogram_levels(samples, job.rate_hz or 1, filled, rows)
    return _binary(levels)


def _binary(values: np.ndarray) -> Response:
    return Response(values.tobytes(), media_type="application/octet-stream")
