"""The jobs' folders: exclusive access, the disk quota, and deletion some time after a job was removed."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from hyperstem.web.jobs import disk
from hyperstem.web.jobs.store import Job, JobStore
from hyperstem.web.settings import StudioSettings

log = logging.getLogger("hyperstem.studio")


class Storage:
    """The jobs, their folders and their share of the disk quota.

    Space is reserved before it is written: an upload's announced length, or the most that separation needs. When a
    folder is idle, the reservation is the folder's actual size. Used from one event loop.
    """

    def __init__(self, settings: StudioSettings, changed: Callable[[], None]) -> None:
        self.settings = settings
        self.jobs = JobStore(settings.folder / "jobs")
        self.ledger = disk.Ledger(settings.quota_bytes)
        self._changed = changed
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._deletions: dict[str, asyncio.TimerHandle] = {}
        self._background: set[asyncio.Task[None]] = set()

    def path(self, job: Job) -> Path:
        """The job's folder."""
        return self.jobs.folder / job.id

    def source(self, job: Job) -> Path:
        """The uploaded file."""
        return self.path(job) / f"source{job.suffix}"

    def request(self, job: Job, quality: str) -> dict[str, Any]:
        """The fields of a worker's request that every task of a song has."""
        return {
            "folder": str(self.path(job)),
            "source": str(self.source(job)),
            "name": job.name,
            "model": self.settings.model,
            "quality": quality,
        }

    @contextlib.asynccontextmanager
    async def folder_of(self, job: Job) -> AsyncIterator[Path]:
        """The job's folder, with exclusive access until the block ends."""
        async with self._locks[job.id]:
            try:
                yield self.path(job)
            finally:
                await self.measure(job)

    def save(self, job: Job) -> None:
        """Writes the job's state to disk; a full disk is logged, and the job continues."""
        try:
            self.jobs.save(job)
        except OSError as error:
            log.error("job %s cannot be saved: %s", job.id, error)

    # Removal

    def remove(self, job: Job) -> None:
        """Removes an ended job from the list; until its files are deleted, `restore` brings it back."""
        job.removed = True
        self.save(job)
        self._deletions[job.id] = asyncio.get_running_loop().call_later(self.settings.undo_s, self.forget, job)

    def restore(self, job: Job) -> None:
        """Brings back a job that was removed."""
        self._deletions.pop(job.id).cancel()
        job.removed = False
        self.save(job)

    def forget(self, job: Job) -> "asyncio.Task[None]":
        """Drops a job at once, and deletes its files as soon as its folder is free."""
        if deletion := self._deletions.pop(job.id, None):
            deletion.cancel()
        job.removed = True
        self.jobs.forget(job)
        self.ledger.set(job.id, 0)
        self._changed()
        return self.in_background(self._delete(job))

    async def _delete(self, job: Job) -> None:
        async with self._locks[job.id]:
            await asyncio.to_thread(disk.delete_job, job, self.path(job))
        self._locks.pop(job.id, None)

    # Space

    async def claim(self, job: Job, size: int) -> bool:
        """Reserves `size` bytes for `job`, and deletes the oldest ended jobs if needed.

        Returns:
            False, without deleting any job, if there is not enough space even so.
        """
        evicted: list[Job] = []
        excess = self.ledger.excess(job.id, size)
        for other in self._evictable():
            if excess > 0 and other is not job:
                excess -= self.ledger.get(other.id)
                evicted.append(other)
        if excess > 0:
            return False
        self.ledger.set(job.id, size)
        for other in evicted:
            log.info("job %s is deleted to keep the disk quota", other.id)
        await asyncio.gather(*map(self.forget, evicted))
        return True

    def _evictable(self) -> list[Job]:
        """Jobs that may be deleted to make room: removed ones first, then ended ones, oldest change first."""
        removed = [job for job in self.jobs.hidden() if job.removed]
        ended = sorted((job for job in self.jobs if job.ended), key=lambda job: job.changed)
        return [job for job in removed + ended if not self._locks[job.id].locked()]

    async def measure(self, job: Job) -> None:
        """Sets the job's reservation to the size of its folder."""
        size = await asyncio.to_thread(disk.used_bytes, self.path(job))
        if self.jobs.knows(job):
            self.ledger.set(job.id, size)

    async def measure_all(self) -> None:
        """Measures all idle jobs, and drops those whose folder has vanished."""
        for job in self.jobs:
            if job.ended and not self.path(job).is_dir():
                self.forget(job)
            elif not self._locks[job.id].locked():
                async with self.folder_of(job):
                    pass

    def clean(self) -> None:
        """Drops ended jobs that are too old, then the oldest ones until the quota is kept."""
        oldest = time.time() - self.settings.keep_days * 86400
        for job in self._evictable():
            if job.changed < oldest or self.ledger.total > self.settings.quota_bytes:
                log.info("job %s is deleted for its age or to keep the disk quota", job.id)
                self.forget(job)

    # Tasks

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Starts a task that `close` waits for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """Waits for running deletions; removed jobs are deleted at the next start."""
        for deletion in self._deletions.values():
            deletion.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
