"""The queue of downloads that must be rendered first, one process each; the newest ones stay on disk."""

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hyperstem.config import to_mapping
from hyperstem.errors import AudioError
from hyperstem.web.jobs import disk, process
from hyperstem.web.jobs.storage import Storage
from hyperstem.web.jobs.store import Job
from hyperstem.web.settings import StudioSettings
from hyperstem.web.sound.orders import Order
from hyperstem.web.sound.takes import MIXES

MAX_WAITING = 50
MAX_KEPT = 8
"""Downloads of one song that stay on disk, in case they are requested again."""
FLOAT_BYTES = 4
log = logging.getLogger("hyperstem.studio")


class QueueFullError(Exception):
    """Too many downloads wait already."""


@dataclass(eq=False)
class DownloadTask:
    """A download in the queue, being rendered, or finished."""

    job: Job
    order: Order
    state: Literal["waiting", "making", "done", "failed"] = "waiting"
    progress: float = 0.0
    error: str | None = None
    files: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    worker: "asyncio.Task[None] | None" = None


class DownloadQueue:
    """Renders downloads, as many at once as songs are separated. Used from one event loop."""

    def __init__(self, settings: StudioSettings, storage: Storage) -> None:
        self.settings, self.storage = settings, storage
        self._tasks: dict[str, dict[str, DownloadTask]] = {}
        """Job id to the job's downloads by key, oldest first."""
        self._slots = asyncio.Semaphore(settings.running)

    def get(self, job: Job, key: str) -> DownloadTask | None:
        """The download with this key, or None."""
        return self._tasks.get(job.id, {}).get(key)

    def folder(self, task: DownloadTask) -> Path:
        """The folder of the download's files."""
        return self.storage.path(task.job) / MIXES / task.order.key

    @property
    def waiting(self) -> int:
        """How many are in the queue or being rendered."""
        return sum(not task.ended.is_set() for tasks in self._tasks.values() for task in tasks.values())

    def submit(self, job: Job, order: Order) -> DownloadTask:
        """Queues a download of a separated song, unless the same one is queued or finished already.

        Raises:
            QueueFullError: too many downloads wait.
        """
        task = self.get(job, order.key)
        if task and task.state != "failed" and (task.state != "done" or self.folder(task).is_dir()):
            return task
        if self.waiting >= MAX_WAITING:
            raise QueueFullError
        tasks = self._tasks.setdefault(job.id, {})
        tasks.pop(order.key, None)
        task = tasks[order.key] = DownloadTask(job, order)
        task.worker = asyncio.create_task(self._run(task))
        return task

    def cancel_all(self, job: Job) -> None:
        """Cancels and forgets all downloads of a song."""
        for task in self._tasks.pop(job.id, {}).values():
            self._stop(task)

    def cancel(self, task: DownloadTask) -> None:
        """Cancels one download, or forgets it if it has ended."""
        self._tasks.get(task.job.id, {}).pop(task.order.key, None)
        self._stop(task)

    def _stop(self, task: DownloadTask) -> None:
        if task.worker and not task.worker.done():
            task.worker.cancel()
            self._end(task, "this download was cancelled")

    async def close(self) -> None:
        """Cancels everything."""
        workers = [task.worker for tasks in self._tasks.values() for task in tasks.values() if task.worker]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _run(self, task: DownloadTask) -> None:
        error: str | None = "the studio could not make this download; its log says why"
        try:
            async with self._slots, self.storage.folder_of(task.job) as folder:
                task.state = "making"
                await asyncio.to_thread(disk.delete_downloads, folder, self._keep_newest(task))
                await self._claim_space(task, folder)
                await self._render(task, folder)
                error = None
        except AudioError as refusal:
            error = str(refusal)
        except Exception:
            log.exception("download %s of job %s", task.order.key, task.job.id)
        finally:
            self._end(task, error)

    def _keep_newest(self, task: DownloadTask) -> set[str]:
        """Forgets the song's oldest finished downloads, and returns the keys of the others."""
        tasks = self._tasks.get(task.job.id, {})
        done = [key for key, other in tasks.items() if other.state == "done"]
        for key in done[: -(MAX_KEPT - 1)]:
            del tasks[key]
        return set(done[-(MAX_KEPT - 1) :])

    async def _claim_space(self, task: DownloadTask, folder: Path) -> None:
        job = task.job
        _, frames = task.order.frames(job.frames or 0, job.rate_hz or 1)
        size = frames * max(2, job.channels or 1) * FLOAT_BYTES * (len(task.order.parts) + 1)
        if not await self.storage.claim(job, await asyncio.to_thread(disk.used_bytes, folder) + size):
            raise AudioError("the studio's disk quota has no room for this download")

    async def _render(self, task: DownloadTask, folder: Path) -> None:
        async def handle(message: dict[str, Any]) -> None:
            if message["event"] == "progress":
                task.progress = message["done"]
            elif message["event"] == "done":
                task.files = message["files"]

        job = task.job
        request = {
            **self.storage.request(job, job.final or job.quality),
            "order": to_mapping(task.order),
            "target": str(self.folder(task)),
        }
        await process.run_worker(self.settings, request, folder / disk.LOG, handle)

    def _end(self, task: DownloadTask, error: str | None) -> None:
        if task.ended.is_set():
            return
        task.state, task.error = "failed" if error else "done", error
        task.progress = task.progress if error else 1.0
        task.ended.set()
