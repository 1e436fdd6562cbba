"""A Meta-TasNet in which each stage separates one octave; no other network needs this module.

This is not the paper's network. A stage separates only the band that its rate adds to the previous stage's, normalised
separately. The lower band comes from the waveforms of the previous stage.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.config import ModelConfig
from hyperstem.dsp.upsample import POWER_EPS, TAPS, padding, upsampling_matrix
from hyperstem.network.meta_tasnet import MetaTasNet
from hyperstem.network.stage import Stage, StageOutput, check_pyramid

OCTAVE_FLOOR = 1e-6
"""Added to the mean power of an octave (-60 dB relative to the mixture), so that a silent one is not amplified."""


class OctaveStage(Stage):
    """A stage whose filters get an octave, while its spectrogram gets the whole mixture."""

    def encode(self, wave: Tensor, frames: int | None = None, octave: Tensor | None = None) -> Tensor:
        """Waveforms to latents; see `Stage.encode`.

        Args:
            wave: (batch, [channel,] time).
            frames: latent frames to return; by default as many as `wave` needs.
            octave: the filters' input instead of `wave`, of the same shape; it is normalised here.
        """
        if octave is None:
            return super().encode(wave, frames)
        return self.encoder(self.padded(wave, frames), self.padded(octave / rms(octave), frames))

    def forward(self, wave: Tensor, frames: int, previous: Tensor | None, octave: Tensor | None = None) -> StageOutput:
        """Separates the octave, if one is given; see `Stage.forward`."""
        if octave is None:
            return super().forward(wave, frames, previous)
        latent = self.encode(wave, frames, octave)
        masked = latent.unsqueeze(1) * self.masking(latent, previous, self.embedding)
        time, gain = wave.shape[-1], rms(octave)
        return StageOutput(self.decode(masked, time) * gain.unsqueeze(1), masked, self.decode(latent, time) * gain)


class OctaveTasNet(MetaTasNet):
    """A MetaTasNet whose stages after the first separate one octave each."""

    stage_type = OctaveStage

    def forward(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Separates a mixture given at every stage's rate; see `MetaTasNet.forward`."""
        outputs = self.training_outputs(pyramid)
        for i in range(1, len(outputs)):
            stems, latent, mixture = outputs[i]
            lower = torch.cat([outputs[i - 1].stems, outputs[i - 1].mixture.unsqueeze(1)], 1)
            lower = lower_band(lower, pyramid[i - 1], pyramid[i])
            outputs[i] = StageOutput(stems + lower[:, :-1], latent, mixture + lower[:, -1])
        return outputs

    def training_outputs(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Each stage's own output, without the lower band."""
        frames = check_pyramid(self.config, pyramid)
        outputs: list[StageOutput] = []
        for stage, wave, octave in zip(self.stages, pyramid, [None, *octaves(pyramid)[1:]], strict=False):
            outputs.append(stage(wave, frames, outputs[-1].latent if outputs else None, octave))
        return outputs

    def targets(self, pyramid: Sequence[Tensor], stems: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The octaves of the mixtures and of the stems."""
        return octaves(pyramid), octaves(pyramid, stems)

    def stem_latents(self, stage: int, stems: Tensor, target: Tensor) -> Tensor:
        """The encoder's latents of the true stems; see `MetaTasNet.stem_latents`."""
        octave = target.flatten(0, 1) if stage else None
        encoder: OctaveStage = self.stages[stage]  # type: ignore[assignment]
        return encoder.encode(stems.flatten(0, 1), octave=octave).unflatten(0, stems.shape[:2])


def build_tasnet(config: ModelConfig) -> MetaTasNet:
    """The Meta-TasNet that a config describes, with or without octaves, with random weights."""
    return (OctaveTasNet if config.octaves else MetaTasNet)(config)


def upsampled(waves: Tensor) -> Tensor:
    """Waveforms (..., time) at twice their rate, (..., 2 * time); the even samples are the given ones."""
    time = waves.shape[-1]
    windows = F.pad(waves.reshape(-1, time), padding(time)).unfold(-1, 2 * TAPS, TAPS)
    result = torch.matmul(windows, torch.from_numpy(upsampling_matrix()).to(waves)).flatten(1)[:, : 2 * time]
    return result.view(*waves.shape[:-1], -1)


def lower_band(waves: Tensor, lower: Tensor, mixture: Tensor) -> Tensor:
    """Waveforms of the previous stage at the rate and level of the next one.

    The mixture is normalised separately at each rate, so the same sound has different levels there. Their ratio is the
    least-squares gain from the lower mixture to the higher one.

    Args:
        waves: (batch, [stem,] [channel,] time) at the lower rate.
        lower: the mixture at that rate (batch, [channel,] time).
        mixture: the mixture at twice the rate (batch, [channel,] time_i), where time_i is 2 * time, up to rounding.

    Returns:
        (batch, [stem,] [channel,] time_i).
    """

    def higher(waves: Tensor) -> Tensor:
        return F.pad(upsampled(waves.float()), (0, mixture.shape[-1] - 2 * waves.shape[-1]))

    with torch.autocast(waves.device.type, enabled=False):
        band = higher(lower).flatten(1)
        gain = (band * mixture.flatten(1)).sum(1) / (band.square().sum(1) + POWER_EPS)  # (batch,)
        result = band.view(mixture.shape) if waves is lower else higher(waves)
        return result * gain.view(-1, *[1] * (waves.dim() - 1))


def octaves(pyramid: Sequence[Tensor], waves: Sequence[Tensor] | None = None) -> list[Tensor]:
    """The band that each rate adds: waveforms minus their lower band; those of the first rate are unchanged.

    Args:
        pyramid: the mixture per stage, (batch, [channel,] time_i).
        waves: per stage, (batch, [stem,] [channel,] time_i); the mixtures by default.
    """
    waves = pyramid if waves is None else waves
    pairs = zip(pairwise(waves), pairwise(pyramid), strict=True)
    return [waves[0], *(wave - lower_band(previous, *mixtures) for (previous, wave), mixtures in pairs)]


def rms(octave: Tensor) -> Tensor:
    """Root mean square of (batch, [channel,] time) as (batch, [1,] 1); see `OCTAVE_FLOOR`."""
    return (octave.flatten(1).square().mean(1) + OCTAVE_FLOOR).sqrt().view(-1, *[1] * (octave.dim() - 1))
