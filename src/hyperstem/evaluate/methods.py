"""What is scored: a model, a folder of stems, or a baseline. Each method is small enough to be sent to a process."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from hyperstem import audio
from hyperstem.dsp.resample import fit, resample
from hyperstem.errors import DataError
from hyperstem.evaluate.oracle import ideal_ratio_mask
from hyperstem.evaluate.songs import Song, spread
from hyperstem.separation.quality import Quality


class Method(Protocol):
    """Estimates a song's stems."""

    @property
    def label(self) -> str:
        """The name in tables."""
        ...

    def estimate(self, song: Song) -> np.ndarray:
        """(stem, channel, time) at the song's rate, in the order of the song's stems."""
        ...

    def changed_s(self, song: str) -> float:
        """When the estimates of `song` last changed, in seconds since the epoch; 0 if they never do."""
        return 0.0


@dataclass(frozen=True)
class ModelMethod(Method):
    """A model, run by Separator and loaded once in each process."""

    model: str
    quality: Quality
    threads: int | None = None

    @property
    def label(self) -> str:
        """The name in tables."""
        return Path(self.model).stem if Path(self.model).suffix else Path(self.model).name

    def estimate(self, song: Song) -> np.ndarray:
        """The stems, (stem, channel, time)."""
        separated = _separator(self.model, self.quality, self.threads).separate(song.mixture, song.rate_hz)
        waves = [resample(separated[stem], separated.rate_hz, song.rate_hz) for stem in song.stems]
        return np.stack([fit(wave, song.mixture.shape[-1]) for wave in waves])


@lru_cache(maxsize=1)
def _separator(model: str, quality: Quality, threads: int | None) -> Any:
    from hyperstem.separation.separator import Separator

    return Separator.load(model, quality=quality, threads=threads)


class ModelFacts(NamedTuple):
    """What an evaluation needs to know about a model."""

    stems: tuple[str, ...]
    sha256: str


def describe(model: str, quality: Quality) -> ModelFacts:
    """The facts of a model.

    Raises:
        ModelError: it cannot be loaded.
    """
    separator = _separator(model, quality, None)
    return ModelFacts(tuple(separator.stems), separator.model_sha256)


@dataclass(frozen=True)
class FolderMethod(Method):
    """Separated stems: ``folder/<song>/<stem>.<suffix>`` or ``folder/<subset>/<song>/<stem>.<suffix>``."""

    folder: str
    subset: str
    strict: bool = False
    """Whether damaged files are an error."""

    @property
    def label(self) -> str:
        """The name in tables."""
        return Path(self.folder).resolve().name

    def estimate(self, song: Song) -> np.ndarray:
        """The stems, (stem, channel, time)."""
        files = self._files(song)
        return np.stack([self._read(files[stem], song) for stem in song.stems])

    def changed_s(self, song: str) -> float:
        """When the newest of the song's files was written."""
        files = (path for place in self._places(song) if place.is_dir() for path in place.iterdir())
        return max((path.stat().st_mtime for path in files), default=0.0)

    def _places(self, song: str) -> list[Path]:
        return [Path(self.folder) / self.subset / song, Path(self.folder) / song]

    def _files(self, song: Song) -> Mapping[str, Path]:
        places = self._places(song.name)
        place = next((place for place in places if place.is_dir()), None)
        if place is None:
            raise DataError(f"no estimates of {song.name!r}: there is neither {places[0]} nor {places[1]}")
        files = {path.stem: path for path in sorted(place.iterdir()) if path.suffix.lower() in audio.READABLE}
        absent = [stem for stem in song.stems if stem not in files]
        if absent:
            raise DataError(f"{place} has no {', '.join(absent)}; found {', '.join(files) or 'no sound file'}")
        return files

    def _read(self, path: Path, song: Song) -> np.ndarray:
        wave, rate_hz = audio.read(path, strict=self.strict)
        if rate_hz != song.rate_hz:
            raise DataError(f"{path} has {rate_hz} Hz, the reference {song.rate_hz} Hz; resample one of them first")
        return fit(spread(wave, song.mixture.shape[0], str(path)), song.mixture.shape[-1])


@dataclass(frozen=True)
class MixtureMethod(Method):
    """The mixture itself as the estimate of every stem: the score without any separation."""

    label: str = "mixture"

    def estimate(self, song: Song) -> np.ndarray:
        """The stems, (stem, channel, time)."""
        return np.broadcast_to(song.mixture, (len(song.stems), *song.mixture.shape))


@dataclass(frozen=True)
class OracleMethod(Method):
    """The ideal ratio mask."""

    label: str = "ideal ratio mask"

    def estimate(self, song: Song) -> np.ndarray:
        """The stems, (stem, channel, time)."""
        sources = np.concatenate([song.references, song.others])
        return ideal_ratio_mask(sources, song.mixture)[: len(song.stems)]
