"""Finds the DC offset of a recording, so that it can be removed before the instruments are separated."""

import numpy as np

_LEAST = 0.02
"""An offset below this fraction of the standard deviation is ignored."""
_REST = 0.01
"""If more than this fraction of the samples is exactly 0, the sound rests at 0 and has no offset."""
_STEP = 2.0**18
"""Offsets are rounded to this many steps per full scale, so that fixed-point samples survive subtracting and adding one
unchanged."""


def constant_offset(wave: np.ndarray) -> np.ndarray:
    """The DC offset of each channel, 0 where there is none.

    It is the mean, provided the median agrees: an asymmetric waveform also has a mean, but not an offset.

    Args:
        wave: (..., time) float32.

    Returns:
        (..., 1) float32.
    """
    mean = wave.mean(axis=-1, keepdims=True, dtype=np.float64)
    found = np.abs(mean) > _LEAST * wave.std(axis=-1, keepdims=True, dtype=np.float64)
    if not found.any():
        return np.zeros(mean.shape, np.float32)
    median = np.median(wave, axis=-1, keepdims=True)
    found &= np.abs(median) > np.abs(mean) / 2
    found &= np.sign(median) == np.sign(mean)
    found &= (wave == 0).mean(axis=-1, keepdims=True) <= _REST
    return np.where(found, np.rint(mean * _STEP) / _STEP, 0).astype(np.float32)
