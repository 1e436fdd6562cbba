"""The queue: runs songs one process each, a few at a time, and tells everybody who listens."""

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperstem.errors import AudioError
from hyperstem.web.jobs import disk, process
from hyperstem.web.jobs.mixes import Mixes
from hyperstem.web.jobs.progress import Clock, overall
from hyperstem.web.jobs.storage import Storage
from hyperstem.web.jobs.store import Job
from hyperstem.web.settings import StudioSettings
from hyperstem.web.sound.takes import ORIGINAL

MAX_ATTEMPTS = 3
CLEAN_EVERY_S = 600.0
FORMAT_KEYS = {"rate_hz", "channels", "frames", "duration_s", "stems"}
log = logging.getLogger("hyperstem.studio")


class Runner:
    """Owns the jobs: queues, runs, cancels, restarts, removes and cleans them. Used from one event loop.

    States change at once, between two steps of the event loop. What then happens in a job's folder waits for the
    folder's lock, so that never two processes, or a process and a deletion, are at work in one.
    """

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.storage = Storage(settings, self._notify)
        self.jobs = self.storage.jobs
        self.mixes = Mixes(settings, self.storage)
        self.bodies: dict[str, tuple[Any, str]] = {}
        """The JSON of each job, with what it was made from."""
        self.uploading = 0
        self.stopping = False
        self.ended: Counter[str] = Counter()
        """How often jobs have ended, by state."""
        self.separated_s = self.separating_s = 0.0
        """Length of the songs that were separated, and the time it took."""
        self._waiting: deque[str] = deque()
        self._positions: dict[str, int] = {}
        self._work = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._listeners: set[asyncio.Event] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    async def start(self) -> None:
        """Takes up what an earlier run left, then starts working."""
        for job in self.jobs.hidden():
            self.storage.forget(job)
        for job in self.jobs:
            if job.state == "running" and job.attempts >= MAX_ATTEMPTS:
                self._end(job, "failed", f"the studio stopped {job.attempts} times while it worked on this song")
                self.storage.aside(self._discard(job))
            elif not job.ended:
                self._reset(job)
        for job in self.jobs:
            if job.ended:
                await asyncio.to_thread(disk.delete_mixes, self.storage.path(job))
        await self.storage.measure_all()
        self.storage.clean()
        self._tasks = [asyncio.create_task(self._work_on()) for _ in range(self.settings.running)]
        self._tasks.append(asyncio.create_task(self._clean_on()))

    async def stop(self) -> None:
        """Ends every process; songs that were running are taken up at the next start."""
        self.hang_up()
        tasks = [*self._tasks, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self.mixes.close(), return_exceptions=True)
        for job in self.jobs:
            if job.state == "running":  # an orderly stop is not the song's fault
                job.attempts -= 1
                self._reset(job)
        await self.storage.close()

    def hang_up(self) -> None:
        """Lets everybody who listens go."""
        self.stopping = True
        self._notify()

    @property
    def works(self) -> bool:
        """Whether the queue is being worked on."""
        return bool(self._tasks) and not self.stopping and not any(task.done() for task in self._tasks)

    # What the API asks for

    @property
    def waiting(self) -> int:
        """Songs in the queue, those being uploaded included."""
        return len(self._waiting) + self.uploading

    def position(self, job: Job) -> int | None:
        """The job's place in the queue, 1 first, or None when it is not in it."""
        return self._positions.get(job.id)

    def submit(self, job: Job) -> None:
        """Puts a job whose source is in place at the end of the queue.

        Raises:
            OSError: the disk does not take it; it is not in the queue then.
        """
        job.state = "queued"
        self.jobs.save(job)
        self._enqueue(job)

    def restart(self, job: Job, quality: str | None = None) -> None:
        """Puts a job that has ended at the end of the queue again."""
        self.mixes.drop(job)
        job.quality, job.attempts = quality or job.quality, 0
        self._reset(job)

    async def cancel(self, job: Job) -> None:
        """Stops a job that waits or runs; what it has written goes."""
        if job.id in self._waiting:
            self._waiting.remove(job.id)
            self._number()
        self._end(job, "cancelled", None)
        if task := self._running.get(job.id):
            task.cancel()
            await asyncio.wait([task])
        await self._discard(job)

    def remove(self, job: Job) -> None:
        """Removes an ended job; for a while `restore` can bring it back."""
        self.mixes.drop(job)
        self.storage.remove(job)
        self._notify(job)

    def restore(self, job: Job) -> None:
        """Brings back a job that was removed."""
        self.storage.restore(job)
        self._notify(job)

    # Listening

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change of any job."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def _notify(self, job: Job | None = None) -> None:
        if job:
            job.revision += 1
        for event in self._listeners:
            event.set()

    # Working

    async def _work_on(self) -> None:
        while True:
            while not self._waiting:
                self._work.clear()
                await self._work.wait()
            job = self.jobs.get(self._waiting.popleft())
            self._number()
            if job is None:
                continue
            task = self._running[job.id] = asyncio.create_task(self._run(job))
            await asyncio.wait([task])
            if self._running.get(job.id) is task:
                del self._running[job.id]
            if not task.cancelled() and (error := task.exception()):
                log.error("job %s", job.id, exc_info=error)
            self.storage.clean()
            self.bodies = {job_id: body for job_id, body in self.bodies.items() if self.jobs.get(job_id)}

    async def _run(self, job: Job) -> None:
        async with self.storage.folder_of(job) as folder:
            try:
                if not self.storage.source(job).exists():
                    raise AudioError("the song's file is gone from the studio's folder")
                await asyncio.to_thread(disk.delete_separated, job, folder)
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
                    await asyncio.to_thread(disk.delete_separated, job, folder)

    async def _separate(self, job: Job, folder: Path) -> None:
        clock = Clock()

        async def take(message: dict[str, Any]) -> None:
            match message.pop("event"):
                case "format":
                    for key in FORMAT_KEYS & message.keys():
                        setattr(job, key, message[key])
                    self._save(job)
                    await self._claim_all(job, folder)
                case "ready":
                    job.takes[message["take"]] = message["frames"]
                    self._notify(job)
                case "progress":
                    job.phase = message["phase"]
                    job.progress = max(job.progress, overall(**message))
                    job.eta_s = clock.left(job.progress)
                    self._notify(job)
                case "done":
                    await self._done(job, folder, message)

        request = {
            "folder": str(folder),
            "source": str(self.storage.source(job)),
            "name": job.name,
            "model": self.settings.model,
            "quality": job.quality,
        }
        await process.work(self.settings, request, folder / disk.LOG, take)

    async def _claim_all(self, job: Job, folder: Path) -> None:
        """Holds the disk space that separating the song takes.

        Raises:
            AudioError: there is not so much.
        """
        if not job.frames:
            return
        size = await asyncio.to_thread(disk.full_size, job, folder, self.settings.quota_bytes)
        if not await self.storage.claim(job, size):
            raise AudioError(
                f"separating this song takes {size / 2**20:.0f} MiB on disk; other songs that wait or run have used up "
                f"the studio's quota of {self.settings.quota_bytes / 2**20:.0f} MiB"
            )

    async def _done(self, job: Job, folder: Path, message: dict[str, Any]) -> None:
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
        self._number()
        self._notify(job)
        self._work.set()

    def _number(self) -> None:
        self._positions = {job_id: place for place, job_id in enumerate(self._waiting, 1)}
        self._notify()

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

    async def _discard(self, job: Job) -> None:
        """Deletes what was made of a song that was cancelled or failed, unless it is to be separated again."""
        if job.state in ("cancelled", "failed"):
            async with self.storage.folder_of(job) as folder:
                if job.state in ("cancelled", "failed"):
                    await asyncio.to_thread(disk.delete_separated, job, folder)

    # Cleaning

    async def _clean_on(self) -> None:
        while True:
            await asyncio.sleep(CLEAN_EVERY_S)
            try:
                await self.storage.measure_all()
                self.storage.clean()
            except OSError:
                log.exception("cleaning")
