"""Latent to waveform, with the kernel sizes of the encoder (section 2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import StageConfig
from hyperstem.network.encoder import frame_padding
from hyperstem.network.fast import UpsamplingConv


class Decoder(nn.Module):
    """A 1x1 convolution, then one transposed convolution per kernel size, summed.

    Source:
        The paper, section 2.2 and figure 2.
    """

    recomputable = True
    """Whether training may recompute its activations (`training.recompute`)."""
    filters: Sequence[UpsamplingConv]

    def __init__(self, config: StageConfig, audio_channels: int) -> None:
        super().__init__()
        self.hop = config.hop
        self.widths = list(config.decoder_channels)
        self.split = nn.Conv1d(config.latent_dim, sum(self.widths), 1, bias=False)
        self.filters = nn.ModuleList(  # type: ignore[assignment]
            UpsamplingConv(width, audio_channels, kernel, stride=config.hop, bias=False)
            for width, kernel in zip(self.widths, config.kernels, strict=True)
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Latents (batch, latent, frame) to waveforms (batch, channel, frame * hop)."""
        parts = F.relu(self.split(latent)).split(self.widths, dim=1)
        waves = [self._upsample(part, layer) for part, layer in zip(parts, self.filters, strict=True)]
        return torch.stack(waves).sum(0)

    def _upsample(self, part: Tensor, layer: UpsamplingConv) -> Tensor:
        """(batch, width, frame) to (batch, channel, frame * hop); kernels are centred on their hop."""
        before, after = frame_padding(layer.kernel_size[0], self.hop)
        return F.pad(layer(part), (-before, -after))
