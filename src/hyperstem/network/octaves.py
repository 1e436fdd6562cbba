"""Between two stages: waveforms brought to twice the rate, and what that rate adds to them."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = 64
"""Samples of the lower rate that make one of the higher; a transition of a tenth of the band, images 80 dB down."""
POWER_EPS = 1e-8
FAINT_OCTAVE = 1e-6
"""Power of an octave, -60 dB beside the mixture, below which it is no longer brought to level 1."""


@cache
def doubling_filter() -> np.ndarray:
    """The (2, TAPS) float32 kernels of the even and odd samples at twice the rate: a sinc under a Kaiser window.

    Even samples are those of the lower rate themselves. The kernels are correlated with a wave that TAPS / 2 - 1 zeros
    precede and TAPS / 2 follow.
    """
    half = TAPS // 2
    kernels = np.zeros((2, TAPS))
    kernels[0, half - 1] = 1
    between = np.arange(TAPS) - (half - 0.5)
    kernels[1] = np.sinc(between) * np.i0(8 * np.sqrt(1 - (between / half) ** 2)) / np.i0(8)
    kernels[1] /= kernels[1].sum()
    return kernels.astype(np.float32)


def doubled(waves: Tensor) -> Tensor:
    """Waves (..., time) at twice their rate, (..., 2 * time), aligned to the sample."""
    rows, time = waves.reshape(-1, waves.shape[-1]), waves.shape[-1]
    spare = -time % TAPS
    padded = F.pad(rows, (TAPS // 2 - 1, TAPS // 2 + spare))
    band = torch.from_numpy(_between()).to(waves)
    between = torch.matmul(padded.unfold(-1, 2 * TAPS - 1, TAPS), band).flatten(1)[:, :time]
    return torch.stack([rows, between], -1).view(*waves.shape[:-1], -1)


@cache
def _between() -> np.ndarray:
    """The filter's odd kernel as a band matrix (2 * TAPS - 1, TAPS): a product is faster than a convolution."""
    band = np.zeros((2 * TAPS - 1, TAPS), np.float32)
    for i in range(TAPS):
        band[i : i + TAPS, i] = doubling_filter()[1]
    return band


def carried(waves: Tensor, lower: Tensor, mixture: Tensor) -> Tensor:
    """Waves of the stage before as waves of this one.

    Every rate of a mixture is brought to level 1 by itself, so the same sound has different levels in them. Their ratio
    is the least-squares gain from the lower mixture to the higher one.

    Args:
        waves: (batch, [stem,] [channel,] time) at the lower rate.
        lower: the mixture at that rate (batch, [channel,] time).
        mixture: the mixture at twice the rate (batch, [channel,] time_i), time_i being 2 * time give or take rounding.

    Returns:
        (batch, [stem,] [channel,] time_i).
    """
    with torch.autocast(waves.device.type, enabled=False):
        length = mixture.shape[-1]
        below = _fitted(doubled(lower.float()), length).flatten(1)
        gain = (below * mixture.flatten(1)).sum(1) / (below.square().sum(1) + POWER_EPS)  # (batch,)
        higher = below.view(mixture.shape) if waves is lower else _fitted(doubled(waves.float()), length)
        return higher * gain.view(-1, *[1] * (waves.dim() - 1))


def octaves(pyramid: Sequence[Tensor], waves: Sequence[Tensor] | None = None) -> list[Tensor]:
    """What each rate adds: waves without what the rate below holds of them; the first as they are.

    Args:
        pyramid: the mixture per stage, (batch, [channel,] time_i).
        waves: per stage, (batch, [stem,] [channel,] time_i); the mixtures by default.
    """
    waves = pyramid if waves is None else waves
    pairs = zip(pairwise(waves), pairwise(pyramid), strict=True)
    return [waves[0], *(wave - carried(below, lower, mixture) for (below, wave), (lower, mixture) in pairs)]


def level(octave: Tensor) -> Tensor:
    """Root of the mean power of (batch, [channel,] time) as (batch, [1,] 1), with a floor for what is not heard."""
    return (octave.flatten(1).square().mean(1) + FAINT_OCTAVE).sqrt().view(-1, *[1] * (octave.dim() - 1))


def _fitted(waves: Tensor, length: int) -> Tensor:
    return F.pad(waves, (0, length - waves.shape[-1]))
