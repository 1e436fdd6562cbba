"""What an open file is to whoever reads it."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol, Self

import numpy as np

from hyperstem.audio.damage import Findings


class AudioInfo(NamedTuple):
    """What a file says of itself."""

    rate_hz: int
    channels: int
    frames: int | None
    """Samples per channel as the header says, in MP4 within a millisecond; None where only decoding tells."""
    duration_s: float | None
    """Where `frames` is None, perhaps an estimate."""
    tags: dict[str, str]
    """title, artist, album, date, ...: those of `tags.NAMES` that are there."""
    format: str
    speakers: tuple[str, ...] = ()
    """Names of the channels' loudspeakers as FFmpeg has them, FL, FR, FC, LFE, ...; empty if the file does not say."""


class Source(Protocol):
    """An open file."""

    info: AudioInfo
    findings: Findings

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read; called once, before the first read."""

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks of about `frames` samples to the end."""

    def close(self) -> None:
        """Lets the file go."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def seconds(frames: int | None, rate_hz: int) -> float | None:
    """Samples as seconds."""
    return None if frames is None else float(Fraction(frames, rate_hz))
