"""The layers that apply a stem's weights, wherever these come from."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hyperstem.network.fast import Depthwise, PReLU

NORM_EPS = 1e-8


class Norm(NamedTuple):
    """Scale and shift of one group norm, each (stem, channel)."""

    scale: Tensor
    shift: Tensor


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
    return Depthwise.apply(x, kernel.to(x.dtype), dilation)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``max(x, 0) + slope * min(x, 0)`` with one learned slope (1,)."""
    if x.requires_grad and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return PReLU.apply(x, slope)
    return F.prelu(x, slope.to(x.dtype))
