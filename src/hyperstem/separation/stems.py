"""The results of separation: blocks of a song as they are ready, or the stems of the whole song."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hyperstem import audio
from hyperstem.files import user_path
from hyperstem.separation.output import Output, OutputSettings
from hyperstem.separation.stem_files import StemFiles


@dataclass(frozen=True)
class Block:
    """Finished samples of every stem."""

    start: int
    """First sample, counted from the first one separated."""
    rate_hz: int
    names: tuple[str, ...]
    """Names of the stems."""
    mixture: np.ndarray
    """(channel, time) float32: the input."""
    waves: np.ndarray
    """(stem, channel, time) float32; their sum is the mixture."""

    @property
    def stems(self) -> dict[str, np.ndarray]:
        """Name to (channel, time)."""
        return dict(zip(self.names, self.waves, strict=True))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(f"no stem {name!r}; there are {', '.join(self.names)}")
        return self.waves[self.names.index(name)]


class Stems(Mapping[str, np.ndarray]):
    """A separated song: stem name to float32 (channel, time); the stems sum to the mixture.

    Attributes:
        rate_hz: their sample rate, that of the input.
        mixture: the input, (channel, time).
        waves: (stem, channel, time).
    """

    def __init__(
        self,
        names: tuple[str, ...],
        waves: np.ndarray,
        mixture: np.ndarray,
        rate_hz: int,
        tags: Mapping[str, str] | audio.Tags | None = None,
        speakers: tuple[str, ...] = (),
    ) -> None:
        self.names, self.waves, self.mixture, self.rate_hz = names, waves, mixture, rate_hz
        self.tags, self.speakers = audio.Tags.of(tags), speakers

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(f"no stem {name!r}; there are {', '.join(self.names)}")
        return self.waves[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        channels, time = self.mixture.shape
        return f"Stems({', '.join(self.names)}: {channels} x {time / self.rate_hz:.2f} s at {self.rate_hz} Hz)"

    def save(
        self,
        folder: str | Path,
        format: str = "wav",
        subtype: str = "pcm16",
        channels: Literal["input", "mono", "stereo"] = "input",
    ) -> Output:
        """Writes one file per stem ("stem.mp4": a single file) into a folder, which is created if it is missing.

        Returns:
            The paths, and the gain that keeps fixed-point formats from clipping.

        Raises:
            AudioError: the format does not support the rate, channels or subtype.
            OSError: a file cannot be written.
        """
        kind = audio.named_format(format)
        folder = user_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = ("stems",) if kind.multitrack else self.names
        paths = {name: folder / f"{name}.{kind.name}" for name in names}
        settings = OutputSettings(kind, subtype, channels=channels)
        with StemFiles(paths, settings, self.names, self.rate_hz, len(self.mixture), self.tags, self.speakers) as files:
            step = 1 << 18
            for at in range(0, self.mixture.shape[1], step):
                files.write(self.mixture[:, at : at + step], self.waves[..., at : at + step])
            return files.close()
