"""One stage: encoder, masking and decoder at one sample rate."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.config import ModelConfig
from hyperstem.network.decoder import Decoder
from hyperstem.network.encoder import Encoder
from hyperstem.network.masking import Masking
from hyperstem.network.octaves import level


class StageOutput(NamedTuple):
    """What one stage gives; with two audio channels a channel axis stands before time.

    Attributes:
        stems: separated waveforms (batch, stem, time).
        latent: masked latents (batch, stem, latent, frame).
        mixture: the waveform decoded from the unmasked latent (batch, time).
    """

    stems: Tensor
    latent: Tensor
    mixture: Tensor


class Stage(nn.Module):
    """A Conv-TasNet whose masking network has weights for every stem.

    Source:
        The paper, section 2.3 and figure 3.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        stage = config.stage_configs[index]
        self.hop = stage.hop
        self.encoder = Encoder(stage, config.audio_channels)
        self.masking = Masking(config, stage)
        self.decoder = Decoder(stage, config.audio_channels)
        generated = config.parameters == "generated"
        self.embedding = nn.Parameter(torch.randn(len(config.stems), config.embedding_dim)) if generated else None

    def encode(self, wave: Tensor, frames: int | None = None, octave: Tensor | None = None) -> Tensor:
        """Waveforms to latents.

        Args:
            wave: (batch, time), or (batch, channel, time) for a model with two audio channels; padded at the end with
                zeros to whole frames.
            frames: latent frames to give; by default what `wave` needs.
            octave: of the shape of `wave`: what the filters hear in its place, brought to level 1; the spectrogram is
                always that of `wave`.

        Returns:
            (batch, latent, frame).
        """
        if frames is None:
            least = -(-(self.encoder.spectrogram.n_fft // 2 + 1) // self.hop)
            frames = max(-(-wave.shape[-1] // self.hop), least)
        whole = self._padded(wave, frames)
        return self.encoder(whole, None if octave is None else self._padded(octave / level(octave), frames))

    def _padded(self, wave: Tensor, frames: int) -> Tensor:
        """(batch, channel, frames * hop)."""
        wave = wave if self.config.audio_channels > 1 else wave.unsqueeze(1)
        return nn.functional.pad(wave, (0, frames * self.hop - wave.shape[-1]))

    def decode(self, latent: Tensor, time: int) -> Tensor:
        """Latents (..., latent, frame) to waveforms (..., [channel,] time)."""
        waves = self.decoder(latent.flatten(0, -3))[..., :time]  # (items, channel, time)
        waves = waves if self.config.audio_channels > 1 else waves.squeeze(1)
        return waves.unflatten(0, latent.shape[:-2])

    def mask(self, latent: Tensor, previous: Tensor | None) -> Tensor:
        """The mixture's latent (batch, latent, frame) to the stems' (batch, stem, latent, frame)."""
        return latent.unsqueeze(1) * self.masking(latent, previous, self.embedding)

    def forward(self, wave: Tensor, frames: int, previous: Tensor | None, octave: Tensor | None = None) -> StageOutput:
        """Separates at this stage's rate.

        Args:
            wave: mixture (batch, [channel,] time).
            frames: latent frames, the same in every stage.
            previous: the stage before's masked latent, None at stage 0.
            octave: what is to be separated in place of `wave`, of the same shape.
        """
        latent = self.encode(wave, frames, octave)
        masked = self.mask(latent, previous)
        time = wave.shape[-1]
        stems, mixture = self.decode(masked, time), self.decode(latent, time)
        if octave is None:
            return StageOutput(stems, masked, mixture)
        return StageOutput(stems * level(octave).unsqueeze(1), masked, mixture * level(octave))
