"""One stage: encoder, masking and decoder at one sample rate."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.config import ModelConfig, NetworkConfig
from hyperstem.network.decoder import Decoder
from hyperstem.network.encoder import Encoder
from hyperstem.network.masking import Masking


class StageOutput(NamedTuple):
    """The output of one stage; with two audio channels a channel axis precedes time."""

    stems: Tensor
    """Separated waveforms (batch, stem, time)."""
    latent: Tensor
    """Masked latents (batch, stem, latent, frame)."""
    mixture: Tensor
    """The waveform decoded from the unmasked latent (batch, time)."""


class Stage(nn.Module):
    """A Conv-TasNet whose masking network has its own weights for every stem.

    Source:
        The paper, section 2.3 and figure 3.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        stage = config.stage_configs[index]
        self.hop, self.n_fft = stage.hop, stage.n_fft
        self.encoder = Encoder(stage, config.audio_channels)
        self.masking = Masking(config, stage)
        self.decoder = Decoder(stage, config.audio_channels)
        generated = config.parameters == "generated"
        self.embedding = nn.Parameter(torch.randn(len(config.stems), config.embedding_dim)) if generated else None

    def forward(self, wave: Tensor, frames: int, previous: Tensor | None) -> StageOutput:
        """Separates at this stage's rate.

        Args:
            wave: mixture (batch, [channel,] time).
            frames: latent frames, the same in every stage.
            previous: the masked latent of the previous stage, None at stage 0.
        """
        latent = self.encode(wave, frames)  # (batch, latent, frame)
        masked = latent.unsqueeze(1) * self.masking(latent, previous, self.embedding)  # (batch, stem, latent, frame)
        time = wave.shape[-1]
        return StageOutput(self.decode(masked, time), masked, self.decode(latent, time))

    def encode(self, wave: Tensor, frames: int | None = None) -> Tensor:
        """Waveforms to latents.

        Args:
            wave: (batch, time), or (batch, channel, time) for a model with two audio channels; zeros at the end pad it
                to whole frames.
            frames: latent frames to return; by default as many as `wave` needs.

        Returns:
            (batch, latent, frame).
        """
        return self.encoder(self.padded(wave, frames))

    def padded(self, wave: Tensor, frames: int | None = None) -> Tensor:
        """Waveforms (batch, [channel,] time) as (batch, channel, frames * hop); see `encode`."""
        if frames is None:
            least = -(-(self.n_fft // 2 + 1) // self.hop)
            frames = max(-(-wave.shape[-1] // self.hop), least)
        wave = wave if self.config.audio_channels > 1 else wave.unsqueeze(1)
        return nn.functional.pad(wave, (0, frames * self.hop - wave.shape[-1]))

    def decode(self, latent: Tensor, time: int) -> Tensor:
        """Latents (..., latent, frame) to waveforms (..., [channel,] time)."""
        waves = self.decoder(latent.flatten(0, -3))[..., :time]  # (items, channel, time)
        waves = waves if self.config.audio_channels > 1 else waves.squeeze(1)
        return waves.unflatten(0, latent.shape[:-2])


def check_pyramid(config: NetworkConfig, pyramid: Sequence[Tensor]) -> int:
    """Checks a mixture's waveforms against the model's sizes and returns the number of frames.

    Raises:
        ConfigError: wrong number of rates, shapes, lengths or batch sizes, or samples that are not finite.
    """
    finite = [torch.compiler.is_compiling() or bool(torch.isfinite(wave).all()) for wave in pyramid]
    return config.check_pyramid([tuple(wave.shape) for wave in pyramid], [wave.dtype for wave in pyramid], finite)
