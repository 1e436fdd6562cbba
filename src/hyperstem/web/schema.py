"""Responses of the API as pydantic models, from which its OpenAPI document is made."""

from typing import Any, Literal

from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from hyperstem.separation.quality import Quality
from hyperstem.web.jobs.store import Job

TOKEN = HTTPBearer(auto_error=False, scheme_name="token", description="The studio's token, if it was started with one.")
"""The token in the OpenAPI document; `guard.Guard` checks it."""


class JobView(BaseModel):
    """A song and its state."""

    id: str = Field(description="16 hexadecimal digits.")
    name: str = Field(description="The uploaded file's name.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    phase: str = Field(description="waiting, decoding, preview, separating, finishing, or the final state.")
    eta_s: float | None = Field(description="Estimated seconds until it is done, if known.")
    position: int | None = Field(description="Place in the queue; 1 is next.")
    error: str | None = Field(description="Why it failed.")
    stems: list[str] = Field(description="Names of the stems, once known.")
    quality: Quality
    rate_hz: int | None
    channels: int | None
    frames: int | None = Field(description="Samples per channel.")
    duration_s: float | None
    takes: dict[str, int] = Field(description="Available frames of 'original', 'preview', 'full', ...")
    final: str | None = Field(description="The take in the stems' files, once done.")
    gain: float = Field(description="Gain of all stems that keeps their peaks within full scale.")
    tempo_bpm: float | None = Field(description="Beats per minute, once done and if there is a regular beat.")
    key: str | None = Field(description="Such as 'A minor', once done and if it is clear.")
    analysed: bool = Field(description="Whether `analysis` is available.")
    warnings: list[str]
    created: float = Field(description="Seconds since 1970.")
    restartable: bool = Field(description="Whether the upload is kept, so that it can be separated again.")


class ErrorView(BaseModel):
    """Why a request was refused."""

    error: str


class Limits(BaseModel):
    """Limits of this studio."""

    version: str
    model: str
    max_upload_bytes: int
    max_length_s: float
    running: int
    waiting: int
    undo_s: float = Field(description="Seconds during which a removed song can be restored.")


class Health(BaseModel):
    """Whether the studio is healthy."""

    status: str = Field(description="ok, or the problem.")


class Session(BaseModel):
    """The token, to exchange for a cookie."""

    token: str = Field(max_length=1000)


def job_view(job: Job, position: int | None, restartable: bool) -> JobView:
    """The job as the API shows it."""
    values: dict[str, Any] = {key: getattr(job, key) for key in JobView.model_fields if hasattr(job, key)}
    return JobView(**values, position=position, restartable=restartable)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for errors with those statuses, and for those that any request may get."""
    return {status: {"model": ErrorView, "description": _REASONS[status]} for status in (*statuses, 401, 403, 422)}


_REASONS = {
    400: "The request is malformed or incomplete.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site or for another host name.",
    404: "There is no such job or stem.",
    408: "The upload stalled.",
    409: "The job's state does not allow this.",
    413: "The upload is too large.",
    415: "The upload is not a multipart form, or clearly not audio.",
    416: "The range is outside the file.",
    422: "A value is missing or out of range.",
    429: "Too many songs, downloads or clients wait already.",
    507: "The disk is full, or songs in progress have used up the disk quota.",
}
