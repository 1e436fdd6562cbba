"""The job API: upload a song, follow it, cancel, restart, remove."""

from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response

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
                    "file": {"type": "string", "format": "binary", "description": "The song, in any common format."},
                    "quality": {"type": "string", "enum": list(QUALITIES), "default": "full"},
                },
            }
        }
    },
}


async def current_runner(request: Request) -> Runner:
    """The application's runner."""
    return request.app.state.runner


CurrentRunner = Annotated[Runner, Depends(current_runner)]


async def current_job(runner: CurrentRunner, job_id: JobId) -> Job:
    """The job of that id; 404 if there is none."""
    job = runner.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id}")
    return job


CurrentJob = Annotated[Job, Depends(current_job)]


def view(runner: Runner, job: Job) -> JobView:
    """The job as the API shows it."""
    return job_view(job, runner.position(job), job.ended and runner.storage.source(job).exists())


def body(runner: Runner, job: Job) -> str:
    """The job as JSON, serialised once for all subscribers."""
    key = job.revision, runner.position(job)
    if (cached := runner.json_cache.get(job.id)) and cached[0] == key:
        return cached[1]
    text = view(runner, job).model_dump_json()
    runner.json_cache[job.id] = key, text
    return text


@router.post(
    "/jobs", status_code=201, responses=errors(400, 408, 413, 415, 429, 507), openapi_extra={"requestBody": UPLOAD_BODY}
)
async def create_job(request: Request, response: Response, runner: CurrentRunner) -> JobView:
    """Uploads a song and queues it. Preview stems are available first; stems in the requested quality replace them."""
    if runner.waiting >= runner.settings.waiting:
        raise _too_many(runner)
    job = Job(id=new_id(), name="", state="uploading")
    runner.uploading += 1
    try:
        await _receive(request, runner, job)
        runner.submit(job)
    except OSError as error:
        await runner.storage.forget(job)
        raise HTTPException(507, f"the studio cannot store this song: {error.strerror}") from None
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
    """Streams the song to disk; its space is reserved before a byte is written."""
    storage, limit = runner.storage, runner.settings.max_upload_bytes

    async def reserve(size: int) -> None:
        if size > storage.ledger.get(job.id) and not await storage.claim(job, size):
            raise UploadError(507, "the studio's disk quota is used up, and no finished song is left to delete")

    storage.jobs.save(job)
    upload = await receive(request, storage.path(job) / disk.UPLOAD, limit, reserve)
    job.name, job.suffix = upload.name, suffix_of(upload.name)
    job.quality = upload.fields.get("quality", "full")
    if job.quality not in QUALITIES:
        raise UploadError(422, f"quality {job.quality[:40]!r} is unknown; allowed are {', '.join(QUALITIES)}")
    (storage.path(job) / disk.UPLOAD).rename(storage.source(job))


@router.get("/jobs", responses=errors())
async def list_jobs(runner: CurrentRunner) -> list[JobView]:
    """All jobs, oldest first."""
    return [view(runner, job) for job in runner.jobs]


@router.get("/jobs/{job_id}", responses=errors(404))
async def read_job(runner: CurrentRunner, job: CurrentJob) -> JobView:
    """One job."""
    return view(runner, job)


@router.delete("/jobs/{job_id}", responses={204: {"description": "It had ended; it is removed."}, **errors(404)})
async def delete_job(runner: CurrentRunner, job: CurrentJob) -> JobView:
    """Cancels a queued or running job (200, its state is then `cancelled`); removes one that has ended (204).

    `restore` brings back a removed job for some seconds (`undo_s` of `GET /studio`); then its files are deleted.
    """
    if job.ended:
        runner.remove(job)
        return Response(status_code=204)  # type: ignore[return-value]
    await runner.cancel(job)
    return view(runner, job)


@router.post("/jobs/{job_id}/restore", responses=errors(404))
async def restore_job(runner: CurrentRunner, job_id: JobId) -> JobView:
    """Brings back a job that was just removed."""
    job = runner.jobs.get_removed(job_id)
    if job is not None:
        runner.restore(job)
    return view(runner, job or await current_job(runner, job_id))


@router.post("/jobs/{job_id}/cancel", responses=errors(404))
async def cancel_job(runner: CurrentRunner, job: CurrentJob) -> JobView:
    """Cancels a queued or running job; one that has already ended stays as it is."""
    if not job.ended:
        await runner.cancel(job)
    return view(runner, job)


@router.post("/jobs/{job_id}/restart", responses=errors(404, 409, 429))
async def restart_job(
    runner: CurrentRunner, job: CurrentJob, quality: Annotated[Quality | None, Query()] = None
) -> JobView:
    """Separates an ended song again, in another quality if one is given."""
    if not job.ended or not runner.storage.source(job).exists():
        raise HTTPException(409, f"this job is {job.state}; only an ended job with its upload can be restarted")
    if runner.waiting >= runner.settings.waiting:
        raise _too_many(runner)
    runner.restart(job, quality)
    return view(runner, job)


@router.get("/studio", tags=["studio"], responses=errors())
async def studio(runner: CurrentRunner) -> Limits:
    """Limits of this studio."""
    limits: dict[str, Any] = {name: getattr(runner.settings, name, None) for name in Limits.model_fields}
    return Limits(**{**limits, "version": version("hyperstem")})
