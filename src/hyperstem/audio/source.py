"""The interface of an open sound file."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol, Self

import numpy as np

from hyperstem.audio.damage import Findings


class AudioInfo(NamedTuple):
    """Properties of a sound file."""

    rate_hz: int
    channels: int
    frames: int | None
    """Samples per channel according to the header, in MP4 to a millisecond; None if only decoding can find out."""
    duration_s: float | None
    """May be an estimate if `frames` is None."""
    tags: dict[str, str]
    """title, artist, album, date, ...: those of `tags.NAMES` that are present."""
    format: str
    speakers: tuple[str, ...] = ()
    """Names of the channels' loudspeakers as in FFmpeg, FL, FR, FC, LFE, ...; empty if the file does not say."""


class Source(Protocol):
    """An open file."""

    info: AudioInfo
    findings: Findings

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read; called once, before the first read."""

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks of about `frames` samples to the end."""

    def close(self) -> None:
        """Closes the file."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def seconds(frames: int | None, rate_hz: int) -> float | None:
    """Samples as seconds."""
    return None if frames is None else float(Fraction(frames, rate_hz))
