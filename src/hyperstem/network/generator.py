"""Where a stem's weights come from.

A *weight source* gives the tensor ``(stem, *shape)`` of one layer for every stem. In the paper's parametrisation it is
the generator ``theta_k = W_k (P_k e_i + p_k) + w_k`` for layer k and stem i (section 2.1); the others are its rivals in
the paper's comparison. Whatever the source, a layer applies the weights in the same way.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hyperstem.config import ModelConfig
from hyperstem.network.layers import Norm

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
