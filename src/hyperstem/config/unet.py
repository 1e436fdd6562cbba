"""Sizes of a Meta-U-Net."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from hyperstem.config.limits import Count, Limits, Positive
from hyperstem.config.model import STEMS, ModelConfig, check_stems
from hyperstem.config.reading import Checked, require

Counts = Annotated[tuple[int, ...], Limits(1)]


@dataclass(frozen=True)
class UNetConfig(Checked):
    """A Meta-U-Net's sizes: one shared encoder over time and frequency, and an extractor for every stem.

    The spectrum of ``n_fft // 2`` bins is split into bands; a *row* is ``band_widths`` neighbouring bins of a band, a
    *column* ``patch`` neighbouring frames. Level 0 has all rows and columns. Each further level, down to the
    bottleneck, has half the rows and, where ``column_strides`` is 2, half the columns of the previous one.
    """

    audio_channels: ClassVar[int] = 2

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
    row_reduction: Annotated[float, Limits(1)] = 8.0
    """Rows of a level for each hidden unit of the layers that mix its rows."""
    core: Count = 2
    """Pairs of an LSTM over time and a block in the bottleneck."""
    recurrent_dim: Count = 64
    """Units of an LSTM in each direction."""
    recurrent_rows: bool = False
    """Whether an LSTM along the rows follows each LSTM over time."""
    extractor_channels: Counts = (16, 24, 32)
    """Channels of each stem's extractor at each level above the bottleneck."""
    parameters: Literal["generated", "independent", "shared"] = "generated"
    """Origin of the extractors' weights; see `ModelConfig.parameters`."""
    embedding_dim: Count = 8
    """Size of a stem's embedding."""
    embedding_bottleneck: Count = 3
    """Size of the generator's bottleneck before each layer's weights."""
    draft: ModelConfig | None = None
    """A Meta-TasNet whose first stage, at the U-Net's rate, makes the stems that the U-Net refines; further stages add
    their octaves. None for a U-Net alone."""
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
        if self.draft is not None:
            self._check_draft(self.draft)

    def _check_draft(self, draft: ModelConfig) -> None:
        """Whether a Meta-TasNet's first stage can be refined and its other stages can add to that."""
        require(draft.audio_channels == 2, f"draft has {draft.audio_channels} audio channel; 2 are needed")
        require(draft.stems == self.stems, f"draft has the stems {draft.stems!r}; the model has {self.stems!r}")
        require(
            draft.base_rate_hz == self.rate_hz,
            f"draft.base_rate_hz is {draft.base_rate_hz}; it must be rate_hz, {self.rate_hz}",
        )
        require(
            draft.octaves or draft.stages == 1,
            f"draft has {draft.stages} stages without octaves, which would replace what is refined; "
            "set draft.octaves, or draft.stages = 1",
        )

    def check_pyramid(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[object], finite: Sequence[bool]) -> int:
        """Checks a mixture's waveforms and returns the number of STFT frames; see `ModelConfig.check_pyramid`.

        Raises:
            ConfigError: wrong number of rates, shapes or lengths, or samples that are not finite.
        """
        given = ", ".join(map(str, shapes)) or "none"
        require(len(shapes) == self.stages, f"waveforms of shape {given}; expected one at each of {self.stages} rates")
        if self.draft is not None:
            self.draft.check_pyramid(shapes, dtypes, finite)
        fits = all(len(shape) == 3 and shape[1] == 2 and 0 not in shape for shape in shapes)
        require(fits, f"waveforms of shape {given}; expected one of shape (batch, 2, time) at each rate")
        for dtype, is_finite in zip(dtypes, finite, strict=True):
            require("float" in str(dtype), f"the waveform is {dtype}; expected floating-point samples")
            require(is_finite, "the waveform has samples that are not finite (NaN or infinity)")
        return shapes[0][-1] // self.hop + 1

    def first_stages(self, count: int) -> "ModelConfig | UNetConfig":
        """The model with all of its stages, or the draft with fewer: only the whole model refines.

        Raises:
            ConfigError: more stages are asked for than there are.
        """
        require(1 <= count <= self.stages, f"{count} stages requested; this model has {self.stages}")
        return self if count == self.stages or self.draft is None else self.draft.first_stages(count)

    @property
    def stages(self) -> int:
        """Rates that the network works at."""
        return len(self.rates_hz)

    @property
    def base_rate_hz(self) -> int:
        """The lowest rate, that of the U-Net."""
        return self.rate_hz

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """The rates that the network works at, the lowest first."""
        return (self.rate_hz,) if self.draft is None else self.draft.rates_hz

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the network's stems always sum to the mixture."""
        return self.stages == 1

    @property
    def hop(self) -> int:
        """Samples from frame to frame, at `rate_hz`."""
        return self.n_fft // 4

    @property
    def frame_samples(self) -> int:
        """Samples between two frames at the last stage's rate; at every rate they are a whole number."""
        return self.hop * self.rates_hz[-1] // self.rate_hz

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
