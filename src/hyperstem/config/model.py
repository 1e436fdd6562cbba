"""Sizes of a Meta-TasNet and of its stages."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from hyperstem.config.limits import Count, Limits, Positive
from hyperstem.config.reading import Checked, require

STEMS = ("drums", "bass", "other", "vocals")
PER_STAGE = ("latent_dim", "mels", "n_fft", "stft_hop", "bottleneck_dim", "hidden_dim", "blocks", "stacks")
"""Sizes that may be given for each stage."""
DOUBLING = ("latent_dim", "n_fft", "stft_hop")
"""Those of them that double from stage to stage if one number is given."""
PerStage = Annotated[int | tuple[int, ...], Limits(1)]


def check_stems(stems: tuple[str, ...]) -> None:
    """Checks the names of a model's stems.

    Raises:
        ConfigError: there are fewer than two, two are equal, or one cannot be a file name.
    """
    require(len(stems) >= 2, f"stems is {stems!r}; two or more are needed")
    require(len(set(stems)) == len(stems), f"stems is {stems!r}; the names must differ")
    require(
        all(
            stem and stem == Path(stem).name and stem.isprintable() and stem[0] != "." and "," not in stem
            for stem in stems
        ),
        f"stems is {stems!r}; each name must be usable as a file name and have no comma",
    )


@dataclass(frozen=True)
class StageConfig:
    """One stage's sizes; fields without a description are those of `ModelConfig`, scaled to the rate of the stage."""

    rate_hz: int
    """Sample rate of the stage."""
    latent_dim: int
    kernels: tuple[int, ...]
    hop: int
    n_fft: int
    stft_hop: int
    mels: int
    """0 without a spectrogram."""
    bottleneck_dim: int
    hidden_dim: int
    blocks: int
    stacks: int
    previous_dim: int
    """Channels of the previous stage's latent; 0 for the first stage."""

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

    Sizes are those of stage 0. Stage i works at ``base_rate_hz * 2**i``; its kernels, hop, STFT and latent grow with
    the rate. A size given as a tuple has one entry per stage and is not scaled.
    """

    sums_to_mixture: ClassVar[bool] = False
    """Whether the network's stems always sum to the mixture."""
    stems: tuple[str, ...] = STEMS
    base_rate_hz: Annotated[int, Limits(1000)] = 8000
    """Sample rate of stage 0."""
    stages: Annotated[int, Limits(1, 4)] = 3
    audio_channels: Annotated[int, Limits(1, 2)] = 1
    latent_dim: PerStage = 440
    """Channels of the latent."""
    kernels: Annotated[tuple[int, ...], Limits(1)] = (20, 40, 80)
    """Lengths of the encoder's and decoder's kernels in samples."""
    hop: Count = 20
    """Samples from frame to frame, at most 20 ms."""
    spectrogram: bool = True
    """Whether the encoder has a spectrogram beside its filters."""
    mels: PerStage = 256
    """Channels to which the spectrogram is projected."""
    n_fft: Annotated[int | tuple[int, ...], Limits(16)] = 1024
    """Length of an STFT window in samples; even."""
    stft_hop: PerStage = 256
    """Samples from STFT window to window."""
    bottleneck_dim: PerStage = 160
    """Channels between the blocks of the masking network."""
    hidden_dim: PerStage = 160
    """Channels inside a block."""
    kernel_size: Count = 3
    """Taps of a block's dilated convolution; odd."""
    blocks: PerStage = 6
    """Blocks of a stack, each with twice the dilation of the previous one."""
    stacks: PerStage = 3
    norm_groups: Count = 8
    """Groups of the group norms; every number of channels must be a multiple."""
    residual_bias: bool = False
    parameters: Literal["generated", "independent", "shared"] = "generated"
    """Origin of the extractors' weights: the generator, separate weights per stem, or one extractor for all stems."""
    embedding_dim: Count = 8
    """Size of a stem's embedding."""
    embedding_bottleneck: Count = 5
    """Size of the generator's bottleneck before each layer's weights."""
    octaves: bool = False
    """Whether each stage separates only the band that its rate adds, and the lower band comes from the previous stage
    (not in the paper)."""
    segment_s: Positive = 8.0
    """Length of the segments on which the model is trained and that it separates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stems(self.stems)
        require(
            self.hop <= self.base_rate_hz // 50,
            f"hop is {self.hop} samples; allowed are 1 to {self.base_rate_hz // 50} (20 ms)",
        )
        require(len(self.kernels) >= 1, "kernels is empty; one or more are needed")
        require(
            max(self.kernels) >= self.hop, f"kernels is {self.kernels!r}; the longest must be at least hop, {self.hop}"
        )
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
            f"latent_dim is {stage.latent_dim}; that is too small for {len(stage.kernels)} kernel sizes",
        )
        normed = {
            "latent_dim": stage.latent_dim,
            "latent_dim plus the previous stage's": stage.latent_dim + stage.previous_dim,
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
        """Sizes of each stage, lowest rate first."""
        return tuple(
            StageConfig(
                rate_hz=rate_hz,
                kernels=tuple(kernel << i for kernel in self.kernels),
                hop=self.hop << i,
                previous_dim=self._at("latent_dim", i - 1) if i else 0,
                **{name: self._at(name, i) for name in PER_STAGE} | ({} if self.spectrogram else {"mels": 0}),
            )
            for i, rate_hz in enumerate(self.rates_hz)
        )

    def _at(self, name: str, stage: int) -> int:
        value = getattr(self, name)
        if isinstance(value, tuple):
            return value[stage]
        return value << stage if name in DOUBLING else value

    @property
    def frame_samples(self) -> int:
        """Samples of a latent frame at the last stage's rate."""
        return self.hop << (self.stages - 1)

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """Sample rate of each stage, lowest first."""
        return tuple(self.base_rate_hz << i for i in range(self.stages))

    def frames(self, lengths: tuple[int, ...]) -> int:
        """Latent frames for waveforms of `lengths` samples, one per stage from stage 0 on.

        The waveforms are padded at the end to whole frames, and to the least length for the STFTs' reflect padding.

        Raises:
            ConfigError: the lengths are not those of one segment at the stages' rates.
        """
        require(1 <= len(lengths) <= self.stages, f"{len(lengths)} rates given; this model takes 1 to {self.stages}")
        for i, length in enumerate(lengths):
            require(length >= 1, f"the waveform of stage {i} is empty")
            require(
                abs(length - (lengths[0] << i)) <= 1 << i,
                f"the waveform of stage {i} has {length} samples; expected are {lengths[0] << i}, for "
                f"{lengths[0]} at stage 0",
            )
        whole = max(-(-length // (self.hop << i)) for i, length in enumerate(lengths))
        return max(whole, self.least_frames)

    def check_pyramid(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[object], finite: Sequence[bool]) -> int:
        """Checks a mixture's waveforms, one per stage from stage 0 on, and returns the number of latent frames.

        Args:
            shapes: (batch, time) each, with several channels (batch, channel, time).
            dtypes: NumPy's or PyTorch's.
            finite: whether all samples are finite.

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
        """Latent frames of the shortest waveforms to which every stage's STFT can add reflect padding."""
        return max(-(-(stage.n_fft // 2 + 1) // stage.hop) for stage in self.stage_configs)

    def first_stages(self, count: int) -> Self:
        """The sizes of the first `count` stages."""
        require(1 <= count <= self.stages, f"{count} stages requested; this model has {self.stages}")
        sizes = {name: value[:count] for name in PER_STAGE if isinstance(value := getattr(self, name), tuple)}
        return dataclasses.replace(self, stages=count, **sizes)
