"""The difference between two evaluations of the same songs, with its confidence interval."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hyperstem.dsp.measures import nanmedian
from hyperstem.errors import DataError
from hyperstem.evaluate.scores import SongScores

RESAMPLES = 10_000


class Difference(NamedTuple):
    """The change of one stem's median over songs, with its 95% confidence interval."""

    old: float
    new: float
    change: float
    low: float
    high: float
    songs: int


def compare(
    new: Sequence[SongScores], old: Sequence[SongScores], stems: Sequence[str], measure: str = "SDR", seed: int = 0
) -> Mapping[str, Difference]:
    """Compares the songs that both evaluations have, by a paired bootstrap.

    Songs are drawn with replacement, each with its old and its new scores, so that differences between songs cancel.
    The entry ``average`` is the mean over stems; a song is drawn with all its stems.

    Args:
        new: scores of the newer evaluation.
        old: scores of the older one.
        stems: names of the stems.
        measure: one of scores.MEASURES.
        seed: of the bootstrap.

    Raises:
        DataError: the evaluations have no song in common.
    """
    former = {song.name: song for song in old}
    pairs = [(former[song.name], song) for song in new if song.name in former]
    if not pairs:
        raise DataError("the two evaluations have no song in common")
    draws = np.random.default_rng(seed).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    values = np.array(
        [[[song.median(stem, measure) for stem in stems] for song in pair] for pair in pairs]
    )  # (song, 2, stem)
    values[np.isnan(values).any(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan
    medians = nanmedian(values)  # (2, stem)
    parts = np.array_split(draws, 20)  # few enough at a time to fit in memory
    resampled = np.concatenate([nanmedian(values[part], axis=1) for part in parts])  # (draw, 2, stem)
    counts = np.count_nonzero(~np.isnan(values[:, 0]), axis=0)
    found = {stem: _difference(medians[:, i], resampled[..., i], int(counts[i])) for i, stem in enumerate(stems)}
    found["average"] = _difference(medians.mean(axis=-1), resampled.mean(axis=-1), int(counts.min()))
    return found


def _difference(medians: np.ndarray, resampled: np.ndarray, songs: int) -> Difference:
    changes = resampled[:, 1] - resampled[:, 0]
    changes = changes[~np.isnan(changes)]
    low, high = np.percentile(changes, [2.5, 97.5]) if changes.size else (np.nan, np.nan)
    old, new = medians
    return Difference(float(old), float(new), float(new - old), float(low), float(high), songs)
