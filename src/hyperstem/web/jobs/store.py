"""Jobs, each saved as job.json in a folder of its own, so that they survive a restart."""

import dataclasses
import json
import logging
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from hyperstem.files import write_text

JOB_FILE = "job.json"
MARKER = "hyperstem studio job"
"""Marks our job.json files: a folder without one is not ours and is left alone."""
MAX_JOB_BYTES = 4 << 20
_ID = re.compile(r"[0-9a-f]{16}")

State = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
log = logging.getLogger("hyperstem.studio")


@dataclass
class Job:
    """One song on its way through the studio."""

    id: str
    name: str
    """The uploaded file's name."""
    suffix: str = ""
    """The upload's extension on disk."""
    quality: str = "full"
    state: State = "queued"
    progress: float = 0.0
    phase: str = "waiting"
    error: str | None = None
    stems: list[str] = field(default_factory=list)
    rate_hz: int | None = None
    channels: int | None = None
    frames: int | None = None
    duration_s: float | None = None
    takes: dict[str, int] = field(default_factory=dict)
    """A take ("original", "preview", "full", ...) to its available frames."""
    final: str | None = None
    """The take in the stems' files, once the job is done."""
    gain: float = 1.0
    tempo_bpm: float | None = None
    key: str | None = None
    analysed: bool = False
    """Whether tempo, key and chords were analysed; the folder's analysis.json has the details."""
    warnings: list[str] = field(default_factory=list)
    attempts: int = 0
    created: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    eta_s: float | None = None
    removed: bool = False
    """Whether it was removed; it is hidden, and its files are deleted soon."""
    revision: int = field(default=0, compare=False)
    """Counts the changes that subscribers are notified of."""

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in ENDED


_JOB = TypeAdapter(Job)


def new_id() -> str:
    """A random job id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def read_job(folder: Path) -> Job | None:
    """The job in this folder, or None if the studio did not create it."""
    path = folder / JOB_FILE
    if not _ID.fullmatch(folder.name) or folder.is_symlink() or path.is_symlink():
        return None
    try:
        if path.stat().st_size > MAX_JOB_BYTES:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("made_by", None) != MARKER or values.get("id") != folder.name:
            return None
        return _JOB.validate_python(values)
    except (OSError, ValueError, RecursionError):
        return None


class JobStore:
    """The jobs of a folder, in memory and in ``<id>/job.json``."""

    def __init__(self, folder: Path) -> None:
        """Reads the jobs; anything else in the folder is left alone.

        Raises:
            OSError: the folder cannot be created or read.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        found = {path.name: read_job(path) for path in sorted(folder.iterdir())}
        jobs = sorted((job for job in found.values() if job), key=lambda job: job.created)
        self._jobs = {job.id: job for job in jobs}
        if foreign := [name for name, job in found.items() if job is None]:
            log.warning("left alone in %s, not jobs of the studio: %s", folder, ", ".join(foreign[:20]))

    def __iter__(self) -> Iterator[Job]:
        """Every job, oldest first, except removed ones and unfinished uploads."""
        return iter([job for job in self._jobs.values() if _is_shown(job)])

    def __len__(self) -> int:
        return sum(map(_is_shown, self._jobs.values()))

    def hidden(self) -> list[Job]:
        """Removed jobs and unfinished uploads."""
        return [job for job in self._jobs.values() if not _is_shown(job)]

    def get(self, job_id: str) -> Job | None:
        """The job with this id, or None."""
        job = self._jobs.get(job_id)
        return job if job and _is_shown(job) else None

    def get_removed(self, job_id: str) -> Job | None:
        """The removed job with this id, if it can still be restored, or None."""
        job = self._jobs.get(job_id)
        return job if job and job.removed else None

    def knows(self, job: Job) -> bool:
        """Whether `job` is in the store, hidden or not."""
        return self._jobs.get(job.id) is job

    def save(self, job: Job) -> None:
        """Adds `job`, or saves its current state.

        Raises:
            OSError: it cannot be written; a new job is not added.
        """
        job.changed = time.time()
        values: dict[str, Any] = {"made_by": MARKER, **dataclasses.asdict(job)}
        write_text(self.folder / job.id / JOB_FILE, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
        self._jobs[job.id] = job

    def forget(self, job: Job) -> None:
        """Drops `job` from memory; its files stay."""
        self._jobs.pop(job.id, None)


def _is_shown(job: Job) -> bool:
    return not job.removed and job.state != "uploading"
