"""Tempo, beats, key and chords of a song."""

from fastapi import APIRouter, HTTPException
from pydantic import TypeAdapter

from hyperstem.web.api_jobs import CurrentJob, CurrentRunner
from hyperstem.web.schema import errors
from hyperstem.web.sound.analysis import Analysis
from hyperstem.web.sound.takes import ANALYSIS

router = APIRouter(prefix="/jobs/{job_id}", tags=["sound"])
_ANALYSIS = TypeAdapter(Analysis)


@router.get("/analysis", responses=errors(404, 409))
def read_analysis(runner: CurrentRunner, job: CurrentJob) -> Analysis:
    """Tempo, beats, key and chords; unknown values are null or empty."""
    if job.state != "done":
        raise HTTPException(409, f"this song is {job.state}; its tempo and chords are there when it is done")
    try:
        return _ANALYSIS.validate_json((runner.storage.path(job) / ANALYSIS).read_bytes())
    except (OSError, ValueError):
        raise HTTPException(404, "this song has not been analysed; separate it again for tempo and chords") from None
