"""Latent to waveform: the encoder's kernel sizes mirrored (section 2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import StageConfig
from hyperstem.network.encoder import frame_padding
from hyperstem.network.fast import OverlapAdd
from hyperstem.network.layers import mix_channels


class Decoder(nn.Module):
    """A 1x1 convolution, then one transposed convolution per kernel size, summed.

    Source:
        The paper, section 2.2 and figure 2.
    """

    filters: Sequence[nn.ConvTranspose1d]

    def __init__(self, config: StageConfig, audio_channels: int) -> None:
        super().__init__()
        self.hop, self.audio_channels = config.hop, audio_channels
        self.widths = list(config.decoder_channels)
        self.split = nn.Conv1d(config.latent_dim, sum(self.widths), 1, bias=False)
        self.filters = nn.ModuleList(  # type: ignore[assignment]
            nn.ConvTranspose1d(width, audio_channels, kernel, stride=config.hop, bias=False)
            for width, kernel in zip(self.widths, config.kernels, strict=True)
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Latents (batch, latent, frame) to waveforms (batch, channel, frame * hop)."""
        parts = F.relu(mix_channels(self.split.weight.squeeze(-1), latent)).split(self.widths, dim=1)
        waves = [self._convolve(part, layer.weight) for part, layer in zip(parts, self.filters, strict=True)]
        return torch.stack(waves).sum(0) if len(waves) > 1 else waves[0]

    def _convolve(self, part: Tensor, weight: Tensor) -> Tensor:
        """A transposed convolution as one matrix product and the overlap-add of its columns.

        Args:
            part: (batch, width, frame).
            weight: (width, channel, kernel).
        """
        batch, _, frames = part.shape
        kernel, hop, channels = weight.shape[-1], self.hop, self.audio_channels
        before, after = frame_padding(kernel, hop)
        hops = -(-kernel // hop)
        padded = F.pad(weight, (0, hops * hop - kernel)).flatten(1)  # (width, channel * hops * hop)
        columns = torch.matmul(part.transpose(1, 2), padded)  # (batch, frame, channel * hops * hop)
        columns = columns.view(batch, frames, channels, hops, hop)
        wave = OverlapAdd.apply(columns)[..., : (frames - 1) * hop + kernel]
        return F.pad(wave, (-before, -after))
