"""Meta-TasNet: the chain of stages (section 2.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hyperstem.config import ConfigError, ModelConfig
from hyperstem.network.generator import folded
from hyperstem.network.stage import Stage, StageOutput, check_pyramid


class MetaTasNet(nn.Module):
    """The whole network, for waveforms whose standard deviation is about one at every rate.

    Source:
        Samuel, Ganeshan, Naradowsky, "Meta-learning Extractors for Music Source Separation", ICASSP 2020.
    """

    stage_type: type[Stage] = Stage
    stages: Sequence[Stage]

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        stages = (self.stage_type(self.config, index) for index in range(self.config.stages))
        self.stages = nn.ModuleList(stages)  # type: ignore[assignment]

    def forward(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Separates a mixture given at every stage's rate.

        Args:
            pyramid: one (batch, time_i) float tensor per stage, or (batch, channel, time_i) for a model with two audio
                channels; time_i is time_0 * 2^i, up to rounding. Fewer rates run fewer stages.

        Returns:
            One StageOutput per rate; its waveforms have time_i samples.

        Raises:
            ConfigError: wrong number of rates, shapes or lengths, or samples that are not finite.
        """
        frames = check_pyramid(self.config, pyramid)
        outputs: list[StageOutput] = []
        previous = None
        for stage, wave in zip(self.stages, pyramid, strict=False):
            outputs.append(stage(wave, frames, previous))
            previous = outputs[-1].latent
        return outputs

    def training_outputs(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Each stage's output that training compares with `targets`; here that of `forward`."""
        return self(pyramid)

    def targets(self, pyramid: Sequence[Tensor], stems: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The mixtures and the stems (batch, stem, [channel,] time_i) that `training_outputs` is compared with."""
        return pyramid, stems

    def stem_latents(self, stage: int, stems: Tensor, target: Tensor) -> Tensor:
        """The encoder's latents of the true stems (batch, stem, [channel,] time_i), (batch, stem, latent, frame).

        Args:
            stage: index of the stage.
            stems: the true stems at the stage's rate.
            target: the `targets` of these stems.
        """
        return self.stages[stage].encode(stems.flatten(0, 1)).unflatten(0, stems.shape[:2])

    def set_spectrogram_statistics(self, statistics: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Sets mean and standard deviation of the log power of each bin, each (bins,), for every spectrogram."""
        spectrograms = [stage.encoder.spectrogram for stage in self.stages if stage.encoder.spectrogram is not None]
        if len(statistics) != len(spectrograms):
            raise ConfigError(f"statistics of {len(statistics)} stages given; this model has {len(spectrograms)}")
        for spectrogram, (mean, std) in zip(spectrograms, statistics, strict=True):
            spectrogram.set_statistics(torch.as_tensor(mean), torch.as_tensor(std))

    def folded(self) -> "MetaTasNet":
        """A copy for inference whose stem weights are constants: no generator, no embeddings."""
        return folded(self)
