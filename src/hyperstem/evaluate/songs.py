"""Finds the songs to score, and reads their references and mixtures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.config import STEMS, SourceConfig
from hyperstem.data.tracks import MIXTURES, Part, Track, find_tracks
from hyperstem.errors import DataError

Subset = Literal["train", "validation", "test", "all"]
WHOLE_FOLDER = "all"
_LOSSLESS = frozenset({".wav", ".flac", ".aif", ".aiff", ".caf", ".w64"})


@dataclass(frozen=True)
class Entry:
    """One song on disk."""

    name: str
    subset: str
    track: Track
    mixture: Part | None


class Entries(NamedTuple):
    """The songs of a dataset that can be scored, and one line for each that cannot."""

    songs: tuple[Entry, ...]
    problems: tuple[str, ...]


class Song(NamedTuple):
    """One song in memory."""

    name: str
    stems: tuple[str, ...]
    references: np.ndarray
    """(stem, channel, time) float32; zeros where the song has no such stem."""
    others: np.ndarray
    """(n, channel, time) float32: the other stems in the mixture."""
    mixture: np.ndarray
    """(channel, time) float32."""
    rate_hz: int
    notes: tuple[str, ...]
    """What was changed in reading."""


def find_songs(
    dataset: Path,
    subset: Subset | None,
    stems: Sequence[str],
    missing: Literal["error", "silence"] = "error",
    aliases: Mapping[str, str] | None = None,
) -> Entries:
    """The songs of `dataset`, sorted by name.

    Args:
        dataset: MUSDB18 or MUSDB18-HQ (a folder with train/ and test/), MoisesDB, or a folder of
            ``<song>/<stem>.<suffix>``.
        subset: None means test if the dataset has subsets, and otherwise the whole folder.
        stems: all stems of the songs, not only those to score; MUSDB18's songs always have the usual four.
        missing: whether a missing stem file is an error or a silent stem.
        aliases: stem of each named file; "" leaves a file out.

    Raises:
        DataError: the folder, the subset or its songs do not exist.
    """
    if not dataset.is_dir():
        raise DataError(f"no folder {dataset}")
    layout = _layout(dataset)
    undivided = layout in ("moisesdb", "folders")
    if undivided and subset not in (None, WHOLE_FOLDER):
        raise DataError(f"no subset {subset!r} in {dataset}, which has neither train/ nor test/; allowed is all of it")
    chosen = "" if undivided else subset or "test"
    known = stems if undivided else tuple(dict.fromkeys((*stems, *STEMS)))
    try:
        source = SourceConfig("dataset", layout, ".", chosen, missing=missing, aliases=dict(aliases or {}))
        found = find_tracks(source, dataset, known)
    except DataError as error:
        raise DataError(f"{error}{f' (subset {chosen!r})' if chosen else ''}") from None
    where = chosen or WHOLE_FOLDER
    songs = (Entry(track.name.replace("/", "_"), where, track, _mixture_part(track)) for track in found.tracks)
    return Entries(tuple(songs), found.problems)


def _layout(dataset: Path) -> Literal["musdb18", "musdb18-hq", "moisesdb", "folders"]:
    if any(dataset.glob("*.stem.mp4")):
        raise DataError(f"{dataset} has *.stem.mp4 files itself; give its parent folder, the one with train/ or test/")
    subsets = [dataset / name for name in ("train", "test") if (dataset / name).is_dir()]
    if any(any(place.glob("*.stem.mp4")) for place in subsets):
        return "musdb18"
    if subsets:
        return "musdb18-hq"
    return "moisesdb" if next(dataset.glob("**/data.json"), None) else "folders"


def _mixture_part(track: Track) -> Part | None:
    """The track's mixture file, if any: the first stream of a stem.mp4, or a file in the folder of the stems."""
    first = track.files[0]
    if first.name.endswith(".stem.mp4"):
        return Part(first, 0)
    files = (path for path in sorted(first.parent.iterdir()) if path.suffix.lower() in audio.READABLE)
    path = next((path for path in files if path.stem in MIXTURES), None)
    return Part(path) if path else None


def read_song(entry: Entry, stems: Sequence[str], strict: bool = False) -> Song:
    """Reads a song's stems and mixture; without a mixture file, the mixture is the sum of the stems.

    Files of unequal length are cropped to the shortest, with a note. Lossy files are rounded to 16 bits, as by tools
    that convert them to wav files first: they are almost empty above the codec's cut-off, and BSS Eval's SIR, ISR and
    SAR would otherwise depend on the solver's rounding errors (by more than 1 dB; SDR does not).

    Args:
        entry: the song.
        stems: the stems to score.
        strict: whether damaged files are an error; otherwise what can be decoded is read, with an `AudioWarning`.

    Raises:
        DataError: rates or channel counts differ.
        AudioError: a file cannot be read.
    """
    rows = entry.track.rows
    names = (*stems, *(stem for stem in rows if stem not in stems))
    parts = [part for name in names for part in rows.get(name, ())]
    everything = [*parts, *filter(None, [entry.mixture])]
    waves = {part: _read(part, strict) for part in everything}
    rate_hz = _common_rate(entry.name, everything)
    channels = max(wave.shape[0] for wave in waves.values())
    lengths = {wave.shape[-1] for wave in waves.values()}
    time = min(lengths)
    sources = np.zeros((len(names), channels, time), np.float32)
    for row, name in zip(sources, names, strict=True):
        for part in rows.get(name, ()):
            row += spread(waves[part], channels, entry.name)[:, :time]
    mixture = spread(waves[entry.mixture], channels, entry.name)[:, :time] if entry.mixture else sources.sum(axis=0)
    note = f"{entry.name}: files of unequal length ({time} to {max(lengths)} samples), cropped to the shortest"
    references, others = sources[: len(stems)], sources[len(stems) :]
    return Song(entry.name, tuple(stems), references, others, mixture, rate_hz, (note,) if len(lengths) > 1 else ())


def _common_rate(name: str, parts: Sequence[Part]) -> int:
    rates = {part.path: audio.probe(part.path, part.stream).rate_hz for part in parts}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{path.name} {rate} Hz" for path, rate in rates.items())
        raise DataError(f"{name}: sample rates differ: {listed}")
    return next(iter(rates.values()))


def spread(wave: np.ndarray, channels: int, name: str) -> np.ndarray:
    """`wave` (channel, time) with `channels` channels; mono is repeated.

    Raises:
        DataError: it has another number of channels and is not mono.
    """
    if wave.shape[0] not in (1, channels):
        raise DataError(f"{name}: {wave.shape[0]} channels, other files {channels}; allowed are equal numbers, or mono")
    return np.broadcast_to(wave, (channels, wave.shape[-1]))


def _read(part: Part, strict: bool) -> np.ndarray:
    wave, _ = audio.read(part.path, stream=part.stream, strict=strict)
    if part.path.suffix.lower() in _LOSSLESS:
        return wave
    return np.round(wave * 32768) / np.float32(32768)
