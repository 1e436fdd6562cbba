"""Tempo, beats, key and chords of a song."""

from fastapi import APIRouter, HTTPException, Request
from pydantic import TypeAdapter

from hyperstem.web.api_jobs import JobId, find_job, runner_of
from hyperstem.web.schema import errors
from hyperstem.web.sound.analysis import Analysis
from hyperstem.web.sound.takes import ANALYSIS

router = APIRouter(prefix="/jobs/{job_id}", tags=["sound"])
_ANALYSIS = TypeAdapter(Analysis)


@router.get("/analysis", responses=errors(404, 409))
def read_analysis(request: Request, job_id: JobId) -> Analysis:
    """Tempo, beats, key and chords; what could not be told is null or empty."""
    job = find_job(request, job_id)
    if job.state != "done":
        raise HTTPException(409, f"this song is {job.state}; its tempo and chords are there when it is done")
    try:
        return _ANALYSIS.validate_json((runner_of(request).storage.path(job) / ANALYSIS).read_bytes())
    except (OSError, ValueError):
        raise HTTPException(
            404, "tempo and chords of this song are not known; separate it again to find them"
        ) from None
