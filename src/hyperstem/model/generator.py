"""Where a stem's weights come from, and the layers that apply them.

A *weight source* gives the tensor ``(stem, *shape)`` of one layer for every stem. In the paper's parametrisation it is
the generator ``theta_k = W_k (P_k e_i + p_k) + w_k`` for layer k and stem i (section 2.1); the others are its rivals in
the paper's comparison. Whatever the source, a layer applies the weights in the same way.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.config import ModelConfig

NORM_EPS = 1e-8

Init = Callable[[Tensor], object]


class Generated(nn.Module):
    """Weights as an affine map of the stem's embedding through a narrow bottleneck (section 2.1).

    Args:
        shape: shape of one stem's weights.
        embedding_dim: size of an embedding (E_1).
        bottleneck: size of the bottleneck (E_2).
        init: fills a tensor of `shape` in place with sensible weights.
    """

    def __init__(self, shape: tuple[int, ...], embedding_dim: int, bottleneck: int, init: Init) -> None:
        super().__init__()
        self.shape = shape
        self.bottleneck = nn.Linear(embedding_dim, bottleneck)
        self.weights = nn.Linear(bottleneck, math.prod(shape))
        # The bias alone is a usable layer shared by all stems; the generated part starts as each stem's deviation.
        with torch.no_grad():
            start = torch.empty(shape)
            init(start)
            self.weights.bias.copy_(start.flatten())
            spread = start.std().nan_to_num() if start.numel() > 1 and start.std() > 0 else torch.tensor(0.1)
            self.weights.weight.normal_(0.0, 1.0).mul_(spread / math.sqrt(bottleneck))

    def forward(self, embedding: Tensor) -> Tensor:
        """Embeddings (stem, embedding_dim) to weights (stem, *shape)."""
        return self.weights(self.bottleneck(embedding)).unflatten(-1, self.shape)


class Independent(nn.Module):
    """Weights of their own for each of `stems` stems."""

    def __init__(self, stems: int, shape: tuple[int, ...], init: Init) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(stems, *shape))
        with torch.no_grad():
            for weights in self.weights:
                init(weights)

    def forward(self, _: Tensor | None) -> Tensor:
        """The weights (stem, *shape)."""
        return self.weights


class Folded(nn.Module):
    """Weights computed once and kept as constants."""

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights.detach().clone())

    def forward(self, _: Tensor | None) -> Tensor:
        """The weights (stem, *shape)."""
        return self.weights


def weight_source(config: ModelConfig, shape: tuple[int, ...], init: Init, head: bool = False) -> nn.Module:
    """The weight source of one layer in the parametrisation that `config` names.

    Args:
        config: the model.
        shape: shape of one stem's weights.
        init: fills such a tensor in place.
        head: whether the layer belongs to the mask head, which every stem has to itself even when the rest is shared.
    """
    if config.parameters == "generated":
        return Generated(shape, config.embedding_dim, config.embedding_bottleneck, init)
    stems = len(config.stems) if head or config.parameters == "independent" else 1
    return Independent(stems, shape, init)


class Norm(NamedTuple):
    """Scale and shift of one group norm, each (stem, channel)."""

    scale: Tensor
    shift: Tensor


class StemNorm(nn.Module):
    """Scale and shift of a group norm for every stem; the statistics are taken where the norm is applied."""

    def __init__(self, config: ModelConfig, channels: int, head: bool = False) -> None:
        super().__init__()
        self.scale_shift = weight_source(config, (2, channels), _init_norm, head)

    def forward(self, embedding: Tensor | None) -> Norm:
        """Embeddings (stem, embedding_dim) to scale and shift, each (stem, channel)."""
        scale, shift = self.scale_shift(embedding).unbind(1)
        return Norm(scale, shift)


class StemConv(nn.Module):
    """Kernels of a convolution for every stem: pointwise (stem, out, in), or depthwise (stem, channel, tap)."""

    def __init__(self, config: ModelConfig, out: int, fan_in: int, bias: bool = False, head: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(fan_in)
        self.kernel = weight_source(config, (out, fan_in), lambda tensor: tensor.uniform_(-bound, bound), head)
        self.bias = weight_source(config, (out,), lambda tensor: tensor.zero_(), head) if bias else None

    def forward(self, embedding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Embeddings (stem, embedding_dim) to the kernel (stem, out, in or tap) and the bias (stem, out) or None."""
        return self.kernel(embedding), None if self.bias is None else self.bias(embedding)


def _init_norm(tensor: Tensor) -> None:
    tensor[0], tensor[1] = 1.0, 0.0


class Affine(NamedTuple):
    """What a group norm does to each channel of each item: ``x * gain + offset``, each (batch, stem, channel)."""

    gain: Tensor
    offset: Tensor


def norm_affine(parts: list[Tensor], norm: Norm, groups: int) -> Affine:
    """A group norm's per-channel gain and offset, from the statistics of its input.

    The input may come in parts that follow each other along the channels; a part with one stem is common to all.
    Keeping the norm as gain and offset lets the next convolution absorb it, so the normalised signal is never written.

    Args:
        parts: tensors (batch, stem or 1, channel_p, frame).
        norm: scale and shift (stem or 1, channel), channel being the sum of the parts'.
        groups: how many groups the channels of one stem form.
    """
    sums, squares = [], []
    stems = max(part.shape[1] for part in parts)
    for part in parts:
        part = part.float()
        sums.append(part.sum(-1).expand(-1, stems, -1))
        squares.append(part.square().sum(-1).expand(-1, stems, -1))
    count = parts[0].shape[-1] * norm.scale.shape[-1] // groups
    mean = torch.cat(sums, 2).unflatten(2, (groups, -1)).sum(-1) / count        # (batch, stem, group)
    power = torch.cat(squares, 2).unflatten(2, (groups, -1)).sum(-1) / count
    rate = torch.rsqrt((power - mean.square()).clamp(min=0.0) + NORM_EPS)
    per_group = norm.scale.shape[-1] // groups
    gain = rate.repeat_interleave(per_group, -1) * norm.scale                   # (batch, stem, channel)
    return Affine(gain, norm.shift - mean.repeat_interleave(per_group, -1) * gain)


def pointwise(x: Tensor, kernel: Tensor) -> Tensor:
    """A 1x1 convolution with each stem's own kernel.

    Args:
        x: (batch, stem or 1, in, frame).
        kernel: (stem or 1, out, in), or with a leading batch axis.

    Returns:
        (batch, stem, out, frame).
    """
    if x.shape[1] == 1 and kernel.shape[-3] > 1:  # one signal for all stems: one product of (stem * out, in)
        stems, out = kernel.shape[-3:-1]
        return torch.matmul(kernel.flatten(-3, -2), x.squeeze(1)).unflatten(1, (stems, out))
    if kernel.dim() == 3 and kernel.shape[0] == x.shape[1]:
        grouped = F.conv1d(x.flatten(1, 2), kernel.flatten(0, 1).unsqueeze(-1), groups=x.shape[1])
        return grouped.unflatten(1, (x.shape[1], -1))
    return torch.matmul(kernel, x)


def normed_pointwise(parts: list[Tensor], affine: Affine, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Group norm, then a 1x1 convolution, as one product with rescaled kernels.

    Args:
        parts: the norm's input as in `norm_affine`.
        affine: that norm's gain and offset (batch, stem, channel).
        kernel: (stem, out, channel).
        bias: (stem, out) or None.

    Returns:
        (batch, stem, out, frame).
    """
    constant = torch.matmul(kernel, affine.offset.unsqueeze(-1))                # (batch, stem, out, 1)
    if bias is not None:
        constant = constant + bias.unsqueeze(-1)
    sizes = [part.shape[2] for part in parts]
    kernels = (kernel * affine.gain.unsqueeze(2)).split(sizes, dim=3)           # (batch, stem, out, channel_p)
    out = constant
    for part, part_kernel in zip(parts, kernels, strict=True):
        out = out + pointwise(part, part_kernel.to(part.dtype))
    return out


def depthwise(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """A dilated convolution of every channel with its own taps, zeros beyond the ends.

    Args:
        x: (batch, stem, channel, frame).
        kernel: (stem, channel, tap), an odd number of taps.
        dilation: distance between taps in frames.

    Returns:
        (batch, stem, channel, frame).
    """
    taps, frames = kernel.shape[-1], x.shape[-1]
    reach = dilation * (taps // 2)
    padded = F.pad(x, (reach, reach))
    out = padded[..., :frames] * kernel[..., :1]
    for tap in range(1, taps):
        out = out + padded[..., tap * dilation : tap * dilation + frames] * kernel[..., tap : tap + 1]
    return out
