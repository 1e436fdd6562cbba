"""Meta-U-Net, the paper's idea over time and frequency: one encoder for all stems, generated extractors.

A *draft* of the stems, made by a Meta-TasNet, may be its input beside the mixture; see `MetaUNet`.

The mixture's spectrum becomes an image of rows (frequency) and columns (time). The encoder and the bottleneck, which
has LSTMs along time, are ordinary layers. Each stem has an extractor, from the bottleneck up to a mask, whose kernels,
norms and mask head a generator computes from the stem's embedding: theta_k = W_k P_k e_i, as in section 2.1 of the
paper. Shapes are (batch, channel, row, column).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import UNetConfig
from hyperstem.network import bands
from hyperstem.network.bands import DRAFT_FEATURES, FEATURES, MASK_COEFFICIENTS
from hyperstem.network.generator import folded
from hyperstem.network.octaves import build_tasnet, lower_band
from hyperstem.network.stage import StageOutput, check_pyramid
from hyperstem.network.unet_layers import (
    AxisLSTM,
    Block,
    ConvNorm,
    StemBlock,
    StemConv2d,
    StemConvNorm,
    StemNorm2d,
    batch_norm,
)


class Encoder(nn.Module):
    """The part that all stems share: from bins to rows, down the levels, and the bottleneck with its LSTMs."""

    join: Sequence[nn.Conv2d]
    levels: Sequence[nn.Sequential]
    down: Sequence[ConvNorm]

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, rows = config.channels, config.rows
        sizes = (self.features * width * config.patch for width in config.band_widths)
        joins = (nn.Conv2d(size, channels[0], 1, bias=False) for size in sizes)
        self.join = nn.ModuleList(joins)  # type: ignore[assignment]
        self.place = nn.Parameter(torch.zeros(channels[0], rows, 1))  # positional embedding of the rows
        self.norm = batch_norm(channels[0])
        levels, down = [], []
        for level, count in enumerate(config.blocks):
            size, part = channels[level], rows >> level
            mixed = int(part / config.row_reduction) if config.mixed_rows[level] else 0
            blocks = [Block(size, part, mixed) for _ in range(count)]
            levels.append(nn.Sequential(*(blocks or [ConvNorm(size, size)])))
            down.append(ConvNorm(size, channels[level + 1], (2, config.column_strides[level])))
        self.levels, self.down = nn.ModuleList(levels), nn.ModuleList(down)  # type: ignore[assignment]
        core: list[nn.Module] = []
        part = rows >> len(self.down)
        for _ in range(config.core):
            core.append(AxisLSTM(channels[-1], config.recurrent_dim))
            if config.recurrent_rows:
                core.append(AxisLSTM(channels[-1], config.recurrent_dim, along_rows=True))
            core.append(Block(channels[-1], part, int(part / config.row_reduction)))
        self.core = nn.Sequential(*core)

    @property
    def features(self) -> int:
        """Features of each bin and frame."""
        return FEATURES + (DRAFT_FEATURES * len(self.config.stems) if self.config.draft else 0)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features to the bottleneck and the skip connections, level 0 first.

        Args:
            features: of the mixture, and then of the draft if there is one (batch, feature, bin, frame); frames are a
                multiple of ``config.frame_multiple``.
        """
        x = F.relu(self.norm(self._rows(features) + self.place))
        skips = []
        for level, down in zip(self.levels, self.down, strict=True):
            skips.append(level(x))
            x = down(skips[-1])
        return self.core(x), skips

    def _rows(self, features: Tensor) -> Tensor:
        """(batch, feature, bin, frame) to (batch, channel, row, column)."""
        patch, rows = self.config.patch, []
        parts = features.split(list(self.config.band_bins), 2)
        for x, width, join in zip(parts, self.config.band_widths, self.join, strict=True):
            x = x.unflatten(3, (-1, patch)).unflatten(2, (-1, width))  # (batch, feature, row, width, column, patch)
            x = x.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)  # (batch, feature * width * patch, row, column)
            rows.append(join(x.contiguous(memory_format=torch.channels_last)))
        return torch.cat(rows, 2).contiguous(memory_format=torch.channels_last)


class UpBlock(nn.Module):
    """One level of every stem's extractor: the coarser level, upsampled, plus the encoder's skip connection.

    The names of the layers stand in model files: `below` is applied to the coarser level, `beside` to the skip.
    """

    def __init__(self, config: UNetConfig, level: int, channels: int) -> None:
        super().__init__()
        out, coarsest = config.extractor_channels[level], level == len(config.extractor_channels) - 1
        self.factor = (2, config.column_strides[level])
        self.below = StemConv2d(config, channels, out, common=coarsest)
        self.beside = StemConv2d(config, config.channels[level], out, common=True)
        self.norm = StemNorm2d(config, out) if level else None
        self.block = StemBlock(config, out) if config.blocks[level] else StemConvNorm(config, out)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor | None) -> Tensor:
        """The coarser level's output and the skip connection to (batch, stem * out, row, column)."""
        x = F.interpolate(self.below(x, embedding), scale_factor=self.factor, mode="nearest")
        x = x + self.beside(skip, embedding)
        x = F.relu(x if self.norm is None else self.norm(x, embedding))
        return self.block(x, embedding)


class Extractor(nn.Module):
    """From the bottleneck up to the coefficients of every stem's masks."""

    rises: Sequence[UpBlock]
    heads: Sequence[StemConv2d]

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.extractor_channels
        inputs = (*sizes[1:], config.channels[-1])
        rises = (UpBlock(config, level, inputs[level]) for level in range(len(sizes)))
        self.rises = nn.ModuleList(rises)  # type: ignore[assignment]
        self.numbers = MASK_COEFFICIENTS + (config.draft is not None)
        out = self.numbers * config.patch
        heads = (StemConv2d(config, sizes[0], out, bias=True, head=True) for _ in config.band_bins)
        self.heads = nn.ModuleList(heads)  # type: ignore[assignment]

    def forward(self, x: Tensor, skips: Sequence[Tensor], embedding: Tensor | None) -> Tensor:
        """The bottleneck and the skip connections to (batch, stem, number, row, frame).

        The numbers are MASK_COEFFICIENTS and, where there is a draft, the logit of the share of it that is kept.
        """
        for rise, skip in zip(reversed(self.rises), reversed(skips), strict=True):
            x = rise(x, skip, embedding)
        bands_x = x.split(list(self.config.band_rows), 2)
        x = torch.cat([head(part, embedding) for head, part in zip(self.heads, bands_x, strict=True)], 2)
        x = x.unflatten(1, (len(self.config.stems), self.numbers, self.config.patch))
        return x.permute(0, 1, 2, 4, 5, 3).flatten(4)  # (column, patch) to frame


class Refinement(NamedTuple):
    """What the network says of a mixture, for `bands.refine`."""

    masks: Tensor
    """(batch, stem, 2, row, frame, 2)."""
    shares: Tensor | None
    """How much of each stem's draft is kept, 0 to 1 (batch, stem, row, frame); None without a draft."""


class Refined(NamedTuple):
    """The stems' spectra, and the masks behind them."""

    spectra: Tensor
    """(batch, stem, 2, bin, frame, 2)."""
    masks: Tensor
    """(batch, stem, 2, row, frame, 2)."""


class MetaUNet(nn.Module):
    """The whole network, for waveforms whose standard deviation is about one.

    Without a draft it distributes the whole mixture. With one it refines the stems of the first stage of a Meta-TasNet,
    trained beforehand and frozen here: the U-Net sees mixture and draft, says which share of the draft to keep, and
    distributes the rest of the mixture. If the Meta-TasNet has further stages, they add their octaves to the result.
    """

    mean: Tensor
    spread: Tensor
    level: Tensor
    widths: Tensor

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        bins = config.n_fft // 2
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("spread", torch.ones(bins))
        self.register_buffer("level", torch.ones(bins))
        self.register_buffer("widths", torch.tensor(config.row_widths), persistent=False)
        self.embedding: nn.Parameter | None = nn.Parameter(torch.randn(len(config.stems), config.embedding_dim))
        self.encoder, self.extractor = Encoder(config), Extractor(config)
        self.draft = None if config.draft is None else build_tasnet(config.draft).requires_grad_(False)

    def forward(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Separates a mixture given at this network's rates.

        Args:
            pyramid: a (batch, 2, time_i) float tensor for each rate, all of one duration. Fewer rates give the draft.

        Returns:
            A StageOutput for each rate. The last one's stems are the refined ones (batch, stem, 2, time); with a single
            rate they sum to the mixture, its latent is the masks (batch, stem, 2, row, frame, 2), its mixture the
            waveform itself.

        Raises:
            ConfigError: wrong number of rates, shapes or lengths, or samples that are not finite.
        """
        if self.draft is not None and len(pyramid) < self.config.stages:
            return self.draft(pyramid)
        check_pyramid(self.config, pyramid)
        outputs = [] if self.draft is None else self.draft(pyramid)
        wave = pyramid[0]
        mixture = self.spectrum(wave)
        spectra, masks = self.refined(mixture, self.draft_spectra(outputs[0].stems, mixture) if outputs else None)
        stems = bands.waveform(spectra, self.config.n_fft, wave.shape[-1])
        if len(outputs) < 2:
            return [StageOutput(stems, masks, wave)]
        change = stems - outputs[0].stems
        for lower, higher in pairwise(pyramid):
            change = lower_band(change, lower, higher)
        return [*outputs[:-1], outputs[-1]._replace(stems=outputs[-1].stems + change)]

    def refined(self, mixture: Tensor, draft: Tensor | None) -> Refined:
        """The stems of a mixture's spectrum (batch, 2, bin, frame, 2) and `draft_spectra`."""
        masks, shares = self.refinement(mixture, draft)
        by_bin = masks.repeat_interleave(self.widths, 3)
        if draft is None or shares is None:
            return Refined(bands.complex_product(by_bin, mixture.unsqueeze(1)), masks)
        return Refined(bands.refine(by_bin, self.kept(draft, shares), mixture), masks)

    def kept(self, draft: Tensor, shares: Tensor) -> Tensor:
        """What is kept of `draft_spectra`, of the same shape, for shares (batch, stem, row, frame)."""
        return draft * shares.repeat_interleave(self.widths, 2)[:, :, None, :, :, None]

    def spectrum(self, wave: Tensor) -> Tensor:
        """(..., time) to (..., bin, frame, 2); see `bands.spectrum`."""
        return bands.spectrum(wave.float(), self.config.n_fft)

    @torch.no_grad()
    def draft_spectra(self, stems: Tensor, mixture: Tensor) -> Tensor:
        """The draft's spectra, no wider than the mixture, and so completed that they sum to it.

        Args:
            stems: the draft's waveforms (batch, stem, 2, time).
            mixture: the mixture's spectrum (batch, 2, bin, frame, 2).

        Returns:
            (batch, stem, 2, bin, frame, 2).
        """
        width = bands.stereo_width(mixture, self.config).repeat_interleave(self.widths, 2)
        return bands.completed(bands.narrowed(self.spectrum(stems), width), mixture)

    def refinement(self, mixture: Tensor, draft: Tensor | None) -> Refinement:
        """What to do with a mixture's spectrum (batch, 2, bin, frame, 2) and `draft_spectra`."""
        device, frames = mixture.device.type, mixture.shape[3]
        with torch.autocast(device, enabled=False):
            features = bands.features(mixture, self.mean, self.spread, self.level)
            if draft is not None:
                features = torch.cat([features, bands.draft_features(draft, self.mean, self.spread)], 1)
        features = F.pad(features, (0, -frames % self.config.frame_multiple))
        if torch.is_autocast_enabled(device):
            features = features.to(torch.get_autocast_dtype(device))
        numbers = self.extractor(*self.encoder(features), self.embedding)[..., :frames].float()
        masks = bands.masks(numbers[:, :, :MASK_COEFFICIENTS], bands.stereo_width(mixture, self.config))
        return Refinement(masks, None if draft is None else torch.sigmoid(numbers[:, :, -1] + bands.KEPT))

    @torch.no_grad()
    def measure(self, waves: Tensor) -> None:
        """Sets the statistics that standardise the features from mixtures (batch, 2, time) at the U-Net's rate."""
        mixture = self.spectrum(waves)
        power = ((mixture[:, 0] + mixture[:, 1]) / 2).square().sum(-1) + bands.FLOOR  # (batch, bin, frame)
        log = power.log10()
        self.mean.copy_(log.mean((0, 2)))
        self.spread.copy_(log.std((0, 2)).clamp(min=0.3))
        self.level.copy_(power.pow(bands.COMPRESSION).mean((0, 2)).sqrt().clamp(min=1e-3))

    def folded(self) -> "MetaUNet":
        """A copy for inference whose stem weights are constants: no generator, no embeddings."""
        return folded(self)
