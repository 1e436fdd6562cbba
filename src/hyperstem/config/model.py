"""Sizes of a model and of its stages."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from hyperstem.config.limits import Count, Limits, Positive
from hyperstem.config.reading import Checked, require

STEMS = ("drums", "bass", "other", "vocals")
PER_STAGE = ("latent_dim", "mels", "n_fft", "stft_hop", "bottleneck_dim", "hidden_dim", "blocks", "stacks")
"""Sizes that may be given for each stage."""
PerStage = Annotated[int | tuple[int, ...], Limits(1)]


def check_stems(stems: tuple[str, ...]) -> None:
    """Refuses names of stems that are too few, alike or no file names.

    Raises:
        ConfigError: what is wrong with them.
    """
    require(len(stems) >= 2, f"stems is {stems!r}; two or more are needed")
    require(len(set(stems)) == len(stems), f"stems {stems!r} has a name twice")
    require(
        all(
            stem and stem == Path(stem).name and stem.isprintable() and stem[0] != "." and "," not in stem
            for stem in stems
        ),
        f"stems {stems!r}: each must do as a file name without commas",
    )


@dataclass(frozen=True)
class StageConfig:
    """One stage's sizes, every number resolved for its own rate."""

    rate_hz: int
    latent_dim: int
    """Channels of the latent representation."""
    kernels: tuple[int, ...]
    """Lengths of the encoder's and decoder's kernels in samples."""
    hop: int
    """Samples between two frames."""
    n_fft: int
    """Samples of an STFT window."""
    stft_hop: int
    """Samples between two STFT windows."""
    mels: int
    """Bands that the spectrogram is projected to."""
    bottleneck_dim: int
    """Channels between the blocks of the masking network."""
    hidden_dim: int
    """Channels inside a block."""
    blocks: int
    """Blocks of a stack; each doubles the dilation of the one before."""
    stacks: int
    previous_dim: int
    """Channels of the latent that the stage before hands on; 0 for the first."""

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
class ModelConfig(Checked):
    """A Meta-TasNet's sizes; the defaults are the paper's (arXiv 2002.07016, section 3).

    Sizes are those of stage 0. Stage i works at ``base_rate_hz * 2**i``; its kernels, hop, STFT and (given as one
    number) latent grow with the rate. A size given as a tuple has one entry per stage and is not scaled.

    With ``octaves``, which the paper does not have, a stage separates only what its rate adds to that of the stage
    before, and the waveforms of the stage before make up the rest.
    """

    stems: tuple[str, ...] = STEMS
    base_rate_hz: Annotated[int, Limits(1000)] = 8000
    """Sample rate of stage 0."""
    stages: Annotated[int, Limits(1, 4)] = 3
    audio_channels: Annotated[int, Limits(1, 2)] = 1
    latent_dim: PerStage = 440
    """Channels of the latent representation."""
    kernels: Annotated[tuple[int, ...], Limits(1)] = (20, 40, 80)
    """Lengths of the encoder's and decoder's kernels in samples."""
    hop: Count = 20
    """Samples between two frames, at most 20 ms."""
    mels: PerStage = 256
    """Bands that the encoder's spectrogram is projected to."""
    n_fft: Annotated[int | tuple[int, ...], Limits(16)] = 1024
    """Samples of an STFT window; even."""
    stft_hop: PerStage = 256
    """Samples between two STFT windows."""
    bottleneck_dim: PerStage = 160
    """Channels between the blocks of the masking network."""
    hidden_dim: PerStage = 160
    """Channels inside a block."""
    kernel_size: Count = 3
    """Taps of a block's dilated convolution; odd."""
    blocks: PerStage = 6
    """Blocks of a stack; each doubles the dilation of the one before."""
    stacks: PerStage = 3
    norm_groups: Count = 8
    """Groups of the normalisation; they divide every number of channels."""
    residual_bias: bool = False
    parameters: Literal["generated", "independent", "shared"] = "generated"
    """Where an extractor's weights come from: the generator, one network for each stem, or one for all."""
    embedding_dim: Count = 8
    """Numbers that describe a stem to the generator."""
    embedding_bottleneck: Count = 5
    """Numbers that the generator makes of them for a layer."""
    octaves: bool = False
    segment_s: Positive = 8.0
    """Length of the excerpts that the model is trained on and separates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stems(self.stems)
        require(
            self.hop <= self.base_rate_hz // 50,
            f"hop is {self.hop} samples; allowed are 1 to {self.base_rate_hz // 50} (20 ms)",
        )
        require(len(self.kernels) >= 1, "kernels is empty; one or more are needed")
        require(max(self.kernels) >= self.hop, f"kernels {self.kernels!r} leave gaps at hop {self.hop}")
        require(self.kernel_size % 2 == 1, f"kernel_size is {self.kernel_size}; it must be odd")
        for name in PER_STAGE:
            value = getattr(self, name)
            require(
                isinstance(value, int) or len(value) == self.stages,
                f"{name} is {value!r}; give one number or one per stage ({self.stages})",
            )
        for stage in self.stage_configs:
            self._check_stage(stage)

    def _check_stage(self, stage: StageConfig) -> None:
        require(stage.n_fft % 2 == 0, f"n_fft is {stage.n_fft}; it must be even")
        require(stage.stft_hop <= stage.n_fft, f"stft_hop is {stage.stft_hop}; allowed are 1 to n_fft, {stage.n_fft}")
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
                n_fft=self._at("n_fft", i, grows=True),
                stft_hop=self._at("stft_hop", i, grows=True),
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
    def sums_to_mixture(self) -> bool:
        """Whether the network's stems add up to the mixture by themselves."""
        return False

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """Sample rate of each stage, lowest first."""
        return tuple(self.base_rate_hz << i for i in range(self.stages))

    def frames(self, lengths: tuple[int, ...]) -> int:
        """Latent frames for waveforms of `lengths` samples, one per stage from stage 0 on.

        The waveforms are padded at the end to whole frames, and to what the reflect padding of the STFTs needs.

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
        return max(whole, self.least_frames)

    def check_pyramid(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[object], finite: Sequence[bool]) -> int:
        """Checks a mixture's waveforms, one per stage from stage 0 on, and returns the number of latent frames.

        Args:
            shapes: (batch, time) each, with several channels (batch, channel, time).
            dtypes: NumPy's or PyTorch's.
            finite: whether all samples are.

        Raises:
            ConfigError: wrong number of rates, shapes, lengths or batch sizes, or samples that are not finite.
        """
        channels = (self.audio_channels,) if self.audio_channels > 1 else ()
        expected = f"(batch, {self.audio_channels}, time)" if channels else "(batch, time)"
        batch = shapes[0][0] if shapes and shapes[0] else 0
        for i, (shape, dtype, is_finite) in enumerate(zip(shapes, dtypes, finite, strict=True)):
            require(
                len(shape) == 2 + len(channels) and shape[:-1] == (batch, *channels) and batch >= 1,
                f"the waveform of stage {i} has shape {shape}; expected {expected} with batch {max(batch, 1)}",
            )
            require("float" in str(dtype), f"the waveform of stage {i} is {dtype}; expected floating-point samples")
            require(is_finite, f"the waveform of stage {i} has samples that are not finite (NaN or infinity)")
        return self.frames(tuple(shape[-1] for shape in shapes))

    @property
    def least_frames(self) -> int:
        """Latent frames of the shortest waveforms that every stage's STFT can reflect."""
        return max(-(-(stage.n_fft // 2 + 1) // stage.hop) for stage in self.stage_configs)

    def first_stages(self, count: int) -> Self:
        """The same model cut to its first `count` stages."""
        require(1 <= count <= self.stages, f"{count} stages asked for; this model has {self.stages}")
        cut = {name: value[:count] for name in PER_STAGE if isinstance(value := getattr(self, name), tuple)}
        return dataclasses.replace(self, stages=count, **cut)
