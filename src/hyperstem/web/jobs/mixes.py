"""Downloads that have to be made first: ordered, made one process each, and kept for a while beside the song."""

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
KEPT = 8
"""Downloads of one song that stay on disk, in case they are asked for again."""
FLOAT_BYTES = 4
log = logging.getLogger("hyperstem.studio")


class TooMany(Exception):
    """So many downloads wait that no more are taken."""


@dataclass(eq=False)
class Mix:
    """A download that is being made, or was."""

    job: Job
    order: Order
    state: Literal["waiting", "making", "done", "failed"] = "waiting"
    progress: float = 0.0
    error: str | None = None
    files: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Mixes:
    """Makes what is ordered, as many at once as songs are separated. Used from one event loop."""

    def __init__(self, settings: StudioSettings, storage: Storage) -> None:
        self.settings, self.storage = settings, storage
        self._mixes: dict[str, dict[str, Mix]] = {}
        self._places = asyncio.Semaphore(settings.running)

    def get(self, job: Job, key: str) -> Mix | None:
        """The download of that key, or None."""
        return self._mixes.get(job.id, {}).get(key)

    def folder(self, mix: Mix) -> Path:
        """Where the download's files are."""
        return self.storage.path(mix.job) / MIXES / mix.order.key

    @property
    def waiting(self) -> int:
        """How many are not ended."""
        return sum(not mix.ended.is_set() for mixes in self._mixes.values() for mix in mixes.values())

    def order(self, job: Job, order: Order) -> Mix:
        """The download that `order` describes of a song that is done; it is made unless it is there already.

        Raises:
            TooMany: others have to be made before.
        """
        mix = self.get(job, order.key)
        if mix and mix.state != "failed" and (mix.state != "done" or self.folder(mix).is_dir()):
            return mix
        if self.waiting >= MAX_WAITING:
            raise TooMany
        mixes = self._mixes.setdefault(job.id, {})
        mixes.pop(order.key, None)
        mix = mixes[order.key] = Mix(job, order)
        mix.task = asyncio.create_task(self._make(mix))
        return mix

    def drop(self, job: Job) -> None:
        """Stops what is being made of a song and knows of no download of it any more."""
        for mix in self._mixes.pop(job.id, {}).values():
            self._stop(mix)

    def cancel(self, mix: Mix) -> None:
        """Stops one download, or forgets it."""
        self._mixes.get(mix.job.id, {}).pop(mix.order.key, None)
        self._stop(mix)

    def _stop(self, mix: Mix) -> None:
        if mix.task and not mix.task.done():
            mix.task.cancel()
            self._end(mix, "this download was cancelled")

    async def close(self) -> None:
        """Stops everything."""
        tasks = [mix.task for mixes in self._mixes.values() for mix in mixes.values() if mix.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, mix: Mix) -> None:
        error: str | None = "the studio could not make this download; its log says why"
        try:
            async with self._places, self.storage.folder_of(mix.job) as folder:
                mix.state = "making"
                await asyncio.to_thread(disk.delete_mixes, folder, self._kept(mix))
                await self._claim(mix, folder)
                await self._work(mix, folder)
                error = None
        except AudioError as refusal:
            error = str(refusal)
        except Exception:
            log.exception("download %s of job %s", mix.order.key, mix.job.id)
        finally:
            self._end(mix, error)

    def _kept(self, mix: Mix) -> set[str]:
        """Keys of the downloads of the same song that stay; the oldest others are forgotten."""
        others = self._mixes.get(mix.job.id, {})
        done = [key for key, other in others.items() if other.state == "done"]
        for key in done[: -(KEPT - 1)]:
            del others[key]
        return set(done[-(KEPT - 1) :])

    async def _claim(self, mix: Mix, folder: Path) -> None:
        job = mix.job
        _, frames = mix.order.frames(job.frames or 0, job.rate_hz or 1)
        size = frames * max(2, job.channels or 1) * FLOAT_BYTES * (len(mix.order.parts) + 1)
        if not await self.storage.claim(job, await asyncio.to_thread(disk.used_bytes, folder) + size):
            raise AudioError("the studio's disk quota has no room for this download")

    async def _work(self, mix: Mix, folder: Path) -> None:
        async def take(message: dict[str, Any]) -> None:
            match message["event"]:
                case "progress":
                    mix.progress = message["done"]
                case "done":
                    mix.files = message["files"]

        job = mix.job
        request = {
            "folder": str(folder),
            "source": str(self.storage.source(job)),
            "name": job.name,
            "model": self.settings.model,
            "quality": job.final or job.quality,
            "order": to_mapping(mix.order),
            "target": str(self.folder(mix)),
        }
        await process.work(self.settings, request, folder / disk.LOG, take)

    def _end(self, mix: Mix, error: str | None) -> None:
        if mix.ended.is_set():
            return
        mix.state, mix.error = "failed" if error else "done", error
        mix.progress = mix.progress if error else 1.0
        mix.ended.set()
