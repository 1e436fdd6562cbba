"""Tables of an evaluation: aligned text, Markdown, CSV and JSON values."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperstem.evaluate.change import Difference
from hyperstem.evaluate.listening import BAND_MEASURES, LISTENING_MEASURES
from hyperstem.evaluate.scores import MEASURES, Cell, SongScores, over_songs

PUBLISHED_LABEL = "Meta-TasNet, published (MUSDB18 test)"
PUBLISHED_SDR = {"drums": 5.91, "bass": 5.58, "other": 4.19, "vocals": 6.40}
"""Source: Samuel, Ganeshan, Naradowsky, "Meta-learning Extractors for Music Source Separation", ICASSP 2020."""

SHELL_MEASURES = ("SDR", "SI-SDR", "track SDR")
_LISTENING_HEADS = ("0-250", "250-1k", "1k-4k", "4k-10k", "10k-20k", "attacks", "rests", "worst")
_LISTENING_TITLE = "SDR by band in Hz and of attacks, level of rests (median and worst) relative to the mixture, dB"


@dataclass(frozen=True)
class Row:
    """One method's row of the tables."""

    label: str
    cells: Mapping[str, Mapping[str, Cell]]
    """Measure, then stem."""
    frames: int
    left_out: Mapping[str, int]
    """Number of frames without a score by stem."""


def row(label: str, songs: Sequence[SongScores], stems: Sequence[str]) -> Row:
    """A method's medians over frames, then over songs."""
    frames = sum(max((values.shape[1] for values in song.frames.values()), default=0) for song in songs)
    cells = {measure: {stem: over_songs(songs, stem, measure) for stem in stems} for measure in MEASURES}
    left_out = {stem: sum(song.left_out(stem) for song in songs if stem in song.frames) for stem in stems}
    return Row(label, cells, frames, left_out)


def published_row(stems: Sequence[str]) -> Row | None:
    """The paper's results, if `stems` are its four stems."""
    if set(stems) != set(PUBLISHED_SDR):
        return None
    cells = {"SDR": {stem: Cell(PUBLISHED_SDR[stem], 50) for stem in stems}}
    return Row(PUBLISHED_LABEL, cells, 0, {})


def average(cells: Mapping[str, Cell]) -> float:
    """Mean over the stems; NaN if a stem has no value."""
    return sum(cell.value for cell in cells.values()) / len(cells)


def shell_table(rows: Sequence[Row], stems: Sequence[str], measures: Sequence[str] = SHELL_MEASURES) -> str:
    """Aligned columns, one block per measure."""
    width = max(len(line.label) for line in rows)
    return "\n\n".join(
        _aligned(f"{measure}, dB", (*stems, "average"), _measure_rows(rows, measure, stems), width)
        for measure in measures
    )


def listening_table(rows: Sequence[Row], stems: Sequence[str]) -> str:
    """The listening measures in aligned columns, one block per method, one line per stem."""
    width = max(map(len, (*(line.label for line in rows), *stems)))
    blocks = (
        _aligned(line.label, _LISTENING_HEADS, [(stem, _listening_values(line, stem)) for stem in stems], width)
        for line in rows
        if BAND_MEASURES[0] in line.cells
    )
    return "\n\n".join([_LISTENING_TITLE, *blocks])


def _aligned(title: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], width: int) -> str:
    lines = ((title, heads), *rows)
    return "\n".join(f"{name:<{width}}" + "".join(f"{value:>9}" for value in values) for name, values in lines)


def markdown(rows: Sequence[Row], stems: Sequence[str], songs: int, where: str) -> str:
    """All measures and the number of frames left out, as Markdown."""
    parts = [
        f"# Evaluation on {where}\n",
        f"{songs} songs. SDR, ISR, SIR, SAR: BSS Eval v4, 1 s frames, median over frames, then over songs. "
        "SI-SDR and track SDR: whole songs, median over songs. All in dB. The average is over stems.\n",
    ]
    for measure in MEASURES:
        if measure not in LISTENING_MEASURES:
            parts += [f"## {measure}\n", _line("", *stems, "average"), _rule(1, len(stems) + 1)]
            parts += [*(_line(label, *values) for label, values in _measure_rows(rows, measure, stems)), ""]
    parts += [
        "## By frequency band, attacks and rests\n",
        "Bands in Hz. SDR of whole songs in each band, and within 50 ms after onsets: medians over songs. Rests: level "
        "relative to the mixture in half-second windows in which the stem rests, median over windows, then over songs; "
        "worst: the loudest such window of all songs.\n",
        _line("", "", *_LISTENING_HEADS),
        _rule(2, len(_LISTENING_HEADS)),
    ]
    for line in rows:
        if BAND_MEASURES[0] in line.cells:
            parts += [_line(line.label, stem, *_listening_values(line, stem)) for stem in stems]
    parts += [
        "\n## Frames left out\n",
        "A frame in which some stem is silent has no score (NaN) and counts in no median.\n",
        _line("", *stems, "of"),
        _rule(1, len(stems) + 1),
    ]
    for line in rows:
        if line.left_out:
            parts.append(_line(line.label, *(line.left_out[stem] for stem in stems), line.frames))
    return "\n".join(parts) + "\n"


def _line(*cells: object) -> str:
    """A row of a Markdown table."""
    return "|" + "".join(f" {cell} |" if cell != "" else " |" for cell in cells)


def _rule(names: int, numbers: int) -> str:
    """The line below a Markdown table's head."""
    return "|" + "---|" * names + "---:|" * numbers


def _measure_rows(rows: Sequence[Row], measure: str, stems: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Label and values of every method that has the measure."""
    return [(line.label, _values(line, measure, stems)) for line in rows if measure in line.cells]


def _listening_values(line: Row, stem: str) -> list[str]:
    return [_decimal(line.cells[measure][stem].value) for measure in LISTENING_MEASURES]


def _values(line: Row, measure: str, stems: Sequence[str]) -> list[str]:
    cells = line.cells[measure]
    return [_decimal(value) for value in (*(cells[stem].value for stem in stems), average(cells))]


def _decimal(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def csv_table(scored: Mapping[str, Sequence[SongScores]], stems: Sequence[str]) -> str:
    """One line per method, song and stem: values in dB (empty if there is none) and numbers of frames."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "song", "stem", *MEASURES, "frames", "frames left out"])
    for label, songs in scored.items():
        for song in songs:
            for stem in stems:
                if stem in song.frames:
                    values = (song.median(stem, measure) for measure in MEASURES)
                    numbers = ["" if math.isnan(value) else round(value, 5) for value in values]
                    writer.writerow([label, song.name, stem, *numbers, song.frames[stem].shape[1], song.left_out(stem)])
    return out.getvalue()


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON values; None instead of NaN."""
    return [
        {
            "method": line.label,
            "published": line.label == PUBLISHED_LABEL,
            "median": {
                measure: {stem: _or_none(cell.value) for stem, cell in cells.items()}
                for measure, cells in line.cells.items()
            },
            "average": {measure: _or_none(average(cells)) for measure, cells in line.cells.items()},
            "frames": line.frames,
            "frames_left_out": dict(line.left_out),
        }
        for line in rows
    ]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def difference_table(differences: Mapping[str, Difference], label: str) -> str:
    """The change of SDR against an older evaluation, as aligned text."""
    lines = [f"SDR against {label}, dB", f"{'':<10}{'old':>8}{'new':>8}{'change':>9}{'95% interval':>19}{'songs':>7}"]
    for stem, found in differences.items():
        interval = f"{_signed(found.low)} to {_signed(found.high)}"
        lines.append(
            f"{stem:<10}{_decimal(found.old):>8}{_decimal(found.new):>8}{_signed(found.change):>9}{interval:>19}{found.songs:>7}"
        )
    return "\n".join(lines)


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def song_medians(songs: Sequence[SongScores], stem: str, measure: str = "SDR") -> list[float]:
    """The values of all songs that have one."""
    values = (song.median(stem, measure) for song in songs)
    return [value for value in values if not math.isnan(value)]
