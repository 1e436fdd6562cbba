"""A network of which each stage adds one octave to the stage before; nothing else in the package needs this module.

This is not the paper's network. A stage separates only what its rate adds to that of the stage before, brought to a
level of its own, and the waveforms of the stage before make up the rest.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.network.meta_tasnet import MetaTasNet, check_pyramid
from hyperstem.network.stage import Stage, StageOutput

TAPS = 64
"""Samples of the lower rate that make one of the higher; a transition of a tenth of the band, images 80 dB down."""
POWER_EPS = 1e-8
FAINT_OCTAVE = 1e-6
"""Power of an octave, -60 dB beside the mixture, below which it is no longer brought to level 1."""


class OctaveStage(Stage):
    """A stage whose filters hear an octave, while its spectrogram shows the whole mixture."""

    def encode(self, wave: Tensor, frames: int | None = None, octave: Tensor | None = None) -> Tensor:
        """Waveforms to latents; see `Stage.encode`.

        Args:
            wave: (batch, [channel,] time).
            frames: latent frames to give; by default what `wave` needs.
            octave: of the shape of `wave`: what the filters hear in its place, brought to level 1.
        """
        if octave is None:
            return super().encode(wave, frames)
        whole, part = self.padded(wave, frames), self.padded(octave / level(octave), frames)
        return self.encoder.combine(
            self.encoder.filtered(part), self.encoder.spectrogram(whole, whole.shape[-1] // self.hop)
        )

    def forward(self, wave: Tensor, frames: int, previous: Tensor | None, octave: Tensor | None = None) -> StageOutput:
        """Separates the octave, if one is given; see `Stage.forward`."""
        if octave is None:
            return super().forward(wave, frames, previous)
        latent = self.encode(wave, frames, octave)
        masked = latent.unsqueeze(1) * self.masking(latent, previous, self.embedding)
        time, gain = wave.shape[-1], level(octave)
        return StageOutput(self.decode(masked, time) * gain.unsqueeze(1), masked, self.decode(latent, time) * gain)


class OctaveTasNet(MetaTasNet):
    """A MetaTasNet whose stages after the first separate one octave each."""

    stage_type = OctaveStage

    def forward(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Separates a mixture given at every stage's rate; see `MetaTasNet.forward`."""
        outputs = self.training_outputs(pyramid)
        for i in range(1, len(outputs)):
            outputs[i] = _added(outputs[i], outputs[i - 1], pyramid[i - 1], pyramid[i])
        return outputs

    def training_outputs(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """What each stage separates by itself: after the first, only what its rate adds."""
        frames = check_pyramid(self.config, pyramid)
        heard = [None, *octaves(pyramid)[1:]]
        outputs: list[StageOutput] = []
        for stage, wave, octave in zip(self.stages, pyramid, heard, strict=False):
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


def _added(output: StageOutput, before: StageOutput, lower: Tensor, mixture: Tensor) -> StageOutput:
    """A stage's output with the waveforms of the stage before added to its own."""
    waves = carried(torch.cat([before.stems, before.mixture.unsqueeze(1)], 1), lower, mixture)
    return StageOutput(output.stems + waves[:, :-1], output.latent, output.mixture + waves[:, -1])


@cache
def doubling_filter() -> np.ndarray:
    """The (2, TAPS) float32 kernels of the even and odd samples at twice the rate: a sinc under a Kaiser window.

    Even samples are those of the lower rate themselves. The kernels are correlated with a wave that TAPS / 2 - 1 zeros
    precede and TAPS / 2 follow.
    """
    half = TAPS // 2
    kernels = np.zeros((2, TAPS))
    kernels[0, half - 1] = 1
    between = np.arange(TAPS) - (half - 0.5)
    kernels[1] = np.sinc(between) * np.i0(8 * np.sqrt(1 - (between / half) ** 2)) / np.i0(8)
    kernels[1] /= kernels[1].sum()
    return kernels.astype(np.float32)


def doubled(waves: Tensor) -> Tensor:
    """Waves (..., time) at twice their rate, (..., 2 * time), aligned to the sample."""
    rows, time = waves.reshape(-1, waves.shape[-1]), waves.shape[-1]
    spare = -time % TAPS
    padded = F.pad(rows, (TAPS // 2 - 1, TAPS // 2 + spare))
    band = torch.from_numpy(_between()).to(waves)
    between = torch.matmul(padded.unfold(-1, 2 * TAPS - 1, TAPS), band).flatten(1)[:, :time]
    return torch.stack([rows, between], -1).view(*waves.shape[:-1], -1)


@cache
def _between() -> np.ndarray:
    """The filter's odd kernel as a band matrix (2 * TAPS - 1, TAPS): a product is faster than a convolution."""
    band = np.zeros((2 * TAPS - 1, TAPS), np.float32)
    for i in range(TAPS):
        band[i : i + TAPS, i] = doubling_filter()[1]
    return band


def carried(waves: Tensor, lower: Tensor, mixture: Tensor) -> Tensor:
    """Waves of the stage before as waves of this one.

    Every rate of a mixture is brought to level 1 by itself, so the same sound has different levels in them. Their ratio
    is the least-squares gain from the lower mixture to the higher one.

    Args:
        waves: (batch, [stem,] [channel,] time) at the lower rate.
        lower: the mixture at that rate (batch, [channel,] time).
        mixture: the mixture at twice the rate (batch, [channel,] time_i), time_i being 2 * time give or take rounding.

    Returns:
        (batch, [stem,] [channel,] time_i).
    """
    with torch.autocast(waves.device.type, enabled=False):
        length = mixture.shape[-1]
        below = _fitted(doubled(lower.float()), length).flatten(1)
        gain = (below * mixture.flatten(1)).sum(1) / (below.square().sum(1) + POWER_EPS)  # (batch,)
        higher = below.view(mixture.shape) if waves is lower else _fitted(doubled(waves.float()), length)
        return higher * gain.view(-1, *[1] * (waves.dim() - 1))


def octaves(pyramid: Sequence[Tensor], waves: Sequence[Tensor] | None = None) -> list[Tensor]:
    """What each rate adds: waves without what the rate below holds of them; the first as they are.

    Args:
        pyramid: the mixture per stage, (batch, [channel,] time_i).
        waves: per stage, (batch, [stem,] [channel,] time_i); the mixtures by default.
    """
    waves = pyramid if waves is None else waves
    pairs = zip(pairwise(waves), pairwise(pyramid), strict=True)
    return [waves[0], *(wave - carried(below, lower, mixture) for (below, wave), (lower, mixture) in pairs)]


def level(octave: Tensor) -> Tensor:
    """Root of the mean power of (batch, [channel,] time) as (batch, [1,] 1), with a floor for what is not heard."""
    return (octave.flatten(1).square().mean(1) + FAINT_OCTAVE).sqrt().view(-1, *[1] * (octave.dim() - 1))


def _fitted(waves: Tensor, length: int) -> Tensor:
    return F.pad(waves, (0, length - waves.shape[-1]))
