"""How loud a stem comes out that is not there: ``python benchmarks/absent.py DATASET [--subset S] [--model M]``.

Every song of the dataset, and three of the built-in band, are separated without one of their stems and with one of them
alone. What comes out of a stem that was left out is compared with the mixture's level; medians over songs. The same is
done for a minute of recordings of which it is known what sounds in them, as in ``--recordings speech=vocals:FOLDER``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _results import machine, write_section

from hyperstem import audio
from hyperstem.config import STEMS
from hyperstem.evaluate.songs import find_songs, read_song
from hyperstem.separation.separator import Separator
from hyperstem.synth import render_song

BAND_SEEDS = (5, 6, 7)
BAND_S = 15.0
RECORDING_S = 60.0


class Song(NamedTuple):
    """True stems, (stem, channel, time)."""

    waves: np.ndarray
    rate_hz: int


class Recordings(NamedTuple):
    """Sound files in which only some stems sound."""

    name: str
    present: list[str]
    paths: list[Path]


def parse_recordings(text: str) -> Recordings:
    """What ``NAME=STEM,...:FOLDER`` says.

    Raises:
        argparse.ArgumentTypeError: it is of another form, a stem is unknown, or the folder has no files.
    """
    name, equals, rest = text.partition("=")
    stems, colon, folder = rest.partition(":")
    if not (equals and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=STEM,...:FOLDER")
    unknown = sorted(set(stems.split(",")) - set(STEMS))
    if unknown:
        raise argparse.ArgumentTypeError(f"no stem {unknown[0]!r} in {text!r}; there are {', '.join(STEMS)}")
    paths = sorted(path for path in Path(folder).glob("*") if path.is_file())
    if not paths:
        raise argparse.ArgumentTypeError(f"no files in {folder!r}")
    return Recordings(name, stems.split(","), paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--subset", default="validation")
    parser.add_argument("--model", default="default")
    parser.add_argument("--quality", default="full")
    parser.add_argument(
        "--recordings",
        action="append",
        default=[],
        type=parse_recordings,
        metavar="NAME=STEM,...:FOLDER",
        help="sound files in which only these stems sound; may be given often",
    )
    args = parser.parse_args()
    separator = Separator.load(args.model, args.quality)
    tables = [
        table(separator, name, songs)
        for name, songs in (
            (f"{args.dataset.name}, {args.subset}", recorded(args.dataset, args.subset)),
            ("built-in band", band()),
        )
    ]
    tables += [[recordings_row(separator, recordings)] for recordings in args.recordings]
    options = [
        f"--{name} {getattr(args, name)}"
        for name in ("subset", "model", "quality")
        if getattr(args, name) != parser.get_default(name)
    ]
    options += [f'--recordings "{name}={",".join(present)}:FOLDER"' for name, present, _ in args.recordings]
    write_section(
        "Absent stems",
        "\n".join(
            [
                f"`{' '.join(['python benchmarks/absent.py', args.dataset.name, *options])}`:",
                "level of a stem that is not in the song, dB beside the mixture (median over songs, the loudest song",
                f"in brackets), on {machine()}.",
                "",
                "| song | drums | bass | other | vocals |",
                "|---|---:|---:|---:|---:|",
                *[row for rows in tables for row in rows],
            ]
        ),
    )


def recorded(dataset: Path, subset: str) -> Iterator[Song]:
    for entry in find_songs(dataset, subset, STEMS).songs:
        song = read_song(entry, STEMS)
        yield Song(song.references, song.rate_hz)


def band() -> Iterator[Song]:
    for seed in BAND_SEEDS:
        stems = render_song(seed, BAND_S, 44100)
        yield Song(np.stack([stems[stem] for stem in STEMS]), 44100)


def table(separator: Separator, name: str, songs: Iterator[Song]) -> list[str]:
    """The table's rows for some songs: one without each stem, and one for each stem alone."""
    without: dict[str, list[float]] = {stem: [] for stem in STEMS}
    alone: dict[str, dict[str, list[float]]] = {stem: {other: [] for other in STEMS} for stem in STEMS}
    for waves, rate_hz in songs:
        for i, stem in enumerate(STEMS):
            if waves[i].any():
                without[stem].append(levels(separator, np.delete(waves, i, axis=0).sum(axis=0), rate_hz)[stem])
                for other, level in levels(separator, waves[i], rate_hz).items():
                    alone[stem][other].append(level)
    rows = [f"| {name}: without that stem | " + " | ".join(shown(without[stem]) for stem in STEMS) + " |"]
    for stem in STEMS:
        cells = ["" if other == stem else shown(alone[stem][other]) for other in STEMS]
        rows.append(f"| {name}: {stem} alone | " + " | ".join(cells) + " |")
    return rows


def recordings_row(separator: Separator, recordings: Recordings) -> str:
    """The table's row for sound files in which only some stems sound."""
    name, present, paths = recordings
    found: dict[str, list[float]] = {stem: [] for stem in STEMS}
    for path in paths:
        wave, rate_hz = audio.read(path, duration_s=RECORDING_S)
        for stem, level in levels(separator, wave, rate_hz).items():
            found[stem].append(level)
    cells = ["" if stem in present else shown(found[stem]) for stem in STEMS]
    return f"| {name} ({len(paths)} recordings) | " + " | ".join(cells) + " |"


def levels(separator: Separator, mixture: np.ndarray, rate_hz: int) -> dict[str, float]:
    """Level of each estimated stem beside the mixture, dB."""
    stems = separator.separate(np.ascontiguousarray(mixture), rate_hz)
    return {stem: decibels(stems[stem]) - decibels(mixture) for stem in STEMS}


def decibels(wave: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


def shown(values: list[float]) -> str:
    return f"{np.median(values):.1f} ({max(values):.1f})" if values else ""


if __name__ == "__main__":
    main()
