"""Sizes of a model and of its stages."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from hyperstem.config.reading import require

STEMS = ("drums", "bass", "other", "vocals")


@dataclass(frozen=True)
class StageConfig:
    """One stage's sizes, every number resolved for its own rate."""

    rate_hz: int
    latent_dim: int
    kernels: tuple[int, ...]
    hop: int
    n_fft: int
    stft_hop: int
    mels: int
    bottleneck_dim: int
    hidden_dim: int
    blocks: int
    stacks: int
    previous_dim: int

    @property
    def bins(self) -> int:
        """Bins of one spectrum."""
        return self.n_fft // 2 + 1

    @property
    def encoder_channels(self) -> int:
        """Channels of each encoder kernel size."""
        return self.latent_dim // 4

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels of each decoder kernel size: a half, a quarter, an eighth, ... of the latent."""
        return tuple(self.latent_dim >> (i + 1) for i in range(len(self.kernels)))


@dataclass(frozen=True)
class ModelConfig:
    """A Meta-TasNet's sizes; the defaults are the paper's (arXiv 2002.07016, section 3).

    Sizes are those of stage 0. Stage i works at ``base_rate_hz * 2**i``; its kernels, hop, STFT and (given as one
    number) latent grow with the rate. A size given as a tuple has one entry per stage and is not scaled.

    With ``octaves``, which the paper does not have, a stage separates only what its rate adds to that of the stage
    before, and the waveforms of the stage before make up the rest.
    """

    stems: tuple[str, ...] = STEMS
    base_rate_hz: int = 8000
    stages: int = 3
    audio_channels: int = 1
    latent_dim: int | tuple[int, ...] = 440
    kernels: tuple[int, ...] = (20, 40, 80)
    hop: int = 20
    mels: int | tuple[int, ...] = 256
    n_fft: int = 1024
    stft_hop: int = 256
    bottleneck_dim: int | tuple[int, ...] = 160
    hidden_dim: int | tuple[int, ...] = 160
    kernel_size: int = 3
    blocks: int | tuple[int, ...] = 6
    stacks: int | tuple[int, ...] = 3
    norm_groups: int = 8
    residual_bias: bool = False
    parameters: Literal["generated", "independent", "shared"] = "generated"
    embedding_dim: int = 8
    embedding_bottleneck: int = 5
    octaves: bool = False
    segment_s: float = 8.0

    def __post_init__(self) -> None:
        require(len(self.stems) >= 2, f"stems is {self.stems!r}; two or more are needed")
        require(len(set(self.stems)) == len(self.stems), f"stems {self.stems!r} has a name twice")
        require(
            all(
                stem and stem == Path(stem).name and stem.isprintable() and stem[0] != "." and "," not in stem
                for stem in self.stems
            ),
            f"stems {self.stems!r}: each must do as a file name without commas",
        )
        require(1 <= self.stages <= 4, f"stages is {self.stages}; allowed are 1 to 4")
        require(self.audio_channels in (1, 2), f"audio_channels is {self.audio_channels}; allowed are 1 and 2")
        require(self.base_rate_hz >= 1000, f"base_rate_hz is {self.base_rate_hz}; at least 1000 is needed")
        require(
            1 <= self.hop <= self.base_rate_hz // 50,
            f"hop is {self.hop} samples; allowed are 1 to {self.base_rate_hz // 50} (20 ms)",
        )
        require(
            len(self.kernels) >= 1 and min(self.kernels) >= 1, f"kernels is {self.kernels!r}; one or more, each >= 1"
        )
        require(max(self.kernels) >= self.hop, f"kernels {self.kernels!r} leave gaps at hop {self.hop}")
        require(
            self.kernel_size % 2 == 1 and self.kernel_size >= 1, f"kernel_size is {self.kernel_size}; it must be odd"
        )
        require(self.norm_groups >= 1, f"norm_groups is {self.norm_groups}; at least 1 is needed")
        require(self.n_fft >= 16 and self.n_fft % 2 == 0, f"n_fft is {self.n_fft}; an even number from 16 is needed")
        require(1 <= self.stft_hop <= self.n_fft, f"stft_hop is {self.stft_hop}; allowed are 1 to n_fft, {self.n_fft}")
        for name in ("embedding_dim", "embedding_bottleneck"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; at least 1 is needed")
        require(
            math.isfinite(self.segment_s) and self.segment_s > 0, f"segment_s is {self.segment_s}; it must be positive"
        )
        for name in ("latent_dim", "mels", "bottleneck_dim", "hidden_dim", "blocks", "stacks"):
            value = getattr(self, name)
            require(
                isinstance(value, int) or len(value) == self.stages,
                f"{name} is {value!r}; give one number or one per stage ({self.stages})",
            )
        for stage in self.stage_configs:
            self._check_stage(stage)

    def _check_stage(self, stage: StageConfig) -> None:
        for name in ("mels", "bottleneck_dim", "hidden_dim", "blocks", "stacks"):
            require(getattr(stage, name) >= 1, f"{name} is {getattr(stage, name)}; at least 1 is needed")
        shortest = stage.decoder_channels[-1]
        require(
            shortest >= 1 and stage.encoder_channels >= 1,
            f"latent_dim {stage.latent_dim} is too small for {len(stage.kernels)} kernel sizes",
        )
        normed = {
            "latent_dim": stage.latent_dim,
            "latent_dim with the previous stage's": stage.latent_dim + stage.previous_dim,
            "bottleneck_dim": stage.bottleneck_dim,
            "hidden_dim": stage.hidden_dim,
        }
        for name, size in normed.items():
            require(
                size % self.norm_groups == 0,
                f"{name} is {size}; it must be a multiple of norm_groups, {self.norm_groups}",
            )

    @property
    def stage_configs(self) -> tuple[StageConfig, ...]:
        """Every stage's own sizes, lowest rate first."""
        latents = [self._at("latent_dim", i, grows=True) for i in range(self.stages)]
        return tuple(
            StageConfig(
                rate_hz=self.base_rate_hz << i,
                latent_dim=latents[i],
                kernels=tuple(kernel << i for kernel in self.kernels),
                hop=self.hop << i,
                n_fft=self.n_fft << i,
                stft_hop=self.stft_hop << i,
                mels=self._at("mels", i),
                bottleneck_dim=self._at("bottleneck_dim", i),
                hidden_dim=self._at("hidden_dim", i),
                blocks=self._at("blocks", i),
                stacks=self._at("stacks", i),
                previous_dim=latents[i - 1] if i else 0,
            )
            for i in range(self.stages)
        )

    def _at(self, name: str, stage: int, grows: bool = False) -> int:
        value = getattr(self, name)
        if isinstance(value, tuple):
            return value[stage]
        return value << stage if grows else value

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """Sample rate of each stage, lowest first."""
        return tuple(self.base_rate_hz << i for i in range(self.stages))

    def frames(self, lengths: tuple[int, ...]) -> int:
        """Latent frames for waveforms of `lengths` samples, one per stage from stage 0 on.

        The waveforms are padded at the end to whole frames, and to what the reflect padding of the shortest STFT needs.

        Raises:
            ConfigError: the lengths are not those of one excerpt at the stages' rates.
        """
        require(1 <= len(lengths) <= self.stages, f"{len(lengths)} rates given; this model takes 1 to {self.stages}")
        for i, length in enumerate(lengths):
            require(length >= 1, f"the waveform of stage {i} is empty")
            require(
                abs(length - (lengths[0] << i)) <= 1 << i,
                f"the waveform of stage {i} has {length} samples; beside {lengths[0]} samples at stage 0 it should "
                f"have {lengths[0] << i}",
            )
        whole = max(-(-length // (self.hop << i)) for i, length in enumerate(lengths))
        return max(whole, -(-(self.n_fft // 2 + 1) // self.hop))

    def first_stages(self, count: int) -> Self:
        """The same model cut to its first `count` stages."""
        require(1 <= count <= self.stages, f"{count} stages asked for; this model has {self.stages}")
        per_stage = ("latent_dim", "mels", "bottleneck_dim", "hidden_dim", "blocks", "stacks")
        cut = {name: value[:count] for name in per_stage if isinstance(value := getattr(self, name), tuple)}
        return dataclasses.replace(self, stages=count, **cut)
