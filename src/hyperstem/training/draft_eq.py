"""Drafts as poor as on songs that their network does not know, for training a network that refines drafts.

The draft's network knows most training recordings and separates them better than others; who learns from such drafts
trusts them too much. Here the network hears the mixture through a random EQ, and its stems pass the inverse.
"""

import torch
from torch import Tensor

from hyperstem.network import MetaTasNet
from hyperstem.network.stage import StageOutput

KNOTS_HZ = (60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0)
"""Frequencies at which the EQ's gains are drawn; between them it is linear in log frequency."""


@torch.no_grad()
def draft_through_eq(network: MetaTasNet, wave: Tensor, limit_db: float) -> StageOutput:
    """The last stage's output in float32 for a mixture that is equalised, and the inverse EQ applied to the stems.

    Args:
        network: the draft's network, of one stage.
        wave: mixtures (batch, channel, time) of unit power.
        limit_db: largest boost or cut; each mixture has its own largest one, drawn from 0 to this. 0 means no EQ.
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
    knots = torch.tensor(KNOTS_HZ).log2()
    gains_db = (2 * torch.rand(batch, len(knots)) - 1) * limit_db * torch.rand(batch, 1)
    octaves = torch.fft.rfftfreq(length, 1 / rate_hz).clamp(KNOTS_HZ[0], KNOTS_HZ[-1]).log2()
    right = torch.searchsorted(knots, octaves).clamp(1, len(knots) - 1)
    share = (octaves - knots[right - 1]) / (knots[right] - knots[right - 1])
    curve_db = gains_db[:, right - 1] * (1 - share) + gains_db[:, right] * share
    return 10 ** (curve_db / 20)
