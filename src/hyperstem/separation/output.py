"""How stems are written, and what was written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from hyperstem.audio import Format
from hyperstem.errors import ConfigError

CLIPS = ("scale", "clamp", "error")


@dataclass(frozen=True)
class OutputSettings:
    """How stems are written."""

    format: Format
    subtype: str = "pcm16"
    clip: Literal["scale", "clamp", "error"] = "scale"
    """What to do with peaks above 1: scale the whole song by one gain (in fixed-point formats), clamp them, or fail.
    Float files keep them."""
    rate_hz: int | None = None
    """None keeps the input's; formats that do not support it use the next higher one they do, or their highest."""
    channels: Literal["input", "mono", "stereo"] = "input"
    """Write the input's channels, their mean, or a stereo downmix."""
    groups: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    """Name of each file and the stems summed in it; None writes each stem."""
    bitrate: int | None = None
    """Bits per second of lossy formats; None uses the format's default."""

    def __post_init__(self) -> None:
        if self.clip not in CLIPS:
            raise ConfigError(f"clip is {self.clip!r}; allowed are {', '.join(CLIPS)}")
        if self.bitrate is not None:
            self.format.check_bitrate(self.bitrate)

    def file_groups(self, stems: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Name and members of each file."""
        return self.groups if self.groups is not None else tuple((stem, (stem,)) for stem in stems)

    def output_rate_hz(self, rate_hz: int) -> int:
        """The rate of the files, given the input's rate."""
        return self.format.rate_for(self.rate_hz or rate_hz)

    @property
    def bits(self) -> int:
        """Bits per fixed-point sample; 0 for float and lossy formats."""
        return {"pcm16": 16, "pcm24": 24}.get(self.subtype, 0) if self.format.lossless else 0

    @property
    def boundless(self) -> bool:
        """Whether the files are float, which hold peaks of any height."""
        return self.format.lossless and not self.bits


class Output(NamedTuple):
    """What was written."""

    paths: dict[str, Path]
    gain: float
    """What every sample was multiplied by; 1 unless a peak was above full scale in a fixed-point format."""
    peak: float
    """Largest absolute sample of any file before the gain; full scale is 1."""
    frames: int
    rate_hz: int
