"""Two evaluations of the same songs: by how much the newer one differs, and how sure that is."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hyperstem.dsp.measures import nanmedian
from hyperstem.errors import DataError
from hyperstem.evaluate.scores import SongScores

RESAMPLES = 10_000


class Difference(NamedTuple):
    """The change of one stem's median over songs, with the interval that holds it in 95% of resampled sets of songs."""

    old: float
    new: float
    change: float
    low: float
    high: float
    songs: int


def compare(
    new: Sequence[SongScores], old: Sequence[SongScores], stems: Sequence[str], measure: str = "SDR", seed: int = 0
) -> Mapping[str, Difference]:
    """Compares song by song, on the songs that both have.

    Songs are drawn with replacement, each drawn song bringing its old and its new score, so what is hard about a song
    cancels. The entry ``average`` is the mean over stems, each song drawn with all its stems.

    Args:
        new: scores of the newer evaluation.
        old: scores of the older one.
        stems: what to compare.
        measure: one of scores.MEASURES.
        seed: of the resampling.

    Raises:
        DataError: they have no song in common.
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
    parts = np.array_split(draws, 20)  # few enough at once to fit in memory
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
