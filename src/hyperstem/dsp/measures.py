"""How far estimates are from stems: SDR and SI-SDR of whole tracks, decibels, and medians that ignore NaN."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

_BLOCK = 1 << 18


def decibels(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """10 log10 of a ratio of energies; NaN where it is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 10 * np.log10(np.divide(numerator, denominator))
    return np.where(np.isfinite(value), value, np.nan)


def nanmedian(values: np.ndarray | Sequence[float], axis: int = 0) -> np.ndarray:
    """Median along `axis` that ignores NaN; NaN where all values are."""
    if np.shape(values)[axis] == 0:
        return np.full(np.delete(np.shape(values), axis), np.nan)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # for rows that hold only NaN
        return np.nanmedian(values, axis)


def track_sdr(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Signal-to-distortion ratio of each whole stem: 10 log10 of the stem's energy over the error's.

    Args:
        references: (…, channel, time).
        estimates: the same shape.

    Returns:
        dB, (…); NaN where the stem is silent or the estimate is exact.
    """
    power = error = np.zeros(references.shape[:-2])
    for true, estimated in _blocks(references, estimates):
        power = power + _dot(true, true)
        error = error + _dot(true - estimated, true - estimated)
    return decibels(power, error)


def si_sdr(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Scale-invariant SDR of each whole stem, all channels scaled by one factor, no mean removed.

    Args:
        references: (…, channel, time).
        estimates: the same shape.

    Returns:
        dB, (…); NaN where the stem or the estimate is silent or the estimate is exact.

    Source: Le Roux, Wisdom, Erdogan, Hershey, "SDR: half-baked or well done?", ICASSP 2019, equation 5.
    """
    power = product = error = np.zeros(references.shape[:-2])
    for true, estimated in _blocks(references, estimates):
        power = power + _dot(true, true)
        product = product + _dot(true, estimated)
    scale = product / np.where(power > 0, power, np.nan)
    for true, estimated in _blocks(references, estimates):
        rest = scale[..., None, None] * true - estimated
        error = error + _dot(rest, rest)
    return decibels(scale**2 * power, error)


def _blocks(references: np.ndarray, estimates: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both in double precision, block by block along time."""
    for start in range(0, references.shape[-1], _BLOCK):
        here = slice(start, start + _BLOCK)
        yield references[..., here].astype(np.float64), estimates[..., here].astype(np.float64)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=(-2, -1))
