"""The formats that can be written, and what each supports."""

from dataclasses import dataclass
from pathlib import Path

from hyperstem.errors import AudioError, ConfigError

SUBTYPES = ("pcm16", "pcm24", "float")
ANY_HZ = 0xFFFF_FFFF
READABLE = frozenset(
    {
        ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".avi", ".caf", ".dff", ".dsf",
        ".dts", ".flac", ".flv", ".m2ts", ".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3",
        ".mp4", ".mpc", ".mpeg", ".mpg", ".mts", ".oga", ".ogg", ".ogv", ".opus", ".rf64", ".snd", ".spx", ".ts",
        ".tta", ".vob", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv",
    }
)  # fmt: skip
"""Extensions of sound files in folders, in lower case; files given by name may have any."""
MPEG_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_RATES_HZ = (*MPEG_RATES_HZ, 64000, 88200, 96000)


@dataclass(frozen=True)
class Format:
    """A file format for sound."""

    name: str
    subtypes: tuple[str, ...] = ()
    """Sample formats; empty for lossy formats."""
    any_rate_to_hz: int = 0
    """Every sample rate up to this one is supported;"""
    rates_hz: tuple[int, ...] = ()
    """so are these."""
    channels: int = 64
    """Most channels."""
    bitrates: tuple[int, int] | None = None
    """Lowest and highest bits per second of lossy formats."""
    multitrack: bool = False
    """One file holds the mixture and every stem."""

    @property
    def lossless(self) -> bool:
        """Whether samples are read back exactly as they were written."""
        return bool(self.subtypes)

    def rate_for(self, rate_hz: int) -> int:
        """The lowest supported rate of at least `rate_hz`, or else the highest supported one."""
        if rate_hz <= self.any_rate_to_hz:
            return rate_hz
        return next((rate for rate in self.rates_hz if rate >= rate_hz), max((self.any_rate_to_hz, *self.rates_hz)))

    @property
    def rates(self) -> str:
        """The supported sample rates, in words."""
        any_rate = [f"1 to {self.any_rate_to_hz}"] if self.any_rate_to_hz else []
        return ", ".join([*any_rate, *map(str, self.rates_hz)])

    def check_bitrate(self, bits_per_s: int) -> None:
        """Refuses bit rates that the format does not support.

        Raises:
            ConfigError: naming the value and what is allowed.
        """
        if self.bitrates is None:
            raise ConfigError(f"{self.name} is lossless and has no bit rate; a bit rate is for {', '.join(LOSSY)}")
        if not self.bitrates[0] <= bits_per_s <= self.bitrates[1]:
            allowed = " to ".join(f"{bits // 1000}k" for bits in self.bitrates)
            raise ConfigError(f"{self.name} cannot have {bits_per_s / 1000:g}k bits per second; allowed are {allowed}")

    def check(self, rate_hz: int, channels: int, subtype: str) -> None:
        """Refuses what the format does not support.

        Raises:
            AudioError: naming the value and what is allowed.
        """
        if self.lossless and subtype not in self.subtypes:
            raise AudioError(f"{self.name} cannot hold {subtype!r} samples; allowed are {', '.join(self.subtypes)}")
        if self.rate_for(rate_hz) != rate_hz:
            raise AudioError(f"{self.name} cannot hold {rate_hz} Hz; allowed are {self.rates}")
        if not 1 <= channels <= self.channels:
            hint = "; --channels stereo mixes them down" if channels > 2 else ""
            raise AudioError(f"{self.name} holds at most {self.channels} channels; {channels} given{hint}")


FORMATS = {
    item.name: item
    for item in (
        Format("wav", SUBTYPES, ANY_HZ, channels=65535),
        Format("flac", ("pcm16", "pcm24"), 65_535, (88_200, 96_000, 176_400, 192_000, 352_800, 384_000), channels=8),
        Format("mp3", rates_hz=MPEG_RATES_HZ, channels=2, bitrates=(8_000, 320_000)),
        Format(
            "ogg", any_rate_to_hz=200_000, channels=8, bitrates=(32_000, 500_000)
        ),  # libsndfile ends the process where Vorbis refuses
        Format("opus", rates_hz=(8000, 12000, 16000, 24000, 48000), channels=2, bitrates=(6_000, 510_000)),
        Format("m4a", rates_hz=AAC_RATES_HZ, channels=2, bitrates=(16_000, 512_000)),
        Format("stem.mp4", rates_hz=AAC_RATES_HZ, channels=2, multitrack=True, bitrates=(16_000, 512_000)),
    )
}


LOSSY = tuple(name for name, item in FORMATS.items() if item.bitrates)


def named_format(name: str) -> Format:
    """The format called `name`.

    Raises:
        AudioError: there is none.
    """
    if name not in FORMATS:
        raise AudioError(f"no format {name!r}; allowed are {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of(path: Path) -> Format:
    """The format of a file, by its extension.

    Raises:
        AudioError: the extension is unknown.
    """
    name = path.name.lower()
    for key, item in FORMATS.items():
        if name.endswith("." + key):
            return item
    raise AudioError(f"{path}: the name ends with none of {', '.join('.' + key for key in FORMATS)}")
