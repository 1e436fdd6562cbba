"""What an open file is to whoever reads it."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np

from hyperstem.errors import AudioError


class AudioInfo(NamedTuple):
    """What a file says of itself."""

    rate_hz: int
    channels: int
    frames: int | None
    """Samples per channel as the header says, in MP4 within a millisecond; None where only decoding tells."""
    duration_s: float | None
    tags: dict[str, str]
    """title, artist, album, date, track, genre, comment, copyright: those that are there."""
    format: str


class Source(Protocol):
    """An open file."""

    info: AudioInfo

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read; called once, before the first read."""

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks of about `frames` samples to the end."""

    def close(self) -> None:
        """Lets the file go."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def ends_early(path: Path, frames: int, promised: int | None, rate_hz: int) -> AudioError:
    """The error for a file with fewer samples than it says."""
    of = "" if promised is None else f"of {promised / rate_hz:.2f} s "
    return AudioError(
        f"{path} is damaged or cut short: {frames / rate_hz:.2f} s {of}can be decoded "
        "(ask for a duration below that to use them)"
    )


def seconds(frames: int | None, rate_hz: int) -> float | None:
    """Samples as seconds."""
    return None if frames is None else float(Fraction(frames, rate_hz))
