"""The job API: send a song, follow it, cancel, restart, remove."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from hyperstem.web.jobs.runner import Runner
from hyperstem.web.jobs.store import Job, new_id
from hyperstem.web.schema import JobView, Limits, errors, job_view
from hyperstem.web.settings import QUALITIES
from hyperstem.web.uploads import UploadError, receive, suffix_of

HEARTBEAT_S = 15.0
EVENTS_EVERY_S = 0.1
MAX_LISTENERS = 200

router = APIRouter(prefix="/api", tags=["jobs"])

JobId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="The job's id.")]
Quality = Literal["preview", "standard", "full"]

UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "The song, in any common sound format.",
                    },
                    "quality": {"type": "string", "enum": list(QUALITIES), "default": "full"},
                },
            }
        }
    },
}
EVENT_STREAM = {
    200: {
        "description": "`event: job`, `data:` the job as JSON, at every change.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def runner_of(request: Request) -> Runner:
    """The application's runner."""
    return request.app.state.runner


def find_job(request: Request, job_id: str) -> Job:
    """The job of that id, or 404."""
    job = runner_of(request).store.get(job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id}")
    return job


def view(runner: Runner, job: Job) -> JobView:
    """The job as the API shows it."""
    return job_view(job, runner.position(job), job.ended and runner.source(job).exists())


@router.post(
    "/jobs", status_code=201, responses=errors(400, 408, 413, 415, 429, 507), openapi_extra={"requestBody": UPLOAD_BODY}
)
async def create_job(request: Request, response: Response) -> JobView:
    """Takes a song and queues it. Preview stems can be heard first; those in the quality asked for replace them."""
    runner = runner_of(request)
    settings = runner.settings
    if runner.waiting >= settings.waiting:
        raise HTTPException(429, f"{runner.waiting} songs are waiting already; try again later", {"retry-after": "30"})
    length = request.headers.get("content-length", "")
    spare = int(length) if length.isdecimal() else 0
    if spare <= settings.max_upload_bytes:
        runner.clean(spare)
        if runner.used_bytes() + spare > settings.quota_bytes:
            raise HTTPException(507, "the studio's disk quota is used up by songs in progress")
    job = Job(id=new_id(), name="")
    folder = runner.path(job)
    folder.mkdir()
    runner.uploading += 1
    try:
        upload = await receive(request, folder / "upload", settings.max_upload_bytes)
        job.name, job.suffix = upload.name, suffix_of(upload.name)
        job.quality = upload.fields.get("quality", "full")
        if job.quality not in QUALITIES:
            raise UploadError(422, f"quality {job.quality[:40]!r} is unknown; allowed are {', '.join(QUALITIES)}")
        (folder / "upload").rename(runner.source(job))
        await runner.submit(job)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        runner.uploading -= 1
    response.headers["location"] = f"/api/jobs/{job.id}"
    return view(runner, job)


@router.get("/jobs", responses=errors())
async def list_jobs(request: Request) -> list[JobView]:
    """All jobs, oldest first."""
    runner = runner_of(request)
    return [view(runner, job) for job in runner.store]


@router.get("/jobs/{job_id}", responses=errors(404))
async def read_job(request: Request, job_id: JobId) -> JobView:
    """One job."""
    return view(runner_of(request), find_job(request, job_id))


@router.delete("/jobs/{job_id}", responses={204: {"description": "It had ended; it is removed."}, **errors(404)})
async def delete_job(request: Request, job_id: JobId) -> JobView:
    """Cancels a job that waits or runs (200, its state is then `cancelled`); removes one that has ended (204)."""
    runner, job = runner_of(request), find_job(request, job_id)
    if job.ended:
        runner.remove(job)
        return Response(status_code=204)  # type: ignore[return-value]
    await runner.cancel(job)
    return view(runner, job)


@router.post("/jobs/{job_id}/cancel", responses=errors(404))
async def cancel_job(request: Request, job_id: JobId) -> JobView:
    """Cancels a job that waits or runs; one that has ended meanwhile stays as it is."""
    runner, job = runner_of(request), find_job(request, job_id)
    if not job.ended:
        await runner.cancel(job)
    return view(runner, job)


@router.post("/jobs/{job_id}/restart", responses=errors(404, 409, 429))
async def restart_job(request: Request, job_id: JobId, quality: Annotated[Quality | None, Query()] = None) -> JobView:
    """Separates a song that has ended once more, in another quality if one is given."""
    runner, job = runner_of(request), find_job(request, job_id)
    if not job.ended or not runner.source(job).exists():
        raise HTTPException(
            409, f"this job is {job.state}; only one that has ended and kept its upload can be restarted"
        )
    if runner.waiting >= runner.settings.waiting:
        raise HTTPException(429, f"{runner.waiting} songs are waiting already; try again later", {"retry-after": "30"})
    job.quality, job.attempts = quality or job.quality, 0
    await runner.submit(job)
    return view(runner, job)


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses={**EVENT_STREAM, **errors(404, 429)})
async def job_events(request: Request, job_id: JobId) -> StreamingResponse:
    """Follows one job as server-sent events, until it has ended."""
    job = find_job(request, job_id)
    return _event_stream(_follow_one(runner_of(request), job), runner_of(request))


@router.get("/events", response_class=StreamingResponse, responses={**EVENT_STREAM, **errors(429)})
async def all_events(request: Request) -> StreamingResponse:
    """Follows all jobs as server-sent events: `known` with their ids, then `job` and `removed` (an id)."""
    return _event_stream(_follow_all(runner_of(request)), runner_of(request))


@router.get("/studio", tags=["studio"], responses=errors())
async def studio(request: Request) -> Limits:
    """What this studio accepts."""
    settings = runner_of(request).settings
    return Limits(
        version=version("hyperstem"),
        model=settings.model,
        max_upload_bytes=settings.max_upload_bytes,
        max_length_s=settings.max_length_s,
        running=settings.running,
        waiting=settings.waiting,
    )


def _event_stream(events: AsyncIterator[str], runner: Runner) -> StreamingResponse:
    if runner.listeners >= MAX_LISTENERS:
        raise HTTPException(429, "too many listen already", {"retry-after": "30"})
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _wait(changed: asyncio.Event) -> bool:
    """Waits for a change, False when none came in a while; changes in quick succession count as one."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
        await asyncio.sleep(EVENTS_EVERY_S)
    was_set = changed.is_set()
    changed.clear()
    return was_set


async def _follow_one(runner: Runner, job: Job) -> AsyncIterator[str]:
    last = ""
    with runner.listen() as changed:
        while not runner.stopping:
            if runner.store.get(job.id) is None:
                yield _event("removed", json.dumps(job.id))
                return
            body = view(runner, job).model_dump_json()
            if body != last:
                yield _event("job", body)
                last = body
            if job.ended:
                return
            if not await _wait(changed):
                yield ": still here\n\n"


async def _follow_all(runner: Runner) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    with runner.listen() as changed:
        yield "retry: 1000\n\n" + _event("known", json.dumps([job.id for job in runner.store]))
        while not runner.stopping:
            now = {job.id: view(runner, job).model_dump_json() for job in runner.store}
            for job_id in sent.keys() - now.keys():
                yield _event("removed", json.dumps(job_id))
            for job_id, body in now.items():
                if sent.get(job_id) != body:
                    yield _event("job", body)
            sent = now
            if not await _wait(changed):
                yield ": still here\n\n"


def _event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"
