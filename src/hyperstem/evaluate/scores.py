"""Scores of songs: museval's JSON files, and medians over frames and songs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperstem.dsp.measures import nanmedian
from hyperstem.errors import DataError
from hyperstem.evaluate.bss import WINDOW_S, FrameScores
from hyperstem.evaluate.listening import LISTENING_MEASURES, WORST_REST
from hyperstem.files import write_text

MUSEVAL_VERSION = "0.4.1"
"""The museval version whose numbers these are."""
FRAME_MEASURES = ("SDR", "ISR", "SIR", "SAR")
TRACK_MEASURES = ("SI-SDR", "track SDR", *LISTENING_MEASURES)
MEASURES = FRAME_MEASURES + TRACK_MEASURES


@dataclass(frozen=True)
class SongScores:
    """One method's scores on one song."""

    name: str
    frames: Mapping[str, np.ndarray]
    """(4, frame) by stem: the FRAME_MEASURES in dB, NaN where there is none."""
    whole: Mapping[str, Mapping[str, float]]
    """The TRACK_MEASURES in dB by stem."""

    def median(self, stem: str, measure: str) -> float:
        """The song's value of `measure`: the median over its frames, or that of the whole song; NaN if it has none."""
        if measure in TRACK_MEASURES:
            return self.whole.get(stem, {}).get(measure, float("nan"))
        return float(nanmedian(self.frames[stem][FRAME_MEASURES.index(measure)] if stem in self.frames else ()))

    @property
    def complete(self) -> bool:
        """Whether it has every measure; files of museval and of earlier versions have fewer."""
        return bool(self.frames) and all(self.whole.get(stem, {}).keys() >= set(TRACK_MEASURES) for stem in self.frames)

    def left_out(self, stem: str) -> int:
        """Number of frames of `stem` without a score."""
        return int(np.isnan(self.frames[stem][0]).sum())


class Cell(NamedTuple):
    """One number of a table."""

    value: float
    """dB; NaN if no song has a value."""
    songs: int
    """Number of songs with a value."""


def over_songs(songs: Sequence[SongScores], stem: str, measure: str) -> Cell:
    """Median over the songs' values; for the worst rest level their maximum."""
    values = np.array([song.median(stem, measure) for song in songs])
    values = values[~np.isnan(values)]
    worst = measure == WORST_REST and values.size > 0
    return Cell(float(values.max() if worst else nanmedian(values)), values.size)


def build(name: str, stems: Sequence[str], frames: FrameScores, whole: Mapping[str, np.ndarray]) -> SongScores:
    """SongScores from arrays whose first axis is the stem, rounded to 1e-5 dB like museval's."""
    stacked = np.round(np.stack([frames.sdr, frames.isr, frames.sir, frames.sar]), 5)
    return SongScores(
        name,
        {stem: stacked[:, i] for i, stem in enumerate(stems)},
        {stem: {key: round(float(values[i]), 5) for key, values in whole.items()} for i, stem in enumerate(stems)},
    )


def save(path: Path, song: SongScores, engine: str) -> None:
    """Writes museval's JSON, with the measures of the whole song as another key of each target, which museval ignores.

    Args:
        path: the file; missing folders are created.
        song: the scores.
        engine: what computed the frames, ``museval`` or ``fast``.
    """
    targets = []
    for stem, values in song.frames.items():
        frames = [_frame(i, column) for i, column in enumerate(values.T)]
        targets.append({"name": stem, "frames": frames, "track": dict(song.whole[stem])})
    text = json.dumps({"targets": targets, "museval_version": MUSEVAL_VERSION, "engine": engine}, indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _frame(index: int, column: np.ndarray) -> dict[str, Any]:
    metrics = dict(zip(FRAME_MEASURES, column.tolist(), strict=True))
    return {"time": index * WINDOW_S, "duration": WINDOW_S, "metrics": metrics}


def load(path: Path) -> SongScores:
    """Reads a song's JSON, ours or museval's (which has no whole-track measures).

    Raises:
        DataError: the file is not a score file.
    """
    try:
        targets = json.loads(path.read_text(encoding="utf-8"))["targets"]
        frames = {str(target["name"]): _columns(target["frames"]) for target in targets}
        whole = {
            str(target["name"]): {key: _number(value) for key, value in target.get("track", {}).items()}
            for target in targets
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no score file: {error!r}") from None
    return SongScores(path.stem, frames, whole)


def _columns(frames: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([[_number(frame["metrics"][key]) for frame in frames] for key in FRAME_MEASURES])


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def load_folder(folder: Path) -> list[SongScores]:
    """The scores in ``folder/<subset>/*.json``, sorted by name.

    Raises:
        DataError: there are none, or one is not a score file.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    found = [load(path) for path in sorted(folder.glob("*/*.json"))]
    if not found:
        raise DataError(f"no scores in {folder}: expected {folder}/<subset>/<song>.json, as `evaluate -o` writes them")
    return found
