"""The contents of a download: stems and their levels, section, and format."""

import hashlib
import json
from dataclasses import dataclass

from hyperstem.config import to_mapping

SONG = "song"
"""File name of multitrack formats."""


@dataclass(frozen=True)
class LaneOrder:
    """A stem in a mix."""

    stem: str
    volume: float = 1.0
    pan: float = 0.0
    """-1 is left, 1 is right."""


@dataclass(frozen=True)
class Part:
    """One file: a stem, or a mix of several."""

    name: str
    lanes: tuple[LaneOrder, ...]

    @property
    def is_stem(self) -> bool:
        """Whether it is one stem, unchanged."""
        return [self.name] == [lane.stem for lane in self.lanes]


@dataclass(frozen=True)
class Order:
    """Files to render from a separated song."""

    format: str
    subtype: str
    parts: tuple[Part, ...]
    separated: bool = False
    """Whether to separate the song again, for the same bytes as on the command line; otherwise the parts are mixed from
    the stems' 16-bit files, as the page plays them."""
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def key(self) -> str:
        """16 hexadecimal digits, the same for the same order."""
        return hashlib.sha256(json.dumps(to_mapping(self), sort_keys=True).encode()).hexdigest()[:16]

    def frames(self, frames: int, rate_hz: int) -> tuple[int, int]:
        """First frame and number of frames in a song of `frames`."""
        return frame_range(self.start_s, self.end_s, frames, rate_hz)


def frame_range(start_s: float, end_s: float | None, frames: int, rate_hz: int) -> tuple[int, int]:
    """First frame and number of frames between two times in a song of `frames`."""
    start = min(frames, round(start_s * rate_hz))
    end = frames if end_s is None else min(frames, round(end_s * rate_hz))
    return start, max(0, end - start)
