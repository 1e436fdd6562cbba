"""Settings of the studio."""

import os
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from hyperstem.config import require
from hyperstem.errors import ConfigError

GIB = 1 << 30


def default_folder() -> Path:
    """The default folder for songs and jobs, in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "hyperstem" / "studio"


@dataclass(frozen=True)
class StudioSettings:
    """Address, access, model and limits."""

    folder: Path = field(default_factory=default_folder)
    host: str = "127.0.0.1"
    """Address to listen on."""
    token: str | None = None
    """Every request must carry it; None: no token."""
    public_url: str | None = None
    """The studio's address behind a reverse proxy, with its path."""
    model: str = "default"
    max_upload_bytes: int = GIB
    max_length_s: float = 2 * 3600.0
    running: int = 1
    """Songs separated at the same time."""
    waiting: int = 100
    """Longest queue."""
    memory_bytes: int = 6 * GIB
    """For one song's process."""
    time_limit_s: float = 3 * 3600.0
    """For one song's process."""
    keep_days: float = 7.0
    quota_bytes: int = 20 * GIB
    """Disk space for all songs."""
    undo_s: float = 10.0
    """How long the removal of a song can be undone."""
    worker: tuple[str, ...] = (sys.executable, "-m", "hyperstem.web.worker")
    """The command that separates one song."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                require(value > 0, f"{name} is {value}; it must be positive")
        if self.token is not None:
            require(
                bool(self.token) and self.token.isascii() and self.token.isprintable() and " " not in self.token,
                "the token must be printable ASCII without spaces",
            )
        if self.public_url is not None:
            _check_public_url(self.public_url)
            if not self.token:
                raise ConfigError(f"public URL {self.public_url} opens the studio to others; a token is then required")
        if not self.is_loopback and not self.token:
            raise ConfigError(f"host {self.host} opens the studio to other computers; a token is then required")

    @cached_property
    def public(self) -> SplitResult | None:
        """The parts of the public URL."""
        return urlsplit(self.public_url) if self.public_url else None

    @cached_property
    def base(self) -> str:
        """The path of the public URL, such as ``/stems``; usually empty."""
        return self.public.path.rstrip("/") if self.public else ""

    @property
    def is_loopback(self) -> bool:
        """Whether the studio is reachable only from this computer."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable only from this computer."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_public_url(url: str) -> None:
    allowed = "allowed is an address such as https://stems.example.org/ or https://example.org/stems/"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"public URL {url!r}: {error}; {allowed}") from None
    fine = (
        parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.query or parts.fragment)
    )
    plain = re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) and not {".", ".."} & set(parts.path.split("/"))
    require(bool(fine and plain and url.isascii() and url.isprintable()), f"public URL {url!r}: {allowed}")
