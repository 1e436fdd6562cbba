"""Sizes of a Meta-U-Net."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from hyperstem.config.limits import Count, Limits, Positive
from hyperstem.config.model import STEMS, check_stems
from hyperstem.config.reading import Checked, require

Counts = Annotated[tuple[int, ...], Limits(1)]


@dataclass(frozen=True)
class UNetConfig(Checked):
    """A Meta-U-Net's sizes: one shared encoder over time and frequency, and an extractor for every stem.

    The spectrum of ``n_fft // 2`` bins is split into bands; a *row* is ``band_widths`` neighbouring bins of a band, a
    *column* ``patch`` neighbouring frames. Level 0 has all rows and columns. Each further level, down to the
    bottleneck, has half the rows and, where ``column_strides`` is 2, half the columns of the previous one.
    """

    sums_to_mixture: ClassVar[bool] = True
    """Whether the network's stems always sum to the mixture."""
    audio_channels: ClassVar[int] = 2
    stages: ClassVar[int] = 1
    """Number of rates, as of a Meta-TasNet."""

    network: Literal["meta-unet"]
    """Name of the family of networks."""
    stems: tuple[str, ...] = STEMS
    rate_hz: Annotated[int, Limits(1000)] = 44_100
    n_fft: Annotated[int, Limits(16)] = 2048
    """Length of an STFT window in samples; the hop is a quarter of it."""
    patch: Count = 2
    """Frames of one column."""
    band_bins: Counts = (128, 256, 640)
    """Bins of each band, lowest first; their sum is n_fft / 2."""
    band_widths: Counts = (1, 2, 8)
    """Bins of one row in each band."""
    channels: Counts = (32, 48, 64, 96)
    """Channels of the encoder at each level; the last level is the bottleneck."""
    blocks: Annotated[tuple[int, ...], Limits(0)] = (0, 1, 1)
    """Residual blocks of encoder and extractors at each level above the bottleneck; 0 means a single convolution."""
    column_strides: Annotated[tuple[int, ...], Limits(1, 2)] = (2, 1, 2)
    """Factor by which each level above the bottleneck shortens time."""
    mixed_rows: tuple[bool, ...] = (False, True, True)
    """Whether the encoder's blocks at a level have a layer that mixes all rows."""
    core: Count = 2
    """Pairs of an LSTM over time and a block in the bottleneck."""
    recurrent_dim: Count = 64
    """Units of an LSTM in each direction."""
    extractor_channels: Counts = (16, 24, 32)
    """Channels of each stem's extractor at each level above the bottleneck."""
    parameters: Literal["generated", "independent", "shared"] = "generated"
    """Origin of the extractors' weights; see `ModelConfig.parameters`."""
    embedding_dim: Count = 8
    """Size of a stem's embedding."""
    embedding_bottleneck: Count = 3
    """Size of the generator's bottleneck before each layer's weights."""
    segment_s: Positive = 6.0
    """Length of the segments on which the model is trained and that it separates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stems(self.stems)
        require(self.n_fft % 4 == 0, f"n_fft is {self.n_fft}; a multiple of 4 is needed")
        require(
            len(self.band_bins) == len(self.band_widths),
            f"band_bins has {len(self.band_bins)} bands, band_widths {len(self.band_widths)}; give both for every band",
        )
        for bins, width in zip(self.band_bins, self.band_widths, strict=True):
            require(bins % width == 0, f"a band has {bins} bins, which is no whole number of rows of {width} bins")
        require(
            sum(self.band_bins) == self.n_fft // 2,
            f"band_bins is {self.band_bins!r}, {sum(self.band_bins)} bins; n_fft {self.n_fft} has {self.n_fft // 2}",
        )
        levels = len(self.channels) - 1
        for name in ("blocks", "column_strides", "mixed_rows", "extractor_channels"):
            given = len(getattr(self, name))
            require(given == levels, f"{name} has {given} entries; {levels} levels lie above the bottleneck")
        require(
            self.rows % (1 << levels) == 0, f"{self.rows} rows cannot be halved {levels} times; choose other band_bins"
        )

    def check_pyramid(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[object], finite: Sequence[bool]) -> int:
        """Checks a mixture's waveform and returns its number of STFT frames; see `ModelConfig.check_pyramid`.

        Raises:
            ConfigError: wrong number of rates or shape, or samples that are not finite.
        """
        given = ", ".join(map(str, shapes)) or "none"
        fits = len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == 2 and 0 not in shapes[0]
        require(fits, f"waveforms of shape {given}; expected one of shape (batch, 2, time)")
        require("float" in str(dtypes[0]), f"the waveform is {dtypes[0]}; expected floating-point samples")
        require(finite[0], "the waveform has samples that are not finite (NaN or infinity)")
        return shapes[0][-1] // self.hop + 1

    def first_stages(self, count: int) -> Self:
        """These sizes, which have one stage.

        Raises:
            ConfigError: `count` is not 1.
        """
        require(count == 1, f"{count} stages requested; this model has 1")
        return self

    @property
    def base_rate_hz(self) -> int:
        """The only rate."""
        return self.rate_hz

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """The only rate."""
        return (self.rate_hz,)

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return self.n_fft // 4

    @property
    def band_rows(self) -> tuple[int, ...]:
        """Rows of each band."""
        return tuple(bins // width for bins, width in zip(self.band_bins, self.band_widths, strict=True))

    @property
    def rows(self) -> int:
        """Rows of level 0."""
        return sum(self.band_rows)

    @property
    def row_widths(self) -> tuple[int, ...]:
        """Bins of each row."""
        return tuple(width for rows, width in zip(self.band_rows, self.band_widths, strict=True) for _ in range(rows))

    @property
    def frame_multiple(self) -> int:
        """Frames of one column of the bottleneck; spectra are padded to a multiple."""
        return self.patch * math.prod(self.column_strides)
