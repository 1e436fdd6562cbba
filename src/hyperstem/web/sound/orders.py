"""What a download is to hold: which stems at which level, which stretch, and how it is written."""

import hashlib
import json
from dataclasses import dataclass

from hyperstem.config import to_mapping

SONG = "song"
"""Name of the one file of a format that holds all stems."""


@dataclass(frozen=True)
class LaneOrder:
    """A stem in a mix."""

    stem: str
    volume: float = 1.0
    pan: float = 0.0
    """-1 is left, 1 is right."""


@dataclass(frozen=True)
class Part:
    """One file: a stem or several."""

    name: str
    lanes: tuple[LaneOrder, ...]

    @property
    def is_stem(self) -> bool:
        """Whether it is one stem as it is."""
        return [self.name] == [lane.stem for lane in self.lanes]


@dataclass(frozen=True)
class Order:
    """Files to be made of a song that is separated."""

    format: str
    subtype: str
    parts: tuple[Part, ...]
    separated: bool = False
    """Whether the song is separated once more, which gives the bytes that the command line writes; otherwise the parts
    are mixed from the stems' 16-bit files, as they are heard."""
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def key(self) -> str:
        """The same for the same order: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(to_mapping(self), sort_keys=True).encode()).hexdigest()[:16]

    def frames(self, frames: int, rate_hz: int) -> tuple[int, int]:
        """First frame, and how many, of a song of `frames`."""
        return stretch(self.start_s, self.end_s, frames, rate_hz)


def stretch(start_s: float, end_s: float | None, frames: int, rate_hz: int) -> tuple[int, int]:
    """First frame, and how many, of what lies between two times in a song of `frames`."""
    start = min(frames, round(start_s * rate_hz))
    end = frames if end_s is None else min(frames, round(end_s * rate_hz))
    return start, max(0, end - start)
