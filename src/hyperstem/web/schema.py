"""What the API answers, as pydantic models: they make the OpenAPI description too."""

from typing import Any, Literal

from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from hyperstem.separation.quality import Quality
from hyperstem.web.jobs.store import Job

TOKEN = HTTPBearer(
    auto_error=False, scheme_name="token", description="The studio's token, where it was started with one."
)
"""How the OpenAPI description names the token; `guard.Guard` asks for it."""
JobId = Field(pattern="^[0-9a-f]{16}$", description="The job's id.")


class JobView(BaseModel):
    """One song and how far it is."""

    id: str = Field(description="16 hexadecimal digits.")
    name: str = Field(description="The file name it was sent with.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    phase: str = Field(description="waiting, decoding, preview, separating, finishing, or the final state.")
    eta_s: float | None = Field(description="Estimated seconds until it is done, when that can be told.")
    position: int | None = Field(description="Place in the queue, 1 is next.")
    error: str | None = Field(description="Why it failed, in words.")
    stems: list[str] = Field(description="Names of the stems, once known.")
    quality: Quality
    rate_hz: int | None
    channels: int | None
    frames: int | None = Field(description="Samples per channel.")
    duration_s: float | None
    takes: dict[str, int] = Field(description="What can be heard: frames ready of 'original', 'preview', 'full', ...")
    final: str | None = Field(description="The take that the stems' files hold, once done.")
    gain: float = Field(description="The one gain on all stems that keeps their peaks within full scale.")
    tempo_bpm: float | None = Field(description="Beats a minute, once done and where there is a pulse.")
    key: str | None = Field(description="Such as 'A minor', once done and where it can be told.")
    analysed: bool = Field(description="Whether `analysis` has beats, key and chords.")
    warnings: list[str]
    created: float = Field(description="Seconds since 1970.")
    restartable: bool = Field(description="Whether the upload is still there to separate again.")


class ErrorView(BaseModel):
    """Why a request was refused."""

    error: str


class Limits(BaseModel):
    """What this studio accepts."""

    version: str
    model: str
    max_upload_bytes: int
    max_length_s: float
    running: int
    waiting: int
    undo_s: float = Field(description="Seconds in which a removed song can be brought back.")


class Health(BaseModel):
    """Whether the studio works."""

    status: str = Field(description="ok, or what is wrong.")


class Session(BaseModel):
    """The token, to be exchanged for a cookie."""

    token: str = Field(max_length=1000)


def job_view(job: Job, position: int | None, restartable: bool) -> JobView:
    """The job as the API shows it."""
    values: dict[str, Any] = {key: getattr(job, key) for key in JobView.model_fields if hasattr(job, key)}
    return JobView(**values, position=position, restartable=restartable)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for refusals with those statuses, and those that any request may meet."""
    return {status: {"model": ErrorView, "description": _REASONS[status]} for status in (*statuses, 401, 403, 422)}


_REASONS = {
    400: "The request is malformed or broken off.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site or for another host name.",
    404: "There is no such job or stem.",
    408: "The upload stood still.",
    409: "The job is not in a state for that.",
    413: "The upload is too large.",
    415: "The upload is no multipart form, or plainly no sound.",
    416: "The range lies outside the file.",
    422: "A value is missing or out of range.",
    429: "Too many songs are waiting already.",
    507: "The studio's disk is full, or its disk quota used up by songs in progress.",
}
