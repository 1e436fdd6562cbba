"""Drafts as poor as on songs that their network does not know, for training a network that refines drafts.

The draft's network knows most training recordings and separates them better than others; who learns from such drafts
trusts them too much. Here the network hears the mixture through a random EQ, and its stems pass the inverse.
"""

import numpy as np
import torch
from torch import Tensor

from hyperstem.data.augment import eq_curve
from hyperstem.network import MetaTasNet
from hyperstem.network.stage import StageOutput


@torch.no_grad()
def draft_through_eq(network: MetaTasNet, wave: Tensor, limit_db: float) -> StageOutput:
    """The last stage's output in float32 for a mixture that is equalised, and the inverse EQ applied to the stems.

    Args:
        network: the draft's network, of one stage.
        wave: mixtures (batch, channel, time) of unit power.
        limit_db: largest boost or cut; the shelves and the bell of each mixture are drawn up to a random share of it. 0
            means no EQ.
    """
    with torch.autocast(wave.device.type, enabled=False):
        if limit_db == 0:
            return network([wave])[-1]
        length = wave.shape[-1]
        gains = eq_gains(wave.shape[0], length, network.config.rates_hz[0], limit_db).to(wave.device)[:, None]
        equalised = torch.fft.irfft(torch.fft.rfft(wave) * gains, length)
        power = equalised.square().mean((1, 2), keepdim=True).sqrt() + 1e-6
        output = network([equalised / power])[-1]
        stems = torch.fft.irfft(torch.fft.rfft(output.stems) / gains[:, None], length) * power[:, None]
        return output._replace(stems=stems)


def eq_gains(batch: int, length: int, rate_hz: int, limit_db: float) -> Tensor:
    """Random gains of the bins of a real FFT of `length`: (batch, bin) float32."""
    rng = np.random.default_rng(int(torch.randint(2**62, ())))  # so that torch's seed decides
    curves = [eq_curve(length, rate_hz, limit_db * rng.random(), rng) for _ in range(batch)]
    largest = 10 ** (limit_db / 20)
    return torch.from_numpy(np.stack(curves).astype(np.float32)).clamp(1 / largest, largest)
