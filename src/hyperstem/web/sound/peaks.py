"""Waveform peaks at any resolution; pure.

Peaks are int8 (point, 2): the lowest and the highest sample of each step over all channels, full scale 127.
"""

import numpy as np

STEP = 64
"""Frames per point at the finest resolution."""


def compute_peaks(samples: np.ndarray, step: int = STEP) -> np.ndarray:
    """The peaks of a block of samples.

    Args:
        samples: int16 (frame, channel).
        step: frames per point; the last point may cover fewer.

    Returns:
        int8 (point, 2).
    """
    if not len(samples):
        return np.zeros((0, 2), np.int8)
    count = len(samples) // step
    whole = np.ascontiguousarray(samples[: count * step]).reshape(count, step * samples.shape[1])
    rest = samples[count * step :].reshape(1, -1)
    parts = [part for part in (whole, rest) if part.size]
    extremes = [np.stack([part.min(axis=1), part.max(axis=1)], axis=1) for part in parts]  # (point, 2) each
    return _to_int8(np.concatenate(extremes))


def _to_int8(extremes: np.ndarray) -> np.ndarray:
    """Rounds away from zero, so that quiet sound stays visible."""
    scaled = extremes.astype(np.float32) * (127 / 32768)
    return np.where(scaled < 0, np.floor(scaled), np.ceil(scaled)).astype(np.int8)


def coarser(points: np.ndarray, factor: int) -> np.ndarray:
    """Merges each `factor` points into one: int8 (point, 2) to int8 (ceil(point / factor), 2)."""
    if factor == 1 or not len(points):
        return points
    starts = np.arange(0, len(points), factor)
    lowest = np.minimum.reduceat(points[:, 0], starts)
    highest = np.maximum.reduceat(points[:, 1], starts)
    return np.stack([lowest, highest], axis=1)


class PeakBuilder:
    """Computes the finest peaks from blocks of any length."""

    def __init__(self) -> None:
        self._rest = np.zeros((0, 1), np.int16)

    def add(self, samples: np.ndarray) -> np.ndarray:
        """Appends int16 (frame, channel) `samples`; returns the completed points, int8 (point, 2)."""
        if len(self._rest):
            samples = np.concatenate([self._rest, samples])
        whole = len(samples) // STEP * STEP
        self._rest = samples[whole:].copy()
        return compute_peaks(samples[:whole])

    def finish(self) -> np.ndarray:
        """The last, shorter point, if there is one."""
        return compute_peaks(self._rest)
