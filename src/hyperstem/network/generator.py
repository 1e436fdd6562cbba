"""Where a stem's weights come from.

A *weight source* gives the tensor ``(stem, *shape)`` of one layer for every stem. In the paper it is the generator,
``theta_k = W_k (P_k e_i + p_k) + w_k`` for layer k and stem i (section 2.1); the others are its rivals in the paper's
comparison. Whatever the source, a layer of `network.layers` applies the weights in the same way.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hyperstem.config import NetworkConfig

Init = Callable[[Tensor], object]


class Generated(nn.Module):
    """Weights as an affine map of the stem's embedding through a narrow bottleneck (section 2.1).

    The bias alone starts as a usable layer that all stems share; what is generated starts as each stem's deviation.

    Args:
        shape: shape of one stem's weights.
        embedding_dim: size of an embedding (E_1).
        bottleneck: size of the bottleneck (E_2).
        init: fills a tensor of `shape` in place with sensible weights.
        spread: standard deviation of the stems' deviations at the start; with 0 all stems start exactly as `init` says.
    """

    def __init__(
        self, shape: tuple[int, ...], embedding_dim: int, bottleneck: int, init: Init, spread: float = 0.0
    ) -> None:
        super().__init__()
        self.shape = shape
        self.bottleneck = nn.Linear(embedding_dim, bottleneck)
        self.weights = nn.Linear(bottleneck, math.prod(shape))
        with torch.no_grad():
            init(self.weights.bias.view(shape))
            self.weights.weight.normal_().mul_(spread / math.sqrt(bottleneck))

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


def stem_rows(network: nn.Module, stems: int) -> set[str]:
    """Names of the tensors that have one row for each of `stems` stems: embeddings, and independent weights."""
    own = {f"{name}.weights" for name, module in network.named_modules() if isinstance(module, Independent)}
    return {
        name
        for name, tensor in network.state_dict().items()
        if (name in own or name.rpartition(".")[2] == "embedding") and tensor.shape[0] == stems
    }


def weight_source(
    config: NetworkConfig, shape: tuple[int, ...], init: Init, spread: float = 0.0, head: bool = False
) -> nn.Module:
    """The weight source of one layer in the parametrisation that `config` names.

    Args:
        config: the model.
        shape: shape of one stem's weights.
        init: fills such a tensor in place.
        spread: how far generated weights of the stems lie apart at the start; see `Generated`.
        head: whether the layer belongs to the mask head, which every stem has to itself even when the rest is shared.
    """
    if config.parameters == "generated":
        return Generated(shape, config.embedding_dim, config.embedding_bottleneck, init, spread)
    stems = len(config.stems) if head or config.parameters == "independent" else 1
    return Independent(stems, shape, init)
