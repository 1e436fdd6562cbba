"""Settings of the studio: where it listens, what it accepts, how much one song may use."""

import os
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from hyperstem.config import require
from hyperstem.errors import ConfigError

QUALITIES = ("preview", "standard", "full")
GIB = 1 << 30


def default_folder() -> Path:
    """Where songs and jobs are kept unless told otherwise: the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "hyperstem" / "studio"


@dataclass(frozen=True)
class StudioSettings:
    """Everything that can be set about the studio.

    ``running`` songs are separated at a time, ``waiting`` more may stand in the queue. ``memory_bytes`` and
    ``time_limit_s`` hold for one song's process. A removed song can be brought back for ``undo_s``. ``worker`` is the
    command that separates one song.
    """

    folder: Path = field(default_factory=default_folder)
    host: str = "127.0.0.1"
    token: str | None = None
    model: str = "default"
    max_upload_bytes: int = GIB
    max_length_s: float = 2 * 3600.0
    running: int = 1
    waiting: int = 100
    memory_bytes: int = 6 * GIB
    time_limit_s: float = 3 * 3600.0
    keep_days: float = 7.0
    quota_bytes: int = 20 * GIB
    undo_s: float = 10.0
    worker: tuple[str, ...] = (sys.executable, "-m", "hyperstem.web.worker")

    def __post_init__(self) -> None:
        for name in (
            "max_upload_bytes",
            "max_length_s",
            "running",
            "waiting",
            "memory_bytes",
            "time_limit_s",
            "keep_days",
            "quota_bytes",
            "undo_s",
        ):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be positive")
        if self.token is not None:
            require(
                bool(self.token) and self.token.isascii() and self.token.isprintable() and " " not in self.token,
                "the token must be printable ASCII without spaces",
            )
        if not self.is_loopback and not self.token:
            raise ConfigError(f"host {self.host} opens the studio to other computers; a token is then required")

    @property
    def is_loopback(self) -> bool:
        """Whether only this computer can reach the studio."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
