"""Statistics over training mixtures: of the features that a network standardises, and of its batch norms."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.network import AnyNetwork, MetaTasNet, MetaUNet
from hyperstem.network.spectrogram import Spectrogram
from hyperstem.training import distributed
from hyperstem.training.feed import Batches


@torch.no_grad()
def measure_statistics(network: AnyNetwork, batches: Batches, count: int) -> None:
    """Measures the statistics of a network's features on the mixtures of the first `count` batches, and sets them."""
    if isinstance(network, MetaTasNet):
        network.set_spectrogram_statistics(spectrogram_statistics(network, batches, count))
    if not isinstance(network, MetaUNet):
        return
    device = network.mean.device
    network.measure(torch.cat([batches[index].mixture[0] for index in range(count)]).to(device))
    for values in (network.mean, network.spread, network.level):
        values.copy_(distributed.total(values) / distributed.process_count())


@torch.no_grad()
def measure_norms(network: nn.Module, batches: Batches, count: int) -> None:
    """Measures the statistics of a network's batch norms anew, as means over the first `count` batches.

    Averaged weights need this: the running statistics are those of the weights that were trained, step by step.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018, section 3.1.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    device, was_training = next(network.parameters()).device, network.training
    momenta = [norm.momentum for norm in norms]
    network.train()
    for index in range(count):
        for norm in norms:
            norm.momentum = 1 / (index + 1)
        network([wave.to(device) for wave in batches[index].mixture])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


class Statistics(NamedTuple):
    """Statistics of one stage's log power over mixtures, channels and frames."""

    mean: Tensor
    """(bins,)."""
    std: Tensor
    """(bins,)."""


@torch.no_grad()
def spectrogram_statistics(network: MetaTasNet, batches: Batches, count: int) -> list[Statistics]:
    """Statistics of each stage's log power in the mixtures of the first `count` batches, over all processes; none for a
    network without spectrograms.
    """
    spectrograms = [module for module in network.modules() if isinstance(module, Spectrogram)]
    if not spectrograms:
        return []
    sums = [torch.zeros(3, spectrogram.bins, dtype=torch.float64) for spectrogram in spectrograms]
    for index in range(count):
        for spectrogram, wave, total in zip(spectrograms, batches[index].mixture, sums, strict=True):
            wave = wave if wave.ndim == 3 else wave.unsqueeze(1)  # (batch, channel, time)
            power = spectrogram.log_power(wave.to(spectrogram.mean.device)).double().cpu()
            power = power.unflatten(1, (-1, spectrogram.bins))  # (batch, channel, bins, spectrum)
            powers = torch.stack([torch.ones_like(power), power, power.square()])
            total += powers.sum((1, 2, 4))
    return [_statistics(*distributed.total(total)) for total in sums]


def _statistics(count: Tensor, total: Tensor, squares: Tensor) -> Statistics:
    mean = total / count
    return Statistics(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())
