"""The jobs' folders: one at work in each, within the disk quota, and gone some time after a job was removed."""

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
    """Knows the jobs and what they hold of the disk quota, and lets them go.

    What is held for a job is claimed before it is written: what an upload says of its length, what separating takes at
    most. Once nothing works in its folder, it is what the folder takes up in fact. Used from one event loop.
    """

    def __init__(self, settings: StudioSettings, changed: Callable[[], None]) -> None:
        self.settings = settings
        self.jobs = JobStore(settings.folder / "jobs")
        self.ledger = disk.Ledger(settings.quota_bytes)
        self._changed = changed
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._farewells: dict[str, asyncio.TimerHandle] = {}
        self._asides: set[asyncio.Task[None]] = set()

    def path(self, job: Job) -> Path:
        """The job's folder."""
        return self.jobs.folder / job.id

    def source(self, job: Job) -> Path:
        """The job's upload."""
        return self.path(job) / f"source{job.suffix}"

    @contextlib.asynccontextmanager
    async def folder_of(self, job: Job) -> AsyncIterator[Path]:
        """The job's folder; nobody else works in it until the block ends."""
        async with self._locks[job.id]:
            try:
                yield self.path(job)
            finally:
                await self.measure(job)

    def save(self, job: Job) -> None:
        """Writes the job down; a disk that is full does not keep it from going on."""
        try:
            self.jobs.save(job)
        except OSError as error:
            log.error("job %s cannot be written down: %s", job.id, error)

    # Leaving

    def remove(self, job: Job) -> None:
        """Takes an ended job out of the list; its files go after the time in which `restore` can bring it back."""
        job.removed = True
        self.save(job)
        self._farewells[job.id] = asyncio.get_running_loop().call_later(self.settings.undo_s, self.forget, job)

    def restore(self, job: Job) -> None:
        """Brings back a job that was removed."""
        self._farewells.pop(job.id).cancel()
        job.removed = False
        self.save(job)

    def forget(self, job: Job) -> "asyncio.Task[None]":
        """Drops a job at once, and deletes its files as soon as nobody works in its folder."""
        if farewell := self._farewells.pop(job.id, None):
            farewell.cancel()
        job.removed = True
        self.jobs.forget(job)
        self.ledger.set(job.id, 0)
        self._changed()
        return self.aside(self._delete(job))

    async def _delete(self, job: Job) -> None:
        async with self._locks[job.id]:
            await asyncio.to_thread(disk.delete_job, job, self.path(job))
        self._locks.pop(job.id, None)

    # Space

    async def claim(self, job: Job, size: int) -> bool:
        """Holds `size` bytes for `job`, for which the oldest ended jobs may go; False, and none goes, if it cannot."""
        victims: list[Job] = []
        excess = self.ledger.excess(job.id, size)
        for other in self._dispensable():
            if excess > 0 and other is not job:
                excess -= self.ledger.get(other.id)
                victims.append(other)
        if excess > 0:
            return False
        self.ledger.set(job.id, size)
        for other in victims:
            log.info("job %s goes to keep the disk quota", other.id)
        await asyncio.gather(*map(self.forget, victims))
        return True

    def _dispensable(self) -> list[Job]:
        """What may go to make room: first what was removed already, then what ended, longest ago first."""
        removed = [job for job in self.jobs.hidden() if job.removed]
        ended = sorted((job for job in self.jobs if job.ended), key=lambda job: job.changed)
        return [job for job in removed + ended if not self._locks[job.id].locked()]

    async def measure(self, job: Job) -> None:
        """Holds what the job's folder takes up in fact."""
        size = await asyncio.to_thread(disk.used_bytes, self.path(job))
        if self.jobs.knows(job):
            self.ledger.set(job.id, size)

    async def measure_all(self) -> None:
        """Measures the jobs in whose folders nobody works, and drops those whose folder has vanished."""
        for job in self.jobs:
            if job.ended and not self.path(job).is_dir():
                self.forget(job)
            elif not self._locks[job.id].locked():
                async with self.folder_of(job):
                    pass

    def clean(self) -> None:
        """Drops ended jobs that are too old, then the oldest until the quota is kept."""
        oldest = time.time() - self.settings.keep_days * 86400
        for job in self._dispensable():
            if job.changed < oldest or self.ledger.total > self.settings.quota_bytes:
                log.info("job %s goes, for its age or to keep the disk quota", job.id)
                self.forget(job)

    # Tasks

    def aside(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Does something without waiting for it."""
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)
        return task

    async def close(self) -> None:
        """Waits for what is being deleted; jobs that were removed go at the next start."""
        for farewell in self._farewells.values():
            farewell.cancel()
        await asyncio.gather(*self._asides, return_exceptions=True)
