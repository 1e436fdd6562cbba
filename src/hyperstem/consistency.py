"""Stems that sum to their mixture, for training: `hyperstem.residual.share_by_frequency` with gradients."""

import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.residual import FAINT, sine_window


def consistent(stems: Tensor, mixture: Tensor, rate_hz: int) -> Tensor:
    """The stems as separation delivers them: with what they lack of the mixture shared by energy, bin by bin.

    Args:
        stems: (batch, stem, [channel,] time), at a level near 1.
        mixture: (batch, [channel,] time).
        rate_hz: their sample rate.

    Returns:
        (batch, stem, [channel,] time) float32 that sums to the mixture.

    Source:
        Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement", ICASSP 2019,
        section 2.2, there with one share per sample or bin for all signals alike.
    """
    with torch.autocast(stems.device.type, enabled=False):
        stems, mixture = stems.float(), mixture.float()
        window = torch.from_numpy(sine_window(rate_hz)).to(stems)
        size, time = len(window), stems.shape[-1]
        waves = torch.cat([stems, (mixture - stems.sum(1)).unsqueeze(1)], 1)
        rows = F.pad(waves, (0, -time % (size // 2))).flatten(0, -2)            # whole halves of a window
        spectra = torch.stft(rows, size, size // 2, window=window, pad_mode="constant", return_complex=True)
        spectra = spectra.unflatten(0, waves.shape[:-1])                        # (batch, stem, [channel,] bin, frame)
        energy = torch.view_as_real(spectra[:, :-1]).square().sum(-1) + FAINT
        given = energy / energy.sum(1, keepdim=True) * spectra[:, -1:]
        given = torch.istft(given.flatten(0, -3), size, size // 2, window=window, length=rows.shape[-1])
        return stems + given[:, :time].view_as(stems)
