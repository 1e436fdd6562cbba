"""The formats that can be written, and what each holds."""

from dataclasses import dataclass
from pathlib import Path

from hyperstem.errors import AudioError

SUBTYPES = ("pcm16", "pcm24", "float")
MPEG_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Format:
    """One way to write sound."""

    name: str
    subtypes: tuple[str, ...] = ()
    """Sample formats; none where the encoder is lossy."""
    rates_hz: tuple[int, ...] = ()
    """Sample rates; empty means any."""
    channels: int = 64
    """Most channels."""
    multitrack: bool = False
    """One file holds the mixture and every stem."""

    @property
    def lossless(self) -> bool:
        """Whether samples come back as they were written."""
        return bool(self.subtypes)

    def rate_for(self, rate_hz: int) -> int:
        """The lowest rate it can hold that loses nothing of `rate_hz`, or else its highest."""
        if not self.rates_hz or rate_hz in self.rates_hz:
            return rate_hz
        return next((rate for rate in self.rates_hz if rate >= rate_hz), self.rates_hz[-1])

    def check(self, rate_hz: int, channels: int, subtype: str) -> None:
        """Refuses what the format cannot hold.

        Raises:
            AudioError: naming the value and what is allowed.
        """
        if self.lossless and subtype not in self.subtypes:
            raise AudioError(f"{self.name} cannot hold {subtype!r} samples; allowed are {', '.join(self.subtypes)}")
        if self.rates_hz and rate_hz not in self.rates_hz:
            raise AudioError(f"{self.name} cannot hold {rate_hz} Hz; allowed are {', '.join(map(str, self.rates_hz))}")
        if not 1 <= channels <= self.channels:
            raise AudioError(f"{self.name} holds at most {self.channels} channels; {channels} given")


FORMATS = {
    item.name: item
    for item in (
        Format("wav", SUBTYPES, channels=65535),
        Format("flac", ("pcm16", "pcm24"), channels=8),
        Format("mp3", rates_hz=MPEG_RATES_HZ, channels=2),
        Format("ogg", channels=8),
        Format("opus", rates_hz=(8000, 12000, 16000, 24000, 48000), channels=2),
        Format("m4a", rates_hz=(*MPEG_RATES_HZ, 64000, 88200, 96000), channels=2),
        Format("stem.mp4", rates_hz=(*MPEG_RATES_HZ, 64000, 88200, 96000), channels=2, multitrack=True),
    )
}


def named_format(name: str) -> Format:
    """The format called `name`.

    Raises:
        AudioError: there is none.
    """
    if name not in FORMATS:
        raise AudioError(f"no format {name!r}; allowed are {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of(path: Path) -> Format:
    """The format that the file's name ends with.

    Raises:
        AudioError: none is known by that ending.
    """
    name = path.name.lower()
    for key, item in FORMATS.items():
        if name.endswith("." + key):
            return item
    raise AudioError(f"{path}: the name ends with none of {', '.join('.' + key for key in FORMATS)}")
