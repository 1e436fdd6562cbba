"""One worker: a loaded model that separates song after song, and downloads and uploads files at URLs."""

import contextlib
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperstem.cluster import objects
from hyperstem.cluster.register import Song
from hyperstem.errors import ExistsError, HyperstemError
from hyperstem.files import name_in, remove_leftovers, sha256, temporary_beside
from hyperstem.separation import batch, manifest, names
from hyperstem.separation.messages import error_line, reason_of
from hyperstem.separation.separator import OVERLAP, Cancelled, Quality, Separator
from hyperstem.separation.tasks import BatchSettings, Result, Task, task_of

_UPLOADS = 4
"""Files uploaded at once."""


@dataclass(frozen=True)
class Job:
    """The work of all workers of a run."""

    model: str
    settings: BatchSettings
    """How to write stems. The folder is the destination, if that is a path."""
    destination: str
    """Absolute path or URL."""
    model_sha256: str = ""
    """SHA-256 that the model must have on every machine; empty to accept any."""
    quality: Quality = "full"
    device: str = "auto"
    threads: int = 1
    segment_s: float | None = None
    overlap: float = OVERLAP


class Worker:
    """Separates songs; several may be in progress, so that one is downloaded while another is separated."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._cancel = threading.Event()
        self._separator: Separator | None = None

    def load(self) -> str:
        """Loads the model; returns the error, or an empty text."""
        job = self._job
        try:
            separator = Separator.load(job.model, job.quality, job.device, job.threads, job.segment_s, job.overlap)
        except (HyperstemError, OSError) as error:
            return f"{platform.node()}: {error}"
        if job.model_sha256 not in ("", separator.model_sha256):
            return f"{platform.node()}: model {job.model} is another one here than where the run was started"
        remove_leftovers(Path(tempfile.gettempdir()))
        self._separator = separator
        return ""

    def stop(self) -> None:
        """Stops the songs in progress and removes their unfinished files."""
        self._cancel.set()

    def separate(self, song: Song) -> dict[str, Any] | None:
        """Separates one song.

        Returns:
            Its record, as ``--json`` prints it, with the file's stamp and the machine's name; None if the worker was
            stopped.
        """
        try:
            with self._scratch(song) as scratch:
                record = self._separate(song, scratch)
        except Cancelled:
            return None
        except (HyperstemError, OSError, MemoryError) as error:
            record = _failure(song, error_line(song.place, error), _reason(error))
        except Exception as error:  # a bug that one song hits must not stop the others
            record = _failure(song, f"{song.place}: internal error: {type(error).__name__}: {error}", "internal error")
        return record | {"host": platform.node()}

    def _separate(self, song: Song, scratch: Path) -> dict[str, Any]:
        stamp = _stamp(song.place)
        skip = self._job.settings.existing == "skip"
        target = _Target(self._job, song, scratch, self._model)
        if skip and stamp and stamp == song.stamp and target.is_done(song.sha256):
            return target.skipped() | {"stamp": stamp}
        source = _fetched(song.place, scratch)
        if target.remote and skip:
            if target.is_done(sha256(source)):
                return target.skipped() | {"stamp": stamp}
            target.check()
        result = batch.separate_file(self._model, target.task(source), target.settings, cancel=self._cancel)
        if result.status == "failed":
            text = result.error.replace(str(source), song.place).replace(str(scratch), self._job.destination)
            return _failure(song, text, result.reason)
        if result.output is not None:
            target.send(target.task(source))
        return target.record(result) | {"stamp": stamp}

    @property
    def _model(self) -> Separator:
        if self._separator is None:
            raise HyperstemError(self.load() or "no model")
        return self._separator

    @contextlib.contextmanager
    def _scratch(self, song: Song) -> Iterator[Path]:
        """A temporary folder for downloads and for stems not yet uploaded, created if it is needed."""
        folder = temporary_beside(Path(tempfile.gettempdir(), "x"))
        if objects.is_url(song.place) or objects.is_url(self._job.destination):
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Target:
    """The destination of one song's stems: directly a folder, or URLs by way of `scratch`."""

    def __init__(self, job: Job, song: Song, scratch: Path, separator: Separator) -> None:
        self._job, self._song, self._separator = job, song, separator
        self.remote = objects.is_url(job.destination)
        self.settings = job.settings
        if self.remote:
            self.settings = replace(job.settings, folder=scratch / "stems", existing="overwrite")
        self._plan = self.task(Path(names.track_name(Path(song.place))))
        self._old: dict[str, Any] = {}

    def task(self, source: Path) -> Task:
        """The song's files on this machine."""
        return task_of(source, self._song.track, self._song.folder, self.settings, self._separator.stems)

    def is_done(self, digest: str) -> bool:
        """Whether the stems exist already, made from the file with this SHA-256 with the current settings."""
        work, picture = batch.work(self._separator, self._plan, self.settings), self.settings.plot
        self._old = self._read_manifest() if self.remote else manifest.read(self._plan.manifest)
        if not self.remote:
            return batch.is_done(self._plan, work, picture, digest)
        if not (manifest.agrees(self._old, work) and manifest.is_of(self._old, digest)):
            return False
        return all(objects.exists(self._url(path)) for path in self._files(self._plan))

    def check(self) -> None:
        """Refuses to replace objects that are not listed in a manifest of ours.

        Raises:
            ExistsError: there is such an object.
        """
        if self._old:
            return
        for path in (self._plan.manifest, *self._files(self._plan)):
            if objects.exists(self._url(path)):
                raise ExistsError(f"{self._url(path)} exists, and no manifest says what it was made of")

    def send(self, task: Task) -> None:
        """Uploads the finished files, in an order such that `is_done` is true only if all of them are new."""
        if not self.remote:
            return
        files = self._files(task)
        for path in files:
            objects.delete(self._url(path))
        objects.upload(task.manifest, self._url(task.manifest))
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(lambda path: objects.upload(path, self._url(path)), files))

    def skipped(self) -> dict[str, Any]:
        """The record of a song for which `is_done` was true."""
        return self.record(Result(Path(self._song.place), "skipped", task=self._plan, facts=self._old))

    def record(self, result: Result) -> dict[str, Any]:
        """A song's record, with the final places of the song and its files."""
        record = result.record() | {"file": self._song.place}
        if self.remote:
            record["stems"] = {name: self._url(Path(path)) for name, path in record["stems"].items()}
            record["manifest"] = self._url(Path(record["manifest"]))
        return record

    def _files(self, task: Task) -> list[Path]:
        return [*task.paths.values(), *([task.picture] if self.settings.plot else [])]

    def _url(self, path: Path) -> str:
        return objects.join(self._job.destination, name_in(self.settings.folder, path))

    def _read_manifest(self) -> dict[str, Any]:
        try:
            contents = json.loads(objects.read(self._url(self._plan.manifest)) or b"{}")
        except ValueError:
            return {}
        return contents if isinstance(contents, dict) and "hyperstem" in contents else {}


def _fetched(place: str, scratch: Path) -> Path:
    """The song as a local file."""
    if not objects.is_url(place):
        return Path(place)
    name = Path(objects.file_name(place))
    path = scratch / (names.track_name(name) + name.suffix[:16])
    objects.download(place, path)
    return path


def _stamp(place: str) -> str:
    """A stamp that changes when the song changes; empty if that is unknown.

    Raises:
        OSError: the song does not exist.
    """
    if objects.is_url(place):
        return objects.stat(place).stamp
    status = os.stat(place)  # noqa: PTH116 (a name of any bytes)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _reason(error: Exception) -> str:
    return "transfer" if isinstance(error, objects.TransferError) else reason_of(error)


def _failure(song: Song, error: str, reason: str) -> dict[str, Any]:
    return {"file": song.place, "status": "failed", "error": " ".join(error.splitlines()), "reason": reason}
