"""How loud a stem comes out that is not there: ``python benchmarks/absent.py DATASET [--subset S] [--model M]``.

Every song of the dataset, and three of the built-in band, are separated without one of their stems and with one of them
alone. What comes out of a stem that was left out is compared with the mixture's level, over the whole song and in its
worst half second; medians over songs. The same is done for a minute of recordings of which it is known what sounds in
them, as in ``--recordings speech=vocals:FOLDER``.
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
WINDOW_S = 0.5
FAINT_DB = -30.0
"""Windows in which the mixture is softer than this, beside its level over the whole song, do not count."""


class Song(NamedTuple):
    """True stems, (stem, channel, time)."""

    waves: np.ndarray
    rate_hz: int


class Leak(NamedTuple):
    """Level of a stem that is not in the song, dB beside the mixture."""

    whole: float
    """Over the whole song."""
    worst: float
    """In the worst half second."""


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
                "level of a stem that is not in the song, dB beside the mixture: median over songs (the loudest song;",
                f"the worst half second of all songs), on {machine()}.",
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
    without: dict[str, list[Leak]] = {stem: [] for stem in STEMS}
    alone: dict[str, dict[str, list[Leak]]] = {stem: {other: [] for other in STEMS} for stem in STEMS}
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
    found: dict[str, list[Leak]] = {stem: [] for stem in STEMS}
    for path in paths:
        wave, rate_hz = audio.read(path, duration_s=RECORDING_S)
        for stem, level in levels(separator, wave, rate_hz).items():
            found[stem].append(level)
    cells = ["" if stem in present else shown(found[stem]) for stem in STEMS]
    return f"| {name} ({len(paths)} recordings) | " + " | ".join(cells) + " |"


def levels(separator: Separator, mixture: np.ndarray, rate_hz: int) -> dict[str, Leak]:
    """How loud each stem comes out."""
    stems = separator.separate(np.ascontiguousarray(mixture), rate_hz)
    window = round(WINDOW_S * rate_hz)
    mean, parts = powers(mixture, mixture.shape[-1]), powers(mixture, window)
    heard = parts > mean * 10 ** (FAINT_DB / 10)
    found = {}
    for stem in STEMS:
        whole = powers(stems[stem], mixture.shape[-1]) / mean
        ratios = powers(stems[stem], window)[heard] / parts[heard]
        found[stem] = Leak(*(10 * float(np.log10(ratio.max() + 1e-20)) for ratio in (whole, ratios)))
    return found


def powers(wave: np.ndarray, window: int) -> np.ndarray:
    """Mean square of each whole window of a wave (channel, time)."""
    count = wave.shape[-1] // window
    cut = wave[:, : count * window].reshape(len(wave), count, window)
    return np.square(cut, dtype=np.float64).mean(axis=(0, 2)) + 1e-20


def shown(leaks: list[Leak]) -> str:
    if not leaks:
        return ""
    whole = [leak.whole for leak in leaks]
    return f"{np.median(whole):.1f} ({max(whole):.1f}; {max(leak.worst for leak in leaks):.1f})"


if __name__ == "__main__":
    main()
