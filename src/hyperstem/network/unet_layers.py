"""The layers of a Meta-U-Net.

Shapes are (batch, channel, row, column). The first classes are ordinary layers of the encoder, the ``Stem...`` classes
those of the extractors: all stems are computed at once, as groups of channels, with weights of their own that come
from the embeddings (stem, embedding_dim), which are None where weights are not generated.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import UNetConfig
from hyperstem.network.generator import weight_source

MOMENTUM = 0.02
"""Of the batch norms' running statistics, which inference uses."""


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm of the encoder."""
    return nn.BatchNorm2d(channels, momentum=MOMENTUM)


class ConvNorm(nn.Module):
    """A 3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm = batch_norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to (batch, out, row / stride, column / stride)."""
        return F.relu(self.norm(self.conv(x)))


class RowMixer(nn.Module):
    """Two linear layers along the rows, with a narrow layer between them, the same for every channel and column.

    Source:
        Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based singing voice
        separation", ISMIR 2020: the time-distributed fully connected network.
    """

    def __init__(self, channels: int, rows: int, hidden: int) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(rows, hidden, bias=False), nn.Linear(hidden, rows, bias=False)
        self.narrow_norm, self.wide_norm = batch_norm(channels), batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to the same shape."""
        x = F.relu(self.narrow_norm(_along_rows(self.narrow.weight, x)))
        return self.wide_norm(_along_rows(self.wide.weight, x))


def _along_rows(weight: Tensor, x: Tensor) -> Tensor:
    """Applies weight (out, row) to x (batch, channel, row, column); channels stay last in memory."""
    batch, channels, rows, columns = x.shape
    flat = x.permute(0, 2, 3, 1).reshape(batch, rows, columns * channels)
    return torch.matmul(weight.to(x.dtype), flat).view(batch, -1, columns, channels).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block of two 3x3 convolutions; with `mixed` hidden units, a `RowMixer` is a second residual branch."""

    def __init__(self, channels: int, rows: int, mixed: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = batch_norm(channels)
        self.mix = RowMixer(channels, rows, mixed) if mixed else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to the same shape."""
        y = self.norm(self.second(self.first(x)))
        return F.relu(x + y if self.mix is None else x + y + self.mix(x))


class AxisLSTM(nn.Module):
    """A residual bidirectional LSTM along the columns, the same for every row; or along the rows, for every column."""

    def __init__(self, channels: int, units: int, along_rows: bool = False) -> None:
        super().__init__()
        self.along_rows = along_rows
        self.lstm = nn.LSTM(channels, units, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * units, channels)
        self.norm = batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, row, column) to the same shape."""
        sequences = (x.mT if self.along_rows else x).permute(0, 2, 3, 1)  # (batch, sequence, step, channel)
        y, _ = self.lstm(sequences.flatten(0, 1))
        y = self.norm(self.out(y).view(sequences.shape).permute(0, 3, 1, 2))
        return x + (y.mT if self.along_rows else y)


class StemConv2d(nn.Module):
    """A convolution in which every stem has a kernel of its own.

    Args:
        config: the model.
        channels: input channels of one stem.
        out: output channels of one stem.
        size: width of the square kernel, 1 or 3.
        common: whether all stems read the same input channels.
        bias: whether there is a bias.
        head: whether every stem keeps a kernel of its own when the extractors share their weights.
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
        self.stems, self.size = len(config.stems), size
        self.groups = 1 if common else self.stems
        std = 1 / math.sqrt(channels * size * size)
        if head:
            std /= 10  # masks start close to equal shares
        shape = (out, channels, size, size)
        self.kernel = weight_source(config, shape, lambda x: x.normal_(0.0, std), spread=std / 2, head=head)
        self.bias = weight_source(config, (out,), lambda x: x.zero_(), head=head) if bias else None

    def weights(self, embedding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Kernel (stem * out, channel, size, size) and bias (stem * out,) of all stems."""
        bias = None if self.bias is None else _all_stems(self.bias(embedding), self.stems)
        return _all_stems(self.kernel(embedding), self.stems), bias

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, channel or stem * channel, row, column) to (batch, stem * out, row, column)."""
        kernel, bias = self.weights(embedding)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, kernel, bias, padding=self.size // 2, groups=self.groups)


class StemNorm2d(nn.Module):
    """A batch norm in which every stem has its own statistics, scales and shifts."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.stems = len(config.stems)
        self.statistics = nn.BatchNorm2d(self.stems * channels, affine=False, momentum=MOMENTUM)
        self.scale = weight_source(config, (channels,), lambda x: x.fill_(1.0))
        self.shift = weight_source(config, (channels,), lambda x: x.zero_())

    def weights(self, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift of all stems, each (stem * channel,)."""
        return _all_stems(self.scale(embedding), self.stems), _all_stems(self.shift(embedding), self.stems)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem * channel, row, column) to the same shape."""
        scale, shift = self.weights(embedding)
        norm = self.statistics
        return F.batch_norm(
            x, norm.running_mean, norm.running_var, scale, shift, self.training, norm.momentum or 0.0, norm.eps
        )


def _all_stems(weights: Tensor, stems: int) -> Tensor:
    """Weights (stem or 1, out, ...) as (stem * out, ...)."""
    return weights.expand(stems, *weights.shape[1:]).flatten(0, 1)


class StemConvNorm(nn.Module):
    """`ConvNorm` with weights for every stem."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = StemConv2d(config, channels, channels, 3), StemNorm2d(config, channels)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem * channel, row, column) to the same shape."""
        return F.relu(self.norm(self.conv(x, embedding), embedding))


class StemBlock(nn.Module):
    """`Block` with weights for every stem, without a `RowMixer`."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.first = StemConvNorm(config, channels)
        self.second, self.norm = StemConv2d(config, channels, channels, 3), StemNorm2d(config, channels)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem * channel, row, column) to the same shape."""
        return F.relu(x + self.norm(self.second(self.first(x, embedding), embedding), embedding))
