"""Waveform and spectrogram to latent (section 2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import StageConfig
from hyperstem.network.spectrogram import Spectrogram


def frame_padding(kernel: int, hop: int) -> tuple[int, int]:
    """Padding before and after a whole number of hops with which each hop gives one frame; may be negative."""
    before = (kernel - hop) // 2
    return before, kernel - hop - before


class Encoder(nn.Module):
    """Strided convolutions with several kernel sizes and a spectrogram, combined by two 1x1 convolutions.

    Source:
        The paper, section 2.2 and figure 2.
    """

    recomputable = True
    """Whether training may recompute its activations (`training.recompute`)."""
    filters: Sequence[nn.Conv1d]

    def __init__(self, config: StageConfig, audio_channels: int) -> None:
        super().__init__()
        self.hop = config.hop
        self.filters = nn.ModuleList(  # type: ignore[assignment]
            nn.Conv1d(audio_channels, config.encoder_channels, kernel, stride=config.hop, bias=False)
            for kernel in config.kernels
        )
        self.spectrogram = Spectrogram(config, audio_channels) if config.mels else None
        joined = len(config.kernels) * config.encoder_channels + config.mels
        self.join = nn.Conv1d(joined, config.latent_dim, 1, bias=False)
        self.mix = nn.Conv1d(config.latent_dim, config.latent_dim, 1, bias=False)

    def forward(self, wave: Tensor, part: Tensor | None = None) -> Tensor:
        """Waveforms (batch, channel, frames * hop) to latents (batch, latent, frame).

        Args:
            wave: input of the spectrogram, and of the filters unless `part` is given.
            part: input of the filters, of the same shape.
        """
        features = self.filtered(wave if part is None else part)
        if self.spectrogram is not None:
            spectrogram = self.spectrogram(wave, wave.shape[-1] // self.hop)
            features = torch.cat([features, spectrogram.to(features.dtype)], 1)
        return self.mix(F.relu(self.join(features)))

    def filtered(self, wave: Tensor) -> Tensor:
        """Output of the filters of all sizes, (batch, kernel sizes * encoder_channels, frame), in the wave's precision.

        Not in autocast's: on processors with AMX, torch's bfloat16 convolutions of few channels with long kernels are
        wrong.
        """
        padded = [F.pad(wave, frame_padding(layer.kernel_size[0], self.hop)) for layer in self.filters]
        with torch.autocast(wave.device.type, enabled=False):
            return F.relu(torch.cat([layer(each) for layer, each in zip(self.filters, padded, strict=True)], 1))
