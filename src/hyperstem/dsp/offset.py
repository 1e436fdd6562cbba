"""The constant offset of a recording: found, so that it can be kept away from what tells instruments apart."""

import numpy as np

_LEAST = 0.02
"""An offset below this part of the sound's level is none."""
_REST = 0.01
"""With more than this part of the samples exactly 0, the sound rests at 0, and so has no offset."""
_STEP = 2.0**18
"""Offsets are whole numbers of steps of this kind to full scale, so that taking them off fixed-point samples and adding
them again is exact."""


def constant_offset(wave: np.ndarray) -> np.ndarray:
    """The offset of each channel, 0 where there is none.

    It is the mean, where the median agrees: what swings about 0 unevenly is a sound, not an offset.

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
