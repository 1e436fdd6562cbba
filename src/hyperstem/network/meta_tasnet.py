"""Meta-TasNet: the stages in a row (section 2.3)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hyperstem.config import ConfigError, ModelConfig
from hyperstem.network.generator import Folded, Generated, Independent
from hyperstem.network.stage import Stage, StageOutput


class MetaTasNet(nn.Module):
    """The whole network; sizes come from the config, whose defaults are the paper's.

    Levels are the caller's: each rate of the pyramid is expected with a standard deviation near one.

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
                channels; time_i is time_0 doubled i times, give or take rounding. Fewer rates run fewer stages.

        Returns:
            One StageOutput per rate, its waveforms exactly time_i long.

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
        """What training compares with `targets`, stage by stage: what `forward` gives."""
        return self(pyramid)

    def targets(self, pyramid: Sequence[Tensor], stems: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The mixtures and the stems (batch, stem, [channel,] time_i) that `training_outputs` ought to give."""
        return pyramid, stems

    def stem_latents(self, stage: int, stems: Tensor, target: Tensor) -> Tensor:
        """The encoder's latents of the true stems (batch, stem, [channel,] time_i), (batch, stem, latent, frame).

        Args:
            stage: whose encoder.
            stems: the true stems at the stage's rate.
            target: their `targets`.
        """
        return self.stages[stage].encode(stems.flatten(0, 1)).unflatten(0, stems.shape[:2])

    def set_spectrogram_statistics(self, statistics: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Takes, per stage, mean and standard deviation of the log power per bin, each (bins,)."""
        if len(statistics) != self.config.stages:
            raise ConfigError(f"statistics of {len(statistics)} stages; this model has {self.config.stages}")
        for stage, (mean, std) in zip(self.stages, statistics, strict=True):
            stage.encoder.spectrogram.set_statistics(torch.as_tensor(mean), torch.as_tensor(std))

    @torch.no_grad()
    def folded(self) -> "MetaTasNet":
        """A copy for inference whose stem weights are constants: no generator, no embeddings."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        for stage in network.stages:
            for module in stage.masking.modules():
                for name, child in list(module.named_children()):
                    if isinstance(child, Generated | Independent):
                        setattr(module, name, Folded(child(stage.embedding)))
            stage.embedding = None
        return network


def check_pyramid(config: ModelConfig, pyramid: Sequence[Tensor]) -> int:
    """Checks a mixture's shapes against the model and gives the number of latent frames.

    Raises:
        ConfigError: wrong number of rates, shapes, lengths or batch sizes, or samples that are not finite.
    """
    finite = [torch.compiler.is_compiling() or bool(torch.isfinite(wave).all()) for wave in pyramid]
    return config.check_pyramid([tuple(wave.shape) for wave in pyramid], [wave.dtype for wave in pyramid], finite)
