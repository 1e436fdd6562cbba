"""Where a stem's weights come from, and the layers that apply them.

A *weight source* gives the tensor ``(stem, *shape)`` of one layer for every stem. In the paper's parametrisation it is
the generator ``theta_k = W_k (P_k e_i + p_k) + w_k`` for layer k and stem i (section 2.1); the others are its rivals in
the paper's comparison. Whatever the source, a layer applies the weights in the same way.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

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
        with torch.autocast(embedding.device.type, enabled=False):  # tiny products, worth their full precision
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


def pointwise(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution with each stem's own kernel.

    Args:
        x: (batch, stem or 1, in, frame).
        kernel: (stem or 1, out, in).
        bias: (stem or 1, out) or None.

    Returns:
        (batch, stem, out, frame).
    """
    stems, out, _ = kernel.shape
    if x.shape[1] == 1:  # one signal for all stems is one product of (stem * out, in)
        product = mix_channels(kernel.flatten(0, 1), x.squeeze(1)).unflatten(1, (stems, out))
    else:
        product = torch.matmul(kernel, x)
    return product if bias is None else product + bias.unsqueeze(-1).to(product.dtype)


def mix_channels(weight: Tensor, x: Tensor) -> Tensor:
    """A 1x1 convolution as a matrix product per item: weight (out, in), x (batch, in, frame) to (batch, out, frame)."""
    return torch.matmul(weight.unsqueeze(0), x)


def normed_pointwise(parts: list[Tensor], norm: Norm, groups: int, kernel: Tensor) -> Tensor:
    """Group norm, then a 1x1 convolution, on channels that come in parts; the first part is common to all stems.

    The norm's statistics are joined from those of the parts and its gain goes into the kernel, so the parts are
    neither repeated per stem nor joined.

    Args:
        parts: tensors (batch, stem or 1, channel_p, frame), one after the other along the channels.
        norm: scale and shift (stem, channel), channel being the sum of the parts'.
        groups: groups per stem.
        kernel: (stem, out, channel).

    Returns:
        (batch, stem, out, frame).
    """
    gain, offset = _gain_and_offset(parts, norm, groups)  # (batch, stem, channel)
    kernels = (kernel * gain.unsqueeze(2)).split([part.shape[2] for part in parts], dim=3)
    out = torch.matmul(kernel, offset.unsqueeze(-1))  # (batch, stem, out, 1)
    for part, part_kernel in zip(parts, kernels, strict=True):
        if part.shape[1] == 1:
            product = torch.matmul(part_kernel.flatten(1, 2), part.squeeze(1)).unflatten(1, part_kernel.shape[1:3])
        else:
            product = torch.matmul(part_kernel, part)
        out = out + product
    return out


def _gain_and_offset(parts: list[Tensor], norm: Norm, groups: int) -> tuple[Tensor, Tensor]:
    """What a group norm does to each channel of each item, ``x * gain + offset``, each (batch, stem, channel)."""
    stems = norm.scale.shape[0]
    per_group = norm.scale.shape[1] // groups
    moments = [torch.var_mean(part.float(), -1, correction=0) for part in parts]
    variance = torch.cat([part.expand(-1, stems, -1) for part, _ in moments], 2).unflatten(2, (groups, per_group))
    mean = torch.cat([part.expand(-1, stems, -1) for _, part in moments], 2).unflatten(2, (groups, per_group))
    centre = mean.mean(-1, keepdim=True)
    spread = (variance + (mean - centre).square()).mean(-1, keepdim=True)  # (batch, stem, group, 1)
    rate = torch.rsqrt(spread + NORM_EPS).expand_as(mean).flatten(2)
    gain = rate * norm.scale
    return gain, norm.shift - centre.expand_as(mean).flatten(2) * gain


def depthwise(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """A dilated convolution of every channel with its own taps, zeros beyond the ends.

    Args:
        x: (batch, stem, channel, frame).
        kernel: (stem or 1, channel, tap), an odd number of taps.
        dilation: distance between taps in frames.

    Returns:
        (batch, stem, channel, frame).
    """
    if torch.compiler.is_compiling():
        stems, channels, taps = x.shape[1], x.shape[2], kernel.shape[-1]
        weight = kernel.expand(stems, -1, -1).reshape(stems * channels, 1, taps)
        reach = dilation * (taps // 2)
        flat = F.conv1d(x.flatten(1, 2), weight, padding=reach, dilation=dilation, groups=stems * channels)
        return flat.unflatten(1, (stems, channels))
    return _Depthwise.apply(x, kernel.to(x.dtype), dilation)


class _Depthwise(torch.autograd.Function):
    """The dilated convolution as shifted products summed in place: several times faster than the general kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.dilation = dilation
        out = x * _tap(kernel, 0)
        for offset in _offsets(kernel):
            _add_shifted(out, x, _tap(kernel, offset), offset * dilation)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,) = grads
        x, kernel = ctx.saved_tensors
        grad_x = grad * _tap(kernel, 0)
        for offset in _offsets(kernel):
            _add_shifted(grad_x, grad, _tap(kernel, offset), -offset * ctx.dilation)
        middle, frames = kernel.shape[-1] // 2, x.shape[-1]
        grad_kernel = kernel.new_zeros(x.shape[1:3] + kernel.shape[-1:])  # (stem, channel, tap)
        for offset in range(-middle, middle + 1):
            shift = offset * ctx.dilation
            if abs(shift) < frames:
                into, out_of = _overlap(grad, x, shift)
                grad_kernel[..., middle + offset] = torch.linalg.vecdot(into, out_of).sum(0)
        return grad_x, grad_kernel.sum_to_size(kernel.shape), None


def _tap(kernel: Tensor, offset: int) -> Tensor:
    middle = kernel.shape[-1] // 2 + offset
    return kernel[..., middle : middle + 1]


def _offsets(kernel: Tensor) -> list[int]:
    middle = kernel.shape[-1] // 2
    return [offset for offset in range(-middle, middle + 1) if offset]


def _overlap(into: Tensor, x: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """The frames t of `into` and t + shift of `x` where both exist."""
    if shift < 0:
        return into[..., -shift:], x[..., :shift]
    return (into[..., : into.shape[-1] - shift], x[..., shift:]) if shift else (into, x)


def _add_shifted(out: Tensor, x: Tensor, weight: Tensor, shift: int) -> None:
    if abs(shift) < x.shape[-1]:
        into, shifted = _overlap(out, x, shift)
        into.addcmul_(shifted, weight)


class _PReLU(torch.autograd.Function):
    """PReLU with one slope whose gradient is two dot products instead of a slow reduction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.leaky_relu(x, slope.item())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        x, slope = ctx.saved_tensors
        grad_x = torch.ops.aten.leaky_relu_backward(grad, x, slope.item(), False)
        negative = (x.clamp(max=0) * grad).sum(dtype=torch.promote_types(x.dtype, torch.float32))
        return grad_x, negative.to(slope.dtype).reshape(slope.shape)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``max(x, 0) + slope * min(x, 0)`` with one learned slope (1,)."""
    if x.requires_grad and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return _PReLU.apply(x, slope)
    return F.prelu(x, slope.to(x.dtype))
