"""Changes of the jobs, as server-sent events."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse

from hyperstem.web.api_jobs import CurrentJob, CurrentRunner, body
from hyperstem.web.guard import Receive, Scope, Send
from hyperstem.web.jobs.runner import Runner
from hyperstem.web.jobs.store import Job
from hyperstem.web.schema import errors

HEARTBEAT_S = 15.0
EVENTS_EVERY_S = 0.1
MAX_SUBSCRIBERS = 200
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The second stops nginx from buffering events."""
EVENT_STREAM = {
    200: {
        "description": "`event: job`, `data:` the job as JSON, at every change.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses={**EVENT_STREAM, **errors(404, 429)})
async def job_events(runner: CurrentRunner, job: CurrentJob) -> StreamingResponse:
    """Follows one job as server-sent events until it ends."""
    return _event_stream(_follow_one(runner, job), runner)


@router.get("/events", response_class=StreamingResponse, responses={**EVENT_STREAM, **errors(429)})
async def all_events(runner: CurrentRunner) -> StreamingResponse:
    """Follows all jobs as server-sent events: `known` with their ids, then `job` and `removed` (an id)."""
    return _event_stream(_follow_all(runner), runner)


def _event_stream(events: AsyncIterator[str], runner: Runner) -> StreamingResponse:
    if len(runner.subscribers) >= MAX_SUBSCRIBERS:
        raise HTTPException(429, "too many clients follow events already", {"retry-after": "30"})
    return _Events(events, media_type="text/event-stream", headers=HEADERS)


class _Events(StreamingResponse):
    """Closes its generator when the client leaves, so that the subscription ends too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[union-attr]


async def _wait(changed: asyncio.Event) -> bool:
    """Waits for a change; False after a heartbeat without one. Changes in quick succession count as one."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
        await asyncio.sleep(EVENTS_EVERY_S)
    was_set = changed.is_set()
    changed.clear()
    return was_set


async def _follow_one(runner: Runner, job: Job) -> AsyncIterator[str]:
    last = ""
    with runner.subscribers.subscribe() as changed:
        while not runner.stopping:
            if runner.jobs.get(job.id) is None:
                yield _event("removed", json.dumps(job.id))
                return
            now = body(runner, job)
            if now != last:
                yield _event("job", now)
                last = now
            if job.ended:
                return
            if not await _wait(changed):
                yield ": still here\n\n"


async def _follow_all(runner: Runner) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    with runner.subscribers.subscribe() as changed:
        yield "retry: 1000\n\n" + _event("known", json.dumps([job.id for job in runner.jobs]))
        while not runner.stopping:
            now = {job.id: body(runner, job) for job in runner.jobs}
            for job_id in sent.keys() - now.keys():
                yield _event("removed", json.dumps(job_id))
            for job_id, text in now.items():
                if sent.get(job_id) != text:
                    yield _event("job", text)
            sent = now
            if not await _wait(changed):
                yield ": still here\n\n"


def _event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"
