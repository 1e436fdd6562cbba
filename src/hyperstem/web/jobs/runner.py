"""The queue: runs songs one process each, a few at a time, and tells everybody who listens."""

import asyncio
import contextlib
import json
import logging
import shutil
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperstem.errors import AudioError
from hyperstem.web.jobs import disk
from hyperstem.web.jobs.progress import Clock, overall
from hyperstem.web.jobs.store import Job, JobStore
from hyperstem.web.settings import StudioSettings
from hyperstem.web.sound.takes import ORIGINAL, PART, STEMS
from hyperstem.web.worker.limits import cause_of, too_slow

MAX_ATTEMPTS = 3
CLEAN_EVERY_S = 600.0
LINE_BYTES = 1 << 20
FORMAT_KEYS = {"rate_hz", "channels", "frames", "duration_s", "stems"}
log = logging.getLogger("hyperstem.studio")


class Full(Exception):
    """No more songs can wait."""


class Runner:
    """Owns the jobs: queues, runs, cancels, restarts, removes and cleans them. Used from one event loop."""

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.folder = settings.folder / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = JobStore(settings.folder / "jobs.sqlite3")
        self.uploading = 0
        self.stopping = False
        self._waiting: deque[str] = deque()
        self._work = asyncio.Condition()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._listeners: set[asyncio.Event] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    async def start(self) -> None:
        """Takes up what an earlier run left, then starts working."""
        known = {job.id for job in self.store}
        for path in self.folder.iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)
        for job in self.store:
            if job.state == "running" and job.attempts >= MAX_ATTEMPTS:
                self._end(job, "failed", f"the studio stopped {job.attempts} times while it worked on this song")
                self._discard(job)
            elif not job.ended:
                self._reset(job)
                self._waiting.append(job.id)
        self.clean()
        self._tasks = [asyncio.create_task(self._work_on()) for _ in range(self.settings.running)]
        self._tasks.append(asyncio.create_task(self._clean_on()))

    async def stop(self) -> None:
        """Ends every process; songs that were running are taken up at the next start."""
        self.hang_up()
        for task in [*self._tasks, *self._running.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._running.values(), return_exceptions=True)
        for job in self.store:
            if job.state == "running":  # an orderly stop is not the song's fault
                job.attempts -= 1
                self._reset(job)
        self.store.close()

    def hang_up(self) -> None:
        """Lets everybody who listens go."""
        self.stopping = True
        self._notify()

    # What the API asks for

    def path(self, job: Job) -> Path:
        """The job's folder."""
        return self.folder / job.id

    def source(self, job: Job) -> Path:
        """The job's upload."""
        return self.path(job) / f"source{job.suffix}"

    @property
    def waiting(self) -> int:
        """Songs in the queue, those being uploaded included."""
        return len(self._waiting) + self.uploading

    def position(self, job: Job) -> int | None:
        """The job's place in the queue, 1 first, or None when it is not in it."""
        return self._waiting.index(job.id) + 1 if job.id in self._waiting else None

    async def submit(self, job: Job) -> None:
        """Puts a job whose source is in place at the end of the queue."""
        if task := self._running.get(job.id):  # its last process is just ending
            await asyncio.wait([task])
        self._reset(job)
        self._waiting.append(job.id)
        self._notify()
        async with self._work:
            self._work.notify()

    async def cancel(self, job: Job) -> None:
        """Stops a job that waits or runs; what it has written goes."""
        if job.id in self._waiting:
            self._waiting.remove(job.id)
        self._end(job, "cancelled", None)
        if task := self._running.get(job.id):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._discard(job)

    def remove(self, job: Job) -> None:
        """Deletes an ended job and its files."""
        self.store.remove(job)
        shutil.rmtree(self.path(job), ignore_errors=True)
        self._notify()

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

    def _notify(self) -> None:
        for event in self._listeners:
            event.set()

    # Working

    async def _work_on(self) -> None:
        while True:
            async with self._work:
                await self._work.wait_for(lambda: bool(self._waiting))
                job = self.store.get(self._waiting.popleft())
            if job is None:
                continue
            task = self._running[job.id] = asyncio.create_task(self._run(job))
            try:
                await asyncio.wait([task])
            finally:
                self._running.pop(job.id, None)
            try:
                if not task.cancelled() and (error := task.exception()):
                    log.error("job %s", job.id, exc_info=error)
                    self._end(job, "failed", "the studio could not run this song; its log says why")
                self.clean()
            except (OSError, sqlite3.Error):  # a full disk must not end the queue
                log.exception("after job %s", job.id)

    async def _run(self, job: Job) -> None:
        job.state, job.attempts = "running", job.attempts + 1
        self._save(job)
        request = {
            "folder": str(self.path(job)),
            "source": str(self.source(job)),
            "name": job.name,
            "model": self.settings.model,
            "quality": job.quality,
            "max_length_s": float(self.settings.max_length_s),
            "memory_bytes": self.settings.memory_bytes,
            "time_limit_s": float(self.settings.time_limit_s),
            "file_bytes": self.settings.quota_bytes,
        }
        errors = (self.path(job) / "log.txt").open("wb")
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self.settings.worker,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=LINE_BYTES,
                start_new_session=True,
            )
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            try:
                async with asyncio.timeout(self.settings.time_limit_s):
                    if not await self._follow(job, process):
                        self._end(job, "failed", cause_of(await process.wait(), self.settings))
            except AudioError as error:
                self._end(job, "failed", str(error))
            except TimeoutError:
                self._end(job, "failed", too_slow(self.settings))
        finally:
            errors.close()
            await _kill(process)
            if job.state == "failed":
                self._discard(job)

    async def _follow(self, job: Job, process: asyncio.subprocess.Process) -> bool:
        """Takes in what the process reports, and tells whether it has said how the job ended."""
        assert process.stdout is not None
        clock = Clock()
        while line := await process.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            match message.pop("event"):
                case "format":
                    for key in FORMAT_KEYS & message.keys():
                        setattr(job, key, message[key])
                    self._save(job)
                    if job.frames and job.channels:
                        self.clean(disk.still_needed(job, self.path(job), self.settings.quota_bytes))
                case "ready":
                    job.takes[message["take"]] = message["frames"]
                    self._notify()
                case "progress":
                    job.phase = message["phase"]
                    job.progress = max(job.progress, overall(**message))
                    job.eta_s = clock.left(job.progress)
                    self._notify()
                case "done":
                    self._done(job, message)
                    return True
                case "failed":
                    self._end(job, "failed", message["error"])
                    return True
        return False

    def _done(self, job: Job, message: dict[str, Any]) -> None:
        job.final, job.gain, job.warnings = message["take"], message["gain"], message["warnings"]
        job.takes = {ORIGINAL: job.takes.get(ORIGINAL, 0), job.final: message["frames"]}
        job.progress = 1.0
        for path in (self.path(job) / "takes").iterdir():
            if path.name not in job.takes:
                shutil.rmtree(path, ignore_errors=True)
        self._end(job, "done", None)

    # States

    def _reset(self, job: Job) -> None:
        job.state, job.phase, job.progress, job.error, job.eta_s = "queued", "waiting", 0.0, None, None
        job.takes, job.final, job.warnings = {}, None, []
        self._save(job)

    def _end(self, job: Job, state: str, error: str | None) -> None:
        job.state, job.phase, job.error, job.eta_s = state, state, error, None  # type: ignore[assignment]
        if state != "done":
            job.takes = {}
        self._save(job)

    def _discard(self, job: Job) -> None:
        """Deletes all that was made of a song; the song itself stays."""
        for name in ("takes", PART, STEMS):
            shutil.rmtree(self.path(job) / name, ignore_errors=True)

    def _save(self, job: Job) -> None:
        self.store.save(job)
        self._notify()

    # Cleaning

    async def _clean_on(self) -> None:
        while True:
            await asyncio.sleep(CLEAN_EVERY_S)
            self.clean()

    def used_bytes(self) -> int:
        """What the jobs take up on disk."""
        return disk.used_bytes(self.folder)

    def clean(self, spare: int = 0) -> None:
        """Removes ended jobs that are too old, then the oldest until the disk quota is kept with `spare` bytes left."""
        ended = sorted((job for job in self.store if job.ended), key=lambda job: job.changed)
        oldest = time.time() - self.settings.keep_days * 86400
        while ended and ended[0].changed < oldest:
            self.remove(ended.pop(0))
        excess = self.used_bytes() + spare - self.settings.quota_bytes
        while ended and excess > 0:
            job = ended.pop(0)
            excess -= disk.used_bytes(self.path(job))
            log.info("removing %s to keep the disk quota", job.id)
            self.remove(job)


async def _kill(process: asyncio.subprocess.Process | None) -> None:
    if process is None:
        return
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.stdin:
        process.stdin.close()
    await asyncio.shield(process.wait())
