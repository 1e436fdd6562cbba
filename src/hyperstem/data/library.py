"""Prepared tracks: crops of single stems, and where each stem is active."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperstem.config import DataConfig, SourceConfig
from hyperstem.data.prepare import FORMAT, MANIFEST, settings, source_folder
from hyperstem.data.rows import BLOCK_S, FLOOR_DB, SILENT_DB
from hyperstem.errors import DataError

ACTIVE_SHARE = 0.25
"""A stem is active in a crop if it is active in at least this fraction of the crop's blocks."""


@dataclass(frozen=True)
class PreparedTrack:
    """One track of a prepared source; its samples stay on disk."""

    name: str
    source: str
    path: Path
    rate_hz: int
    frames: int
    channels: int
    stems: tuple[str, ...]
    scales: Mapping[str, float]
    level_db: Mapping[str, float]
    blocks_db: Mapping[str, Sequence[int]] = field(repr=False)
    sums: Mapping[str, tuple[str, ...]]
    hashes: frozenset[str]
    """SHA-256 of the files that are not silent; all silent files are equal."""

    def _samples(self) -> np.ndarray:
        """The samples, memory-mapped for each crop, because a permanent map of each track keeps too many files open."""
        try:
            samples = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"prepared file {self.path} is damaged ({error}); run hyperstem prepare again") from None
        if samples.shape != (len(self.stems), self.frames, self.channels):
            raise DataError(f"prepared file {self.path} has shape {samples.shape}; run hyperstem prepare again")
        return samples

    @cached_property
    def single(self) -> frozenset[str]:
        """Stems that are not only part of a sum."""
        return frozenset(self.stems) - {member for members in self.sums.values() for member in members}

    def crop(self, stem: str, start: int, length: int) -> np.ndarray:
        """Samples of one stem, float32 (channel, length), padded with silence outside the track."""
        result = np.zeros((self.channels, length), np.float32)
        first, last = max(start, 0), min(start + length, self.frames)
        if stem in self.stems and self.scales[stem] > 0 and first < last:
            samples = self._samples()[self.stems.index(stem), first:last]  # (time, channel)
            np.multiply(samples.T, np.float32(self.scales[stem]), out=result[:, first - start : last - start])
        return result

    def has_signal(self, stem: str) -> bool:
        """Whether the stem is not silent throughout."""
        return self.level_db.get(stem, FLOOR_DB) > FLOOR_DB

    def active_s(self, stem: str) -> float:
        """Seconds in which the stem is active."""
        active = np.asarray(self.blocks_db.get(stem, ()), int) > SILENT_DB
        missing_s = len(active) * BLOCK_S - self.frames / self.rate_hz  # the last block is shorter
        return float(active.sum()) * BLOCK_S - (missing_s if active[-1:].any() else 0.0)

    def active_starts(self, stem: str, length: int) -> np.ndarray:
        """(count,) int: blocks at which a crop of `length` samples may start so that the stem is active."""
        active = np.asarray(self.blocks_db.get(stem, ()), int) > SILENT_DB
        blocks = min(max(1, round(length / self.rate_hz / BLOCK_S)), max(1, len(active)))
        sums = np.concatenate([[0], np.cumsum(active)])
        return np.flatnonzero(sums[blocks:] - sums[:-blocks] >= ACTIVE_SHARE * blocks)


class Source(NamedTuple):
    """A source with its prepared tracks."""

    config: SourceConfig
    tracks: tuple[PreparedTrack, ...]


class Library(NamedTuple):
    """All prepared training tracks, by source."""

    songs: tuple[Source, ...]
    solos: tuple[Source, ...]


def load_source(
    config: DataConfig, source: SourceConfig, stems: Sequence[str], rate_hz: int
) -> tuple[PreparedTrack, ...]:
    """The prepared tracks of one source.

    Raises:
        DataError: it is not or only partly prepared, was prepared for other stems, or has no usable track.
    """
    path = source_folder(config, source, rate_hz) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"source {source.name!r} is not prepared at {rate_hz} Hz (no {path}); run hyperstem prepare"
        ) from None
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); run hyperstem prepare again") from None
    if manifest.get("format") != FORMAT or manifest.get("stems") != list(stems):
        raise DataError(
            f"{path} is prepared for stems {manifest.get('stems')}, format {manifest.get('format')}; "
            f"the model has {list(stems)}, format {FORMAT}: run hyperstem prepare again"
        )
    if changed := [name for name, value in settings(source).items() if manifest["settings"].get(name) != value]:
        raise DataError(
            f"source {source.name!r} was prepared with other settings ({', '.join(changed)}); "
            "run hyperstem prepare again"
        )
    if not manifest["tracks"]:
        raise DataError(f"source {source.name!r} has no usable track ({path})")
    tracks = tuple(_track(entry, path.parent, source.name) for entry in manifest["tracks"])
    for track in tracks:
        if not track.path.is_file() or track.path.stat().st_size < 2 * len(track.stems) * track.frames * track.channels:
            raise DataError(f"prepared file {track.path} is missing or truncated; run hyperstem prepare again")
    return tracks


def _track(entry: Mapping[str, Any], folder: Path, source: str) -> PreparedTrack:
    copied = {key: entry[key] for key in ("name", "rate_hz", "frames", "channels", "scales", "level_db", "blocks_db")}
    audible = {path for stem, parts in entry["parts"].items() if entry["scales"][stem] > 0 for path, _ in parts}
    return PreparedTrack(
        source=source,
        path=folder / entry["file"],
        stems=tuple(entry["stems"]),
        sums={first: tuple(members) for first, members in entry["sums"].items()},
        hashes=frozenset(file["sha256"] for file in entry["files"] if file["path"] in audible),
        **copied,
    )


def load_library(config: DataConfig, stems: Sequence[str], rate_hz: int) -> Library:
    """All training sources; checks that they contain no validation recording.

    Args:
        config: settings with absolute folders.
        stems: the model's stems.
        rate_hz: the model's top rate.

    Raises:
        DataError: a source is not prepared, or a validation recording is among the training recordings.
    """
    sources = [Source(each, load_source(config, each, stems, rate_hz)) for each in config.sources if each.weight > 0]
    for held_out in config.validation:
        _check_disjoint(sources, load_source(config, held_out, stems, rate_hz))
    return Library(
        tuple(source for source in sources if source.config.layout != "solo"),
        tuple(source for source in sources if source.config.layout == "solo"),
    )


def _check_disjoint(sources: Sequence[Source], held_out: Sequence[PreparedTrack]) -> None:
    hashes = {digest: track for track in held_out for digest in track.hashes}
    names = {track.name.casefold(): track for track in held_out}
    for source, tracks in sources:
        for track in tracks:
            common = track.hashes & hashes.keys()
            match = names.get(track.name.casefold()) or (hashes[min(common)] if common else None)
            if match is not None:
                raise DataError(
                    f"source {source.name!r} trains on {track.name!r}, which validates as {match.name!r} "
                    f"in {match.source!r}; leave it out with exclude"
                )
