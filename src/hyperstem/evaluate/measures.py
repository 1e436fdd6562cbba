"""Measures of a whole track: plain SDR and SI-SDR."""

import numpy as np

from hyperstem.evaluate.bss import decibels


def track_sdr(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Signal-to-distortion ratio of each whole stem: 10 log10 of the stem's energy over the error's.

    Args:
        references: (…, channel, time).
        estimates: the same shape, or one that broadcasts with it.

    Returns:
        dB, (…); NaN where the stem is silent or the estimate is exact.
    """
    reference, estimate = references.astype(np.float64), estimates.astype(np.float64)
    return decibels(_dot(reference, reference), _dot(reference - estimate, reference - estimate))


def si_sdr(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Scale-invariant SDR of each whole stem, all channels scaled by one factor, no mean removed.

    Args:
        references: (…, channel, time).
        estimates: the same shape, or one that broadcasts with it.

    Returns:
        dB, (…); NaN where the stem or the estimate is silent or the estimate is exact.

    Source: Le Roux, Wisdom, Erdogan, Hershey, "SDR: half-baked or well done?", ICASSP 2019, equation 5.
    """
    reference, estimate = references.astype(np.float64), estimates.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = _dot(estimate, reference) / _dot(reference, reference)
        target = scale[..., None, None] * reference
        return decibels(_dot(target, target), _dot(target - estimate, target - estimate))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=(-2, -1))
