"""Who separates: a model, a folder of somebody's stems, or a baseline. Each is small enough to send to a process."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from hyperstem import audio
from hyperstem.dsp.resample import fit, resample
from hyperstem.errors import DataError
from hyperstem.evaluate import oracle
from hyperstem.evaluate.songs import Song, spread
from hyperstem.separation.quality import Quality


class Method(Protocol):
    """Gives estimates of a song's stems."""

    @property
    def label(self) -> str:
        """Its name in tables."""
        ...

    def estimate(self, song: Song) -> np.ndarray:
        """(stem, channel, time) at the song's rate, in the song's order of stems."""
        ...

    def changed_s(self, song: str) -> float:
        """When what the estimates of `song` come from last changed, in seconds since the epoch; 0 if it never does."""
        ...


@dataclass(frozen=True)
class ModelMethod:
    """A model, run by Separator; loaded once in each process."""

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

    def changed_s(self, song: str) -> float:
        """Never."""
        return 0.0


@lru_cache(maxsize=1)
def _separator(model: str, quality: Quality, threads: int | None) -> Any:
    from hyperstem.separation.separator import Separator

    return Separator.load(model, quality=quality, threads=threads)


class ModelFacts(NamedTuple):
    """What an evaluation must know of a model beforehand."""

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
class FolderMethod:
    """Somebody's stems: ``folder/<song>/<stem>.<suffix>`` or ``folder/<subset>/<song>/<stem>.<suffix>``."""

    folder: str
    subset: str
    strict: bool = False
    """Damaged files are an error."""

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
            raise DataError(f"no estimates of {song.name!r}: neither folder {places[0]} nor {places[1]}")
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
class MixtureMethod:
    """The mixture given out as every stem."""

    label: str = "mixture"

    def estimate(self, song: Song) -> np.ndarray:
        """The stems, (stem, channel, time)."""
        return oracle.mixture_as_stems(song.mixture, len(song.stems))

    def changed_s(self, song: str) -> float:
        """Never."""
        return 0.0


@dataclass(frozen=True)
class OracleMethod:
    """The ideal ratio mask."""

    label: str = "ideal ratio mask"

    def estimate(self, song: Song) -> np.ndarray:
        """The stems, (stem, channel, time)."""
        sources = np.concatenate([song.references, song.others])
        return oracle.ideal_ratio_mask(sources, song.mixture)[: len(song.stems)]

    def changed_s(self, song: str) -> float:
        """Never."""
        return 0.0
