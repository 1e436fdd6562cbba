"""Meta-U-Net, the paper's idea over time and frequency: one encoder for all stems, extractors made by a generator.

The mixture's spectrum becomes an image of rows (frequency) and columns (time). The encoder and the bottleneck, which
has a memory over time, are ordinary layers. Each stem's extractor, from the bottleneck back up to a mask, is made of
kernels, norms and a mask head that a generator predicts from the stem's embedding: theta_k = W_k P_k e_i, as in the
paper's section 2.1. Shapes are (batch, channel, row, column); extractors run side by side as groups of channels.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import ConfigError, UNetConfig
from hyperstem.network import bands
from hyperstem.network.generator import Folded, Generated, Independent, weight_source
from hyperstem.network.stage import StageOutput

MOMENTUM = 0.02
"""Of the running statistics of the batch norms, which separation uses."""
NUMBERS = 5
"""What a mask is made of: see `bands.masks`."""
MIXED = 8
"""By how much the layer that mixes all rows is narrower inside."""


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=MOMENTUM)


class ConvNorm(nn.Module):
    """A 3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to (batch, out, row / stride, column / stride)."""
        return F.relu(self.norm(self.conv(x)))


class MixRows(nn.Module):
    """Mixes all rows of a channel and column with each other, through a narrow layer.

    Source:
        Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based singing voice
        separation", ISMIR 2020: a time-distributed fully connected network.
    """

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(rows, rows // MIXED, bias=False), nn.Linear(rows // MIXED, rows, bias=False)
        self.narrow_norm, self.wide_norm = _norm(channels), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to the same shape."""
        x = F.relu(self.narrow_norm(_mixed(self.narrow.weight, x)))
        return self.wide_norm(_mixed(self.wide.weight, x))


def _mixed(weight: Tensor, x: Tensor) -> Tensor:
    """weight (out, row) times x (batch, channel, row, column) along the rows; channels stay last in memory."""
    batch, channels, rows, columns = x.shape
    flat = x.permute(0, 2, 3, 1).reshape(batch, rows, columns * channels)
    return torch.matmul(weight.to(x.dtype), flat).view(batch, -1, columns, channels).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, and of rows that are mixed where that is asked for."""

    def __init__(self, channels: int, rows: int, mixed: bool) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = _norm(channels)
        self.mix = MixRows(channels, rows) if mixed else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to the same shape."""
        y = self.norm(self.second(self.first(x)))
        return F.relu(x + y if self.mix is None else x + y + self.mix(x))


class TimeMemory(nn.Module):
    """A bidirectional LSTM along the columns of every row, beside a way around it."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, units, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * units, channels)
        self.norm = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to the same shape."""
        batch, channels, rows, columns = x.shape
        y, _ = self.lstm(x.permute(0, 2, 3, 1).reshape(batch * rows, columns, channels))
        return x + self.norm(self.out(y).view(batch, rows, columns, channels).permute(0, 3, 1, 2))


class StemConv2d(nn.Module):
    """A convolution whose kernel every stem has from its embedding.

    Args:
        size: of the square kernel, 1 or 3.
        common: whether all stems' extractors read the same channels rather than each its own.
        bias: whether there is one.
        head: whether every stem has this layer to itself even where extractors are shared.
    """

    def __init__(
        self,
        config: UNetConfig,
        channels: int,
        out: int,
        size: int = 1,
        common: bool = False,
        bias: bool = False,
        head: bool = False,
    ) -> None:
        super().__init__()
        self.groups = 1 if common else len(config.stems)
        std = 1 / math.sqrt(channels * size * size)
        if head:
            std /= 10  # masks begin near one over the number of stems
        shape = (out, channels, size, size)
        self.kernel = weight_source(config, shape, lambda x: x.normal_(0.0, std), spread=std / 2, head=head)
        self.bias = weight_source(config, (out,), lambda x: x.zero_(), head=head) if bias else None
        self.stems, self.size = len(config.stems), size

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, channel or stem * channel, row, column) to (batch, stem * out, row, column)."""
        kernel = self.kernel(embedding).expand(self.stems, -1, -1, -1, -1).flatten(0, 1)
        bias = None if self.bias is None else self.bias(embedding).expand(self.stems, -1).flatten()
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, kernel, bias, padding=self.size // 2, groups=self.groups)


class StemNorm2d(nn.Module):
    """A batch norm whose scale and shift every stem has from its embedding, with statistics of its own."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.stems = len(config.stems)
        self.statistics = nn.BatchNorm2d(self.stems * channels, affine=False, momentum=MOMENTUM)
        self.scale = weight_source(config, (channels,), lambda x: x.fill_(1.0))
        self.shift = weight_source(config, (channels,), lambda x: x.zero_())

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem * channel, row, column) to the same shape."""
        scale, shift = (part(embedding).expand(self.stems, -1).flatten() for part in (self.scale, self.shift))
        norm = self.statistics
        return F.batch_norm(
            x, norm.running_mean, norm.running_var, scale, shift, self.training, norm.momentum or 0.0, norm.eps
        )


class StemConvNorm(nn.Module):
    """A 3x3 convolution, norm, ReLU, of every stem."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = StemConv2d(config, channels, channels, 3), StemNorm2d(config, channels)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem * channel, row, column) to the same shape."""
        return F.relu(self.norm(self.conv(x, embedding), embedding))


class StemBlock(nn.Module):
    """A residual block of two 3x3 convolutions, of every stem."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.first = StemConvNorm(config, channels)
        self.second, self.norm = StemConv2d(config, channels, channels, 3), StemNorm2d(config, channels)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem * channel, row, column) to the same shape."""
        return F.relu(x + self.norm(self.second(self.first(x, embedding), embedding), embedding))


class Rise(nn.Module):
    """One level up in every stem's extractor: what comes from below and what the encoder saw here, joined."""

    def __init__(self, config: UNetConfig, level: int, below: int) -> None:
        super().__init__()
        out, lowest = config.extractor_channels[level], level == len(config.extractor_channels) - 1
        self.factor = (2, config.column_strides[level])
        self.below = StemConv2d(config, below, out, common=lowest)
        self.beside = StemConv2d(config, config.channels[level], out, common=True)
        self.norm = StemNorm2d(config, out) if level else None
        self.block = StemBlock(config, out) if config.blocks[level] else StemConvNorm(config, out)

    def forward(self, x: Tensor, beside: Tensor, embedding: Tensor | None) -> Tensor:
        """x (batch, channel, row, column), the encoder's output of this level, to (batch, stem * out, ...)."""
        x = F.interpolate(self.below(x, embedding), scale_factor=self.factor, mode="nearest")
        x = x + self.beside(beside, embedding)
        x = F.relu(x if self.norm is None else self.norm(x, embedding))
        return self.block(x, embedding)


class Encoder(nn.Module):
    """What all stems share: rows out of bins, levels downward, and the bottleneck with its memory over time."""

    join: Sequence[nn.Conv2d]
    levels: Sequence[nn.Sequential]
    down: Sequence[ConvNorm]

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, rows = config.channels, config.rows
        widths = [bands.FEATURES * width * config.patch for width in config.band_widths]
        joins = (nn.Conv2d(width, channels[0], 1, bias=False) for width in widths)
        self.join = nn.ModuleList(joins)  # type: ignore[assignment]
        self.place = nn.Parameter(torch.zeros(channels[0], rows, 1))
        self.norm = _norm(channels[0])
        levels, down = [], []
        for level, count in enumerate(config.blocks):
            size = channels[level]
            blocks = [Block(size, rows >> level, config.mixed_rows[level]) for _ in range(count)]
            levels.append(nn.Sequential(*(blocks or [ConvNorm(size, size)])))
            down.append(ConvNorm(size, channels[level + 1], (2, config.column_strides[level])))
        self.levels, self.down = nn.ModuleList(levels), nn.ModuleList(down)  # type: ignore[assignment]
        core: list[nn.Module] = []
        for _ in range(config.core):
            core += [TimeMemory(channels[-1], config.recurrent_dim), Block(channels[-1], rows >> len(self.down), True)]
        self.core = nn.Sequential(*core)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features (batch, FEATURES, bin, frame) to the bottleneck and the levels above it, the finest first.

        Frames must be a multiple of ``config.frame_multiple``.
        """
        x = F.relu(self.norm(self._rows(features) + self.place))
        beside = []
        for level, down in zip(self.levels, self.down, strict=True):
            beside.append(level(x))
            x = down(beside[-1])
        return self.core(x), beside

    def _rows(self, features: Tensor) -> Tensor:
        """(batch, FEATURES, bin, frame) to (batch, channel, row, column)."""
        patch, parts = self.config.patch, []
        cut = features.split(list(self.config.band_bins), 2)
        for part, width, join in zip(cut, self.config.band_widths, self.join, strict=True):
            part = part.unflatten(3, (-1, patch)).unflatten(2, (-1, width))  # (batch, 6, row, width, column, patch)
            part = part.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)  # (batch, 6 * width * patch, row, column)
            parts.append(join(part.contiguous(memory_format=torch.channels_last)))
        return torch.cat(parts, 2).contiguous(memory_format=torch.channels_last)


class Extractor(nn.Module):
    """From the bottleneck back up to what every stem's masks are made of; all weights come from the embeddings."""

    rises: Sequence[Rise]
    heads: Sequence[StemConv2d]

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.extractor_channels
        below = (*sizes[1:], config.channels[-1])
        rises = (Rise(config, level, below[level]) for level in range(len(sizes)))
        self.rises = nn.ModuleList(rises)  # type: ignore[assignment]
        out = NUMBERS * config.patch
        heads = (StemConv2d(config, sizes[0], out, bias=True, head=True) for _ in config.band_bins)
        self.heads = nn.ModuleList(heads)  # type: ignore[assignment]

    def forward(self, x: Tensor, beside: Sequence[Tensor], embedding: Tensor | None) -> Tensor:
        """The bottleneck and the encoder's levels to (batch, stem, NUMBERS, row, frame)."""
        for rise, level in zip(reversed(self.rises), reversed(beside), strict=True):
            x = rise(x, level, embedding)
        cut = x.split(list(self.config.band_rows), 2)
        raw = torch.cat([head(part, embedding) for head, part in zip(self.heads, cut, strict=True)], 2)
        raw = raw.unflatten(1, (len(self.config.stems), NUMBERS, self.config.patch))
        return raw.permute(0, 1, 2, 4, 5, 3).flatten(4)  # frames: every column's patch, one column after the other


class MetaUNet(nn.Module):
    """The whole network; sizes come from the config. Levels are the caller's: waves of standard deviation near one."""

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
        widths = bands.row_widths(config.band_bins, config.band_widths)
        self.register_buffer("widths", widths, persistent=False)
        self.embedding: nn.Parameter | None = nn.Parameter(torch.randn(len(config.stems), config.embedding_dim))
        self.encoder, self.extractor = Encoder(config), Extractor(config)

    def forward(self, pyramid: Sequence[Tensor]) -> list[StageOutput]:
        """Separates a mixture given at the one rate of this network.

        Args:
            pyramid: a single (batch, 2, time) float tensor.

        Returns:
            One StageOutput; its stems are (batch, stem, 2, time) and add up to the mixture (but for what lies at half
            the rate), its latent are the masks (batch, stem, 2, row, frame, 2), its mixture is the wave itself.

        Raises:
            ConfigError: wrong number of rates or shape, or samples that are not finite.
        """
        wave = self.checked(pyramid)
        mixture = self.spectrum(wave)
        mask = bands.masks(self.raw(mixture), self.sideness(mixture))
        stems = bands.waveform(bands.apply_masks(mask, mixture, self.widths), self.config.n_fft, wave.shape[-1])
        return [StageOutput(stems, mask, wave)]

    def checked(self, pyramid: Sequence[Tensor]) -> Tensor:
        """The wave in a pyramid that fits this network; see `forward`."""
        if len(pyramid) != 1 or pyramid[0].dim() != 3 or pyramid[0].shape[1] != 2 or not pyramid[0].numel():
            shapes = ", ".join(str(tuple(wave.shape)) for wave in pyramid)
            raise ConfigError(f"waves of shapes {shapes or '(none)'}; expected one (batch, 2, time)")
        wave = pyramid[0]
        if not wave.is_floating_point():
            raise ConfigError(f"the wave is {wave.dtype}; expected floating-point samples")
        if not bool(torch.isfinite(wave).all()):
            raise ConfigError("the wave has samples that are not finite (NaN or infinity)")
        return wave

    def spectrum(self, wave: Tensor) -> Tensor:
        """(..., time) to (..., bin, frame, 2); see `bands.spectrum`."""
        return bands.spectrum(wave.float(), self.config.n_fft)

    def raw(self, mixture: Tensor) -> Tensor:
        """What the masks are made of (batch, stem, NUMBERS, row, frame), for a spectrum (batch, 2, bin, frame, 2)."""
        frames = mixture.shape[3]
        with torch.autocast(mixture.device.type, enabled=False):
            heard = bands.features(mixture, self.mean, self.spread, self.level)
        heard = F.pad(heard, (0, -frames % self.config.frame_multiple))
        if torch.is_autocast_enabled(mixture.device.type):
            heard = heard.to(torch.get_autocast_dtype(mixture.device.type))
        bottleneck, beside = self.encoder(heard)
        return self.extractor(bottleneck, beside, self.embedding)[..., :frames].float()

    def sideness(self, mixture: Tensor) -> Tensor:
        """See `bands.sideness`; of a spectrum (batch, 2, bin, frame, 2)."""
        sums = [(mixture[:, 0] + sign * mixture[:, 1]).square().sum(-1) for sign in (1, -1)]
        middle, side = (bands.row_sums(part, self.config.band_bins, self.config.band_widths, 1) for part in sums)
        return bands.sideness(middle, side)

    @torch.no_grad()
    def measure(self, waves: Tensor) -> None:
        """Takes the statistics by which features are standardised from mixtures (batch, 2, time)."""
        mixture = self.spectrum(waves)
        power = ((mixture[:, 0] + mixture[:, 1]) / 2).square().sum(-1) + bands.FLOOR  # (batch, bin, frame)
        log = power.log10()
        self.mean.copy_(log.mean((0, 2)))
        self.spread.copy_(log.std((0, 2)).clamp(min=0.3))
        self.level.copy_(power.pow(bands.COMPRESSION).mean((0, 2)).sqrt().clamp(min=1e-3))

    @torch.no_grad()
    def folded(self) -> "MetaUNet":
        """A copy for inference whose stem weights are constants: no generator, no embeddings."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        for module in network.modules():
            for name, child in list(module.named_children()):
                if isinstance(child, Generated | Independent):
                    setattr(module, name, Folded(child(network.embedding)))
        network.embedding = None
        return network
