"""Doubling the rate of waveforms, by which the octaves of a network are put together."""

from functools import cache
from itertools import product

import numpy as np

TAPS = 64
"""Length of the filter at the lower rate: a transition of a tenth of the band, images at -80 dB."""
_TOGETHER = 64
"""Blocks multiplied at once: so few that BLAS does not start threads of its own."""
POWER_EPS = 1e-8
"""Added to the energy of the lower mixture, which may be silent, before dividing by it."""


@cache
def upsampling_matrix() -> np.ndarray:
    """The filter as a band matrix (2 * TAPS, 2 * TAPS) float32: a product is faster than a convolution.

    It takes the samples of a block of TAPS, TAPS / 2 - 1 before it and TAPS / 2 + 1 after it, to the block's samples at
    twice the rate. The even ones are the given ones, the odd ones a sinc with a Kaiser window.
    """
    half = TAPS // 2
    offsets = np.arange(TAPS) - (half - 0.5)
    kernel = np.sinc(offsets) * np.i0(8 * np.sqrt(1 - (offsets / half) ** 2)) / np.i0(8)
    matrix = np.zeros((2 * TAPS, TAPS, 2), np.float32)
    for i in range(TAPS):
        matrix[i + half - 1, i, 0] = 1
        matrix[i : i + TAPS, i, 1] = kernel / kernel.sum()
    return matrix.reshape(2 * TAPS, 2 * TAPS)


def padding(time: int) -> tuple[int, int]:
    """Zeros before and after `time` samples, which make up whole blocks with what lies around them."""
    return TAPS // 2 - 1, TAPS // 2 + 1 + -time % TAPS


def upsampled(waves: np.ndarray, length: int) -> np.ndarray:
    """Waveforms (..., time) float32 at twice their rate, trimmed or padded to (..., length)."""
    time, (before, after) = waves.shape[-1], padding(waves.shape[-1])
    rows = waves.reshape(-1, time)
    padded = np.zeros((len(rows), before + time + after), np.float32)
    padded[:, before : before + time] = rows
    blocks = padded.reshape(len(rows), -1, TAPS)
    this, following = upsampling_matrix().reshape(2, TAPS, TAPS, 2)[..., 1]
    result = np.empty((len(rows), blocks.shape[1] - 1, TAPS, 2), np.float32)
    result[..., 0] = padded[:, before : before - TAPS].reshape(result.shape[:-1])
    for row, some in product(range(len(rows)), range(0, result.shape[1], _TOGETHER)):
        parts = blocks[row, some : some + _TOGETHER + 1]
        result[row, some : some + _TOGETHER, :, 1] = parts[:-1] @ this + parts[1:] @ following
    shape, fill = waves.shape[:-1], max(0, length - 2 * time)
    doubled = result.reshape(*shape, -1)[..., : min(length, 2 * time)]
    return np.pad(doubled, [*[(0, 0)] * len(shape), (0, fill)]) if fill else doubled


def lower_band(waves: np.ndarray, lower: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Waveforms at the rate and level of a mixture at twice their rate; see `hyperstem.network.octaves.lower_band`.

    Args:
        waves: (batch, stem, channel, time) at the lower rate.
        lower: the mixture at that rate (batch, channel, time).
        mixture: the mixture at twice the rate (batch, channel, time_i).

    Returns:
        (batch, stem, channel, time_i).
    """
    length = mixture.shape[-1]
    band = upsampled(lower, length)
    gain = (band * mixture).sum((1, 2)) / (np.square(band).sum((1, 2)) + POWER_EPS)  # (batch,)
    result = upsampled(waves, length)
    result *= gain[:, None, None, None]
    return result
