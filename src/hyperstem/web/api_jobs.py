"""The job API: send a song, follow it, cancel, restart, remove."""

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from hyperstem.separation.quality import QUALITIES, Quality
from hyperstem.web.jobs import disk
from hyperstem.web.jobs.runner import Runner
from hyperstem.web.jobs.store import Job, new_id
from hyperstem.web.schema import JobView, Limits, errors, job_view
from hyperstem.web.uploads import UploadError, receive, suffix_of

router = APIRouter(tags=["jobs"])

JobId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="The job's id.")]

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


def runner_of(request: Request) -> Runner:
    """The application's runner."""
    return request.app.state.runner


def find_job(request: Request, job_id: str) -> Job:
    """The job of that id, or 404."""
    job = runner_of(request).jobs.get(job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id}")
    return job


def view(runner: Runner, job: Job) -> JobView:
    """The job as the API shows it."""
    return job_view(job, runner.position(job), job.ended and runner.storage.source(job).exists())


def body(runner: Runner, job: Job) -> str:
    """The job as JSON, made once for all who listen."""
    key = job.revision, runner.position(job)
    if (kept := runner.bodies.get(job.id)) and kept[0] == key:
        return kept[1]
    text = view(runner, job).model_dump_json()
    runner.bodies[job.id] = key, text
    return text


@router.post(
    "/jobs", status_code=201, responses=errors(400, 408, 413, 415, 429, 507), openapi_extra={"requestBody": UPLOAD_BODY}
)
async def create_job(request: Request, response: Response) -> JobView:
    """Takes a song and queues it. Preview stems can be heard first; those in the quality asked for replace them."""
    runner = runner_of(request)
    if runner.waiting >= runner.settings.waiting:
        raise _too_many(runner)
    job = Job(id=new_id(), name="", state="uploading")
    runner.uploading += 1
    try:
        await _receive(request, runner, job)
        runner.submit(job)
    except OSError as error:
        await runner.storage.forget(job)
        raise HTTPException(507, f"the studio's disk does not take this song: {error.strerror}") from None
    except BaseException:
        await runner.storage.forget(job)
        raise
    finally:
        runner.uploading -= 1
    response.headers["location"] = f"{request.url.path}/{job.id}"
    return view(runner, job)


def _too_many(runner: Runner) -> HTTPException:
    return HTTPException(429, f"{runner.waiting} songs are waiting already; try again later", {"retry-after": "30"})


async def _receive(request: Request, runner: Runner, job: Job) -> None:
    """Streams the song to its place; the disk quota is held before a byte is written."""
    storage, limit = runner.storage, runner.settings.max_upload_bytes

    async def reserve(size: int) -> None:
        if size > storage.ledger.get(job.id) and not await storage.claim(job, size):
            raise UploadError(
                507, "the studio's disk quota is used up, and no song that has ended is left to go for it"
            )

    storage.jobs.save(job)
    upload = await receive(request, storage.path(job) / disk.UPLOAD, limit, reserve)
    job.name, job.suffix = upload.name, suffix_of(upload.name)
    job.quality = upload.fields.get("quality", "full")
    if job.quality not in QUALITIES:
        raise UploadError(422, f"quality {job.quality[:40]!r} is unknown; allowed are {', '.join(QUALITIES)}")
    (storage.path(job) / disk.UPLOAD).rename(storage.source(job))


@router.get("/jobs", responses=errors())
async def list_jobs(request: Request) -> list[JobView]:
    """All jobs, oldest first."""
    runner = runner_of(request)
    return [view(runner, job) for job in runner.jobs]


@router.get("/jobs/{job_id}", responses=errors(404))
async def read_job(request: Request, job_id: JobId) -> JobView:
    """One job."""
    return view(runner_of(request), find_job(request, job_id))


@router.delete("/jobs/{job_id}", responses={204: {"description": "It had ended; it is removed."}, **errors(404)})
async def delete_job(request: Request, job_id: JobId) -> JobView:
    """Cancels a job that waits or runs (200, its state is then `cancelled`); removes one that has ended (204).

    A removed job can be brought back with `restore` for some seconds (`undo_s` of `GET /studio`); then its files go.
    """
    runner, job = runner_of(request), find_job(request, job_id)
    if job.ended:
        runner.remove(job)
        return Response(status_code=204)  # type: ignore[return-value]
    await runner.cancel(job)
    return view(runner, job)


@router.post("/jobs/{job_id}/restore", responses=errors(404))
async def restore_job(request: Request, job_id: JobId) -> JobView:
    """Brings back a job that was just removed."""
    runner = runner_of(request)
    job = runner.jobs.get_removed(job_id)
    if job is not None:
        runner.restore(job)
    return view(runner, job or find_job(request, job_id))


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
    if not job.ended or not runner.storage.source(job).exists():
        raise HTTPException(
            409, f"this job is {job.state}; only one that has ended and kept its upload can be restarted"
        )
    if runner.waiting >= runner.settings.waiting:
        raise _too_many(runner)
    runner.restart(job, quality)
    return view(runner, job)


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
        undo_s=settings.undo_s,
    )
