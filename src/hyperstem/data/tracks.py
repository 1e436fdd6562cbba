"""Finds tracks: MUSDB18, MUSDB18-HQ, MoisesDB, folders of stems, and solo pools of one stem."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hyperstem import extensions
from hyperstem.audio import READABLE
from hyperstem.config import SourceConfig
from hyperstem.errors import DataError

# The tracks of MUSDB18's training half that are held out for validation, as the musdb package names them.
MUSDB_VALIDATION = (
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
)
MUSDB_STREAMS = ("mixture", "drums", "bass", "other", "vocals")
MOISES_STEMS = {"vocals": "vocals", "drums": "drums", "percussion": "drums", "bass": "bass"}
MIXTURES = frozenset({"mixture", "mix", "linear_mixture"})


class Part(NamedTuple):
    """One audio stream of one file."""

    path: Path
    stream: int | None = None
    """Number of the stream, from 0; None for the file's default stream."""


@dataclass(frozen=True)
class Track:
    """One recording."""

    name: str
    source: str
    rows: Mapping[str, tuple[Part, ...]]
    """For each stem the parts that sum to it; a stem without parts is silent."""
    sums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Stems known only as a sum: from the stem whose row holds the sum to all stems in the sum."""
    solo: bool = False
    """Whether it is a recording of one stem alone."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the track, without duplicates."""
        return tuple(dict.fromkeys(part.path for parts in self.rows.values() for part in parts))


class Found(NamedTuple):
    """The songs of a source."""

    tracks: tuple[Track, ...]
    """Usable songs."""
    problems: tuple[str, ...]
    """One line for each song that cannot be used."""


def find_tracks(source: SourceConfig, root: Path, stems: Sequence[str]) -> Found:
    """All tracks of `source`, sorted by name.

    Args:
        source: settings of the source.
        root: the folder to which ``source.path`` is relative.
        stems: the model's stems.

    Raises:
        DataError: the folder is missing, empty or lacks the subset; two songs have the same name; or a setting names
            an unknown stem or song.
    """
    _check_names(source, stems)
    folder = root / source.path
    if not folder.is_dir():
        raise DataError(f"source {source.name!r}: no folder {folder}")
    listed = list(_songs(source, folder))
    songs = dict(listed)
    if len(songs) < len(listed):
        names = [name for name, _ in listed]
        raise DataError(f"source {source.name!r}: {max(names, key=names.count)!r} appears twice in {folder}")
    for name in source.exclude:
        if name not in songs:
            raise DataError(f"source {source.name!r}: exclude names {name!r}, which is not in {folder}")
    tracks, problems = [], []
    for name, parts in songs.items():
        if name in source.exclude:
            continue
        try:
            tracks.append(_track(source, name, parts(), stems))
        except DataError as error:
            problems.append(f"{source.name}: {name}: {error}")
    if not tracks and not problems:
        raise DataError(f"source {source.name!r}: no {source.layout} tracks in {folder}")
    return Found(tuple(sorted(tracks, key=lambda track: track.name)), tuple(sorted(problems)))


def _songs(source: SourceConfig, folder: Path) -> "Songs":
    if source.layout in _SONGS:
        return _SONGS[source.layout](source, folder)
    layout: Layout = extensions.find(extensions.LAYOUTS, source.layout)
    return ((name, partial(list, parts)) for name, parts in layout(folder, source))


def _check_names(source: SourceConfig, stems: Sequence[str]) -> None:
    named = [source.stem] if source.stem else []
    named += [member for members in source.sums.values() for member in members]
    for name in [*named, *(alias for alias in source.aliases.values() if alias and alias not in source.sums)]:
        if name not in stems:
            raise DataError(f"source {source.name!r} names stem {name!r}; the model's stems are {', '.join(stems)}")


def _track(source: SourceConfig, name: str, parts: Sequence[tuple[str, Part]], stems: Sequence[str]) -> Track:
    """The track of `parts`: pairs of a stem's name in the source and an audio stream."""
    given: dict[str, tuple[Part, ...]] = {}
    for label, part in parts:
        target = source.aliases.get(label, label)
        if not target or (label in MIXTURES and label not in source.aliases):
            continue
        if target not in stems and target not in source.sums:
            raise DataError(
                f"{part.path.name}: no stem {target!r}; the stems are {', '.join(stems)} "
                f'(aliases = {{ "{label}" = "other" }} maps it, "" in place of "other" leaves it out)'
            )
        given[target] = (*given.get(target, ()), part)
    sums = {source.sums[name][0]: source.sums[name] for name in given if name in source.sums}
    _check_complete(source, given, stems)
    rows = {source.sums[name][0] if name in source.sums else name: parts for name, parts in given.items()}
    return Track(name, source.name, {stem: rows[stem] for stem in stems if stem in rows}, sums, source.layout == "solo")


def _check_complete(source: SourceConfig, given: Mapping[str, tuple[Part, ...]], stems: Sequence[str]) -> None:
    covered = [stem for name in given for stem in source.sums.get(name, (name,))]
    for stem in covered:
        if covered.count(stem) > 1:
            raise DataError(f"stem {stem!r} appears twice: alone and in a sum, or in two sums")
    if not given:
        raise DataError("no stem")
    missing = [stem for stem in stems if stem not in covered]
    if missing and source.missing == "error" and source.layout != "solo":
        raise DataError(f'no file for {", ".join(missing)} (missing = "silence" makes it silent)')


def _subset(source: SourceConfig, folder: Path, default: str) -> list[tuple[str, Path]]:
    """Pairs of subset (train or test) and its folder, for layouts that have them."""
    wanted = source.subset or default
    names = {"train": ["train"], "validation": ["train"], "test": ["test"], "all": ["train", "test"]}[wanted]
    folders = [(name, folder / name) for name in names if (folder / name).is_dir()]
    if not folders:
        existing = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "none"
        raise DataError(
            f"source {source.name!r}: subset {wanted!r} needs the folder {folder / names[0]}; there are {existing}"
        )
    return folders


def _in_subset(source: SourceConfig, subset: str, name: str) -> bool:
    held_out = subset == "train" and name in MUSDB_VALIDATION
    return {"train": not held_out, "validation": held_out}.get(source.subset or "train", True)


Layout = Callable[[Path, SourceConfig], Iterable[tuple[str, Iterable[tuple[str, Part]]]]]
"""A layout added by an extension: from a source's folder and settings to the name of each song and its parts. A part is
the name of a stem (or an alias of one) and an audio stream. A DataError while reading parts affects only that song."""

Songs = Iterator[tuple[str, Callable[[], list[tuple[str, Part]]]]]
"""Names of songs, each with a function that reads its parts, so that an error affects only that song."""


def _musdb18(source: SourceConfig, folder: Path) -> Songs:
    for subset, place in _subset(source, folder, "train"):
        for path in sorted(place.glob("*.stem.mp4")):
            name = path.name.removesuffix(".stem.mp4")
            if _in_subset(source, subset, name):
                yield name, partial(_streams, path)


def _streams(path: Path) -> list[tuple[str, Part]]:
    return [(label, Part(path, i)) for i, label in enumerate(MUSDB_STREAMS)]


def _musdb18_hq(source: SourceConfig, folder: Path) -> Songs:
    for subset, place in _subset(source, folder, "train"):
        for song in _visible_folders(place):
            if _in_subset(source, subset, song.name):
                yield song.name, partial(_stem_files, song)


def _folders(source: SourceConfig, folder: Path) -> Songs:
    places = [folder] if not source.subset else [place for _, place in _subset(source, folder, "all")]
    for place in places:
        for song in _visible_folders(place):
            yield song.name, partial(_stem_files, song)


def _stem_files(song: Path) -> list[tuple[str, Part]]:
    files = _sound_files(song, deep=False)
    labels = [path.stem for path in files]
    for label in labels:
        if labels.count(label) > 1:
            raise DataError(f"two files for {label!r}: {', '.join(path.name for path in files if path.stem == label)}")
    if not files:
        raise DataError(f"no sound file in {song}")
    return [(path.stem, Part(path)) for path in files]


def _moisesdb(source: SourceConfig, folder: Path) -> Songs:
    for song in sorted(path.parent for path in folder.glob("**/data.json")):
        yield str(song.relative_to(folder)), partial(_moises_files, song)


def _moises_files(song: Path) -> list[tuple[str, Part]]:
    """MoisesDB's ``<stem>/<track id>.<suffix>`` as listed in data.json; its eleven kinds of stem become four."""
    try:
        stems = json.loads((song / "data.json").read_text(encoding="utf-8"))["stems"]
        listed = [
            (stem["stemName"], f"{take['id']}.{take.get('extension', 'wav')}")
            for stem in stems
            for take in stem["tracks"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{song / 'data.json'} does not list stems as MoisesDB does: {error!r}") from None
    return [(MOISES_STEMS.get(kind, "other"), Part(song / kind / file)) for kind, file in listed]


def _solo(source: SourceConfig, folder: Path) -> Songs:
    for path in _sound_files(folder, deep=True):
        yield str(path.relative_to(folder).with_suffix("")), partial(_one, source.stem, path)


def _one(stem: str, path: Path) -> list[tuple[str, Part]]:
    return [(stem, Part(path))]


def _visible_folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _sound_files(place: Path, deep: bool) -> list[Path]:
    below = (Path(folder) / name for folder, _, names in os.walk(place, followlinks=True) for name in names)
    paths = below if deep else place.iterdir()
    return sorted(path for path in paths if path.suffix.lower() in READABLE and not path.name.startswith("."))


_SONGS = {"musdb18": _musdb18, "musdb18-hq": _musdb18_hq, "moisesdb": _moisesdb, "folders": _folders, "solo": _solo}
