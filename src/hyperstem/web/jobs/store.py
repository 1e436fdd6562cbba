"""What a job is, and the jobs kept in SQLite so that they survive a restart."""

import dataclasses
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hyperstem.errors import ConfigError

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")


@dataclass
class Job:
    """One song on its way through the studio.

    ``takes`` maps a take ("original", "preview", "full", ...) to the frames of it that can be heard so far;
    ``final`` is the take that the stems' files hold once the job is done.
    """

    id: str
    name: str
    suffix: str = ""
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
    final: str | None = None
    gain: float = 1.0
    warnings: list[str] = field(default_factory=list)
    attempts: int = 0
    created: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    eta_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in ENDED


def new_id() -> str:
    """A job's name: 16 hexadecimal digits that cannot be guessed."""
    return secrets.token_hex(8)


class JobStore:
    """Jobs in memory, every change of them written through to an SQLite file."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file.

        Raises:
            ConfigError: it is damaged, or cannot be read.
        """
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, created REAL NOT NULL, body TEXT NOT NULL)"
            )
            self._jobs = {job.id: job for job in self._load()}
        except (sqlite3.Error, ValueError, TypeError) as error:
            self.close()
            raise ConfigError(
                f"the studio's list of songs, {path}, cannot be read ({error}); give the studio another --folder"
            ) from None

    def _load(self) -> Iterator[Job]:
        known = {entry.name for entry in dataclasses.fields(Job)}
        for (body,) in self._database.execute("SELECT body FROM jobs ORDER BY created"):
            values: dict[str, Any] = json.loads(body)
            yield Job(**{key: value for key, value in values.items() if key in known})

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, job_id: str) -> Job | None:
        """The job of that name, or None."""
        return self._jobs.get(job_id)

    def save(self, job: Job) -> None:
        """Adds `job` or writes its present state."""
        job.changed = time.time()
        row = (job.id, job.created, json.dumps(dataclasses.asdict(job)))
        self._database.execute(
            "INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body", row
        )
        self._jobs[job.id] = job

    def remove(self, job: Job) -> None:
        """Forgets `job`."""
        self._jobs.pop(job.id, None)
        self._database.execute("DELETE FROM jobs WHERE id = ?", (job.id,))

    def close(self) -> None:
        """Closes the file."""
        self._database.close()
