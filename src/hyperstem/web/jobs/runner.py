"""The queue: separates songs, each in a process of its own, and notifies subscribers of every change."""

import asyncio
import logging
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from hyperstem.errors import AudioError
from hyperstem.web.jobs import disk, process
from hyperstem.web.jobs.downloads import DownloadQueue
from hyperstem.web.jobs.progress import EtaEstimator, overall
from hyperstem.web.jobs.storage import Storage
from hyperstem.web.jobs.store import Job
from hyperstem.web.jobs.subscribers import Subscribers
from hyperstem.web.settings import StudioSettings
from hyperstem.web.sound.takes import ORIGINAL

MAX_ATTEMPTS = 3
CLEAN_EVERY_S = 600.0
FORMAT_KEYS = {"rate_hz", "channels", "frames", "duration_s", "stems"}
log = logging.getLogger("hyperstem.studio")


class Runner:
    """Queues, runs, cancels, restarts, removes and cleans jobs. Used from one event loop.

    A job's state changes at once, between two steps of the event loop. Work in its folder then waits for the folder's
    lock, so two processes, or a process and a deletion, are never active in one folder.
    """

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.subscribers = Subscribers()
        self.storage = Storage(settings, self.subscribers.notify)
        self.jobs = self.storage.jobs
        self.downloads = DownloadQueue(settings, self.storage)
        self.json_cache: dict[str, tuple[Any, str]] = {}
        """Job id to the revision and position it was serialised at, and the JSON."""
        self.uploading = 0
        self.stopping = False
        self.ended: Counter[str] = Counter()
        """Number of jobs that have ended, by state."""
        self.separated_s = self.separating_s = 0.0
        """Total length of the separated songs, and the time that took."""
        self._waiting: deque[str] = deque()
        self._positions: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    # Start and stop

    async def start(self) -> None:
        """Requeues what an earlier run left unfinished, then starts working."""
        for job in self.jobs.hidden():
            self.storage.forget(job)
        for job in self.jobs:
            if job.state == "running" and job.attempts >= MAX_ATTEMPTS:
                self._end(job, "failed", f"the studio stopped {job.attempts} times while it worked on this song")
                self.storage.in_background(self._discard(job))
            elif not job.ended:
                self._reset(job)
        for job in self.jobs:
            if job.ended:
                await asyncio.to_thread(disk.delete_downloads, self.storage.path(job))
        await self.storage.measure_all()
        self.storage.clean()
        self._tasks = [asyncio.create_task(self._work_loop()) for _ in range(self.settings.running)]
        self._tasks.append(asyncio.create_task(self._clean_loop()))

    async def stop(self) -> None:
        """Ends every process; running songs are requeued at the next start."""
        self.close_streams()
        tasks = [*self._tasks, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self.downloads.close(), return_exceptions=True)
        for job in self.jobs:
            if job.state == "running":  # an orderly stop is not the song's fault
                job.attempts -= 1
                self._reset(job)
        await self.storage.close()

    def close_streams(self) -> None:
        """Ends the event streams of all subscribers."""
        self.stopping = True
        self.subscribers.notify()

    @property
    def is_alive(self) -> bool:
        """Whether the queue is being processed."""
        return bool(self._tasks) and not self.stopping and not any(task.done() for task in self._tasks)

    # Requests

    @property
    def waiting(self) -> int:
        """Number of songs in the queue or being uploaded."""
        return len(self._waiting) + self.uploading

    def position(self, job: Job) -> int | None:
        """The job's place in the queue, from 1, or None if it is not queued."""
        return self._positions.get(job.id)

    def submit(self, job: Job) -> None:
        """Queues an uploaded job.

        Raises:
            OSError: it cannot be saved, and is not queued.
        """
        job.state = "queued"
        self.jobs.save(job)
        self._enqueue(job)

    def restart(self, job: Job, quality: str | None = None) -> None:
        """Queues an ended job again."""
        self.downloads.cancel_all(job)
        job.quality, job.attempts = quality or job.quality, 0
        self._reset(job)

    async def cancel(self, job: Job) -> None:
        """Stops a queued or running job, and deletes what it has written."""
        if job.id in self._waiting:
            self._waiting.remove(job.id)
            self._renumber()
        self._end(job, "cancelled", None)
        if task := self._running.get(job.id):
            task.cancel()
            await asyncio.wait([task])
        await self._discard(job)

    def remove(self, job: Job) -> None:
        """Removes an ended job; for a while `restore` can bring it back."""
        self.downloads.cancel_all(job)
        self.storage.remove(job)
        self._notify(job)

    def restore(self, job: Job) -> None:
        """Brings back a job that was removed."""
        self.storage.restore(job)
        self._notify(job)

    # Separation

    async def _work_loop(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            job = self.jobs.get(self._waiting.popleft())
            self._renumber()
            if job is None:
                continue
            task = self._running[job.id] = asyncio.create_task(self._run(job))
            await asyncio.wait([task])
            if self._running.get(job.id) is task:
                del self._running[job.id]
            if not task.cancelled() and (error := task.exception()):
                log.error("job %s", job.id, exc_info=error)
            self.storage.clean()
            self.json_cache = {job_id: cached for job_id, cached in self.json_cache.items() if self.jobs.get(job_id)}

    async def _run(self, job: Job) -> None:
        async with self.storage.folder_of(job) as folder:
            try:
                if not self.storage.source(job).exists():
                    raise AudioError("the song's file is gone from the studio's folder")
                await asyncio.to_thread(disk.delete_results, job, folder)
                job.state, job.attempts = "running", job.attempts + 1
                self._save(job)
                log.info("job %s begins, quality %s", job.id, job.quality)
                begun = time.monotonic()
                await self._separate(job, folder)
                self.separated_s += job.duration_s or 0.0
                self.separating_s += time.monotonic() - begun
            except AudioError as error:
                self._end(job, "failed", str(error))
            except Exception:
                self._end(job, "failed", "the studio could not run this song; its log says why")
                raise
            finally:
                if job.state == "failed":
                    await asyncio.to_thread(disk.delete_results, job, folder)

    async def _separate(self, job: Job, folder: Path) -> None:
        eta = EtaEstimator()

        async def handle(message: dict[str, Any]) -> None:
            match message.pop("event"):
                case "format":
                    for key in FORMAT_KEYS & message.keys():
                        setattr(job, key, message[key])
                    self._save(job)
                    await self._claim_space(job, folder)
                case "ready":
                    job.takes[message["take"]] = message["frames"]
                    self._notify(job)
                case "progress":
                    job.phase = message["phase"]
                    job.progress = max(job.progress, overall(**message))
                    job.eta_s = eta.remaining_s(job.progress)
                    self._notify(job)
                case "done":
                    await self._finish(job, folder, message)

        request = self.storage.request(job, job.quality)
        await process.run_worker(self.settings, request, folder / disk.LOG, handle)

    async def _claim_space(self, job: Job, folder: Path) -> None:
        """Reserves the disk space for separation.

        Raises:
            AudioError: there is not enough.
        """
        if not job.frames:
            return
        size = await asyncio.to_thread(disk.needed_bytes, job, folder, self.settings.quota_bytes)
        if not await self.storage.claim(job, size):
            raise AudioError(
                f"separating this song needs {size / 2**20:.0f} MiB on disk; other songs in progress have used up "
                f"the studio's quota of {self.settings.quota_bytes / 2**20:.0f} MiB"
            )

    async def _finish(self, job: Job, folder: Path, message: dict[str, Any]) -> None:
        job.final, job.gain, job.warnings = message["take"], message["gain"], message["warnings"]
        job.analysed, job.tempo_bpm, job.key = message["analysed"], message["tempo_bpm"], message["key"]
        old = job.takes.keys() - {ORIGINAL, message["take"]}
        job.takes = {ORIGINAL: job.takes.get(ORIGINAL, 0), message["take"]: message["frames"]}
        job.progress = 1.0
        await asyncio.to_thread(disk.delete_takes, job, folder, old)
        self._end(job, "done", None)

    # States

    def _enqueue(self, job: Job) -> None:
        self._waiting.append(job.id)
        self._renumber()
        self._notify(job)
        self._wake.set()

    def _renumber(self) -> None:
        self._positions = {job_id: place for place, job_id in enumerate(self._waiting, 1)}
        self.subscribers.notify()

    def _reset(self, job: Job) -> None:
        job.state, job.phase, job.progress, job.error, job.eta_s = "queued", "waiting", 0.0, None, None
        job.takes, job.final, job.warnings = {}, None, []
        job.analysed, job.tempo_bpm, job.key = False, None, None
        self._save(job)
        if not self.stopping:
            self._enqueue(job)

    def _end(self, job: Job, state: str, error: str | None) -> None:
        job.state, job.phase, job.error, job.eta_s = state, state, error, None  # type: ignore[assignment]
        if state != "done":
            job.takes = {}
        self.ended[state] += 1
        log.info("job %s %s%s", job.id, state, f": {error}" if error else "")
        self._save(job)

    def _save(self, job: Job) -> None:
        self.storage.save(job)
        self._notify(job)

    def _notify(self, job: Job) -> None:
        job.revision += 1
        self.subscribers.notify()

    async def _discard(self, job: Job) -> None:
        """Deletes the results of a cancelled or failed job, unless it was restarted meanwhile."""
        if job.state in ("cancelled", "failed"):
            async with self.storage.folder_of(job) as folder:
                if job.state in ("cancelled", "failed"):
                    await asyncio.to_thread(disk.delete_results, job, folder)

    async def _clean_loop(self) -> None:
        while True:
            await asyncio.sleep(CLEAN_EVERY_S)
            try:
                await self.storage.measure_all()
                self.storage.clean()
            except OSError:
                log.exception("cleaning")
