"""The layers of an extractor: 1x1 and dilated convolution and group norm, with weights for every stem.

Signals are (batch, stem, channel, frame). A layer is called with the signal and the embeddings (stem, embedding_dim),
which are None where weights are not generated.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.config import ModelConfig
from hyperstem.network.fast import depthwise
from hyperstem.network.generator import weight_source

NORM_EPS = 1e-8


class Kernel(NamedTuple):
    """Weights of one convolution for every stem."""

    weight: Tensor
    """(stem, out, in) of a 1x1 convolution, (stem, channel, tap) of a dilated one."""
    bias: Tensor | None
    """(stem, out)."""


class Norm(NamedTuple):
    """Weights of one group norm for every stem, each (stem, channel)."""

    scale: Tensor
    shift: Tensor


class StemConv(nn.Module):
    """A 1x1 convolution in which every stem has its own kernel."""

    def __init__(self, config: ModelConfig, out: int, fan_in: int, bias: bool = False, head: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(fan_in)
        spread = bound / math.sqrt(3)  # the standard deviation of uniform values within the bound
        self.kernel = weight_source(config, (out, fan_in), lambda tensor: tensor.uniform_(-bound, bound), spread, head)
        self.bias = weight_source(config, (out,), lambda tensor: tensor.zero_(), head=head) if bias else None

    def weights(self, embedding: Tensor | None) -> Kernel:
        """The layer's weights for every stem."""
        return Kernel(self.kernel(embedding), None if self.bias is None else self.bias(embedding))

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem or 1, in, frame) to (batch, stem, out, frame)."""
        return pointwise(x, *self.weights(embedding))


class StemDilatedConv(StemConv):
    """A dilated depthwise convolution in which every stem has its own kernels."""

    def __init__(self, config: ModelConfig, channels: int, dilation: int) -> None:
        super().__init__(config, channels, config.kernel_size)
        self.dilation = dilation

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem, channel, frame) to the same shape."""
        return depthwise(x, self.weights(embedding).weight, self.dilation)


class StemNorm(nn.Module):
    """A group norm over channels and frames in which every stem has its own statistics, scales and shifts."""

    def __init__(self, config: ModelConfig, channels: int, head: bool = False) -> None:
        super().__init__()
        self.groups = config.norm_groups
        self.scale_shift = weight_source(config, (2, channels), _neutral, head=head)

    def weights(self, embedding: Tensor | None) -> Norm:
        """The layer's weights for every stem."""
        return Norm(*self.scale_shift(embedding).unbind(1))

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, stem, channel, frame) to the same shape."""
        return group_norm(x, self.weights(embedding), self.groups)


def _neutral(scale_shift: Tensor) -> None:
    scale_shift[0], scale_shift[1] = 1.0, 0.0


def slope() -> nn.Parameter:
    """A PReLU's learned slope, one for all stems and channels."""
    return nn.Parameter(torch.full((1,), 0.25))


def pointwise(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution with each stem's own kernel.

    Args:
        x: (batch, stem or 1, in, frame).
        kernel: (stem or 1, out, in).
        bias: (stem or 1, out) or None.

    Returns:
        (batch, stem, out, frame).
    """
    product = torch.matmul(kernel, x)
    return product if bias is None else product + bias.unsqueeze(-1).to(product.dtype)


def group_norm(x: Tensor, norm: Norm, groups: int) -> Tensor:
    """Normalises each group of channels of each stem over channels and frames, then scales and shifts every channel.

    Args:
        x: (batch, stem, channel, frame).
        norm: scale and shift (stem or 1, channel).
        groups: groups per stem.
    """
    stems = x.shape[1]
    scale, shift = (part.expand(stems, -1).reshape(-1) for part in norm)
    # Not F.group_norm, which refuses a single frame of a single channel.
    return torch.group_norm(x.flatten(1, 2), stems * groups, scale, shift, NORM_EPS).view_as(x)
