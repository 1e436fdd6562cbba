"""How well a network separates clips it was not trained on."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hyperstem.config import NetworkConfig
from hyperstem.data.dataset import Clip
from hyperstem.dsp.measures import nanmedian
from hyperstem.dsp.overlap import Cut, OverlapAdd
from hyperstem.training.consistency import consistent

PART_S = 30.0
"""Longer clips are split into parts of this length, because a whole song needs too much memory."""


class Scores(NamedTuple):
    """Scores of each stem in dB: medians over the clips in which the stem is active."""

    sdr: dict[str, float]
    """10 log10(|s|^2 / |s - e|^2) over the whole clip, of the stems as separation delivers them: with the residual
    distributed. The other two scores are of the network's output."""
    sdr_fitted: dict[str, float]
    """The same after scaling the stems, per clip, so that their sum is closest to the mixture: fair to a network
    trained for SI-SNR alone, whose levels are arbitrary, and possible without the true stems."""
    si_snr: dict[str, float]
    """SI-SNR over the whole clip."""

    def mean(self, kind: str) -> float:
        """Mean of one score over the stems in dB; NaN if no stem has one."""
        values = [value for value in getattr(self, kind).values() if np.isfinite(value)]
        return float(np.mean(values)) if values else float("nan")


@torch.no_grad()
def validate(
    network: nn.Module, stop: Callable[[], bool], clips: Iterable[Clip], config: NetworkConfig, device: torch.device
) -> Scores | None:
    """Separates all clips and scores the last stage; None if `stop` returns True between two clips."""
    was_training = network.training
    network.eval()
    rows = []
    for clip in clips:
        if stop():
            network.train(was_training)
            return None
        estimates = separate(network, clip.mixture, config.rates_hz, device)
        rows.append(clip_scores(estimates, clip.stems[-1][0], clip.mixture[-1][0], config.rates_hz[-1]))
    network.train(was_training)
    table = np.asarray(rows)  # (clip, score, stem)
    return Scores(*(dict(zip(config.stems, map(float, row), strict=True)) for row in nanmedian(table)))


@torch.no_grad()
def separate(network: nn.Module, mixture: Sequence[Tensor], rates_hz: Sequence[int], device: torch.device) -> Tensor:
    """Separates one clip, in parts of `PART_S` that overlap by a quarter.

    Args:
        network: in evaluation mode.
        mixture: for each stage (1, [channel,] time_i).
        rates_hz: sample rates of the stages.
        device: device of the network.

    Returns:
        The last stage's stems (stem, [channel,] time), float32 on the CPU.
    """
    unit_hz = math.gcd(*rates_hz)  # parts begin at whole samples of every rate
    factors, part = [rate_hz // unit_hz for rate_hz in rates_hz], round(PART_S * unit_hz)
    step, last = part - part // 4, max(0, -(-mixture[0].shape[-1] // factors[0]) - part)
    ready, overlap = [], OverlapAdd(Cut(part * factors[-1], step * factors[-1]))
    for start in [*range(0, last, step), last]:
        ends = [None if start == last else (start + part) * factor for factor in factors]
        crops = [wave[..., start * factor : end] for wave, factor, end in zip(mixture, factors, ends, strict=True)]
        stems = network([crop.to(device) for crop in crops])[-1].stems[0].float().cpu()
        if last == 0:
            return stems
        ready.append(overlap.push(start * factors[-1], stems.numpy()))
    return torch.from_numpy(np.concatenate([*ready, overlap.finish()], axis=-1))


def clip_scores(estimates: Tensor, stems: Tensor, mixture: Tensor, rate_hz: int) -> np.ndarray:
    """SDR, fitted SDR and SI-SNR of one clip.

    Args:
        estimates: (stem, [channel,] time).
        stems: (stem, [channel,] time).
        mixture: ([channel,] time).
        rate_hz: sample rate.

    Returns:
        (3, stem) in dB; NaN for silent stems, -100 for estimates that are not finite.
    """
    finite = bool(torch.isfinite(estimates).all())
    delivered = consistent(estimates[None], mixture[None], rate_hz)[0] if finite else estimates
    delivered = delivered.flatten(1).double().numpy()  # (stem, channels and time)
    estimate = estimates.flatten(1).double().numpy()
    stem, mix = stems.flatten(1).double().numpy(), mixture.flatten().double().numpy()
    factors = np.linalg.lstsq(estimate.T, mix, rcond=None)[0] if finite else np.ones(len(stem))
    power = np.square(stem).sum(-1, keepdims=True)
    target = (stem * estimate).sum(-1, keepdims=True) / np.maximum(power, 1e-20) * stem
    scores = np.stack([_sdr(stem, delivered), _sdr(stem, estimate * factors[:, None]), _sdr(target, estimate)])
    scores[:, ~np.isfinite(estimate).all(-1)] = -100.0
    scores[:, power[:, 0] < 1e-9 * stem.shape[-1]] = np.nan
    return scores


def _sdr(stem: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """SDR of each stem, (stem, time) to (stem,), from -100 to 100 dB; `measures.track_sdr` may be NaN."""
    error = np.square(stem - estimate).sum(-1)
    power = np.square(stem).sum(-1)
    return np.clip(10 * np.log10(np.maximum(power, 1e-20) / np.maximum(error, 1e-20)), -100, 100)
