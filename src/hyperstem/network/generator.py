"""Where the weights of a stem's extractor come from.

A *weight source* returns the weights ``(stem, *shape)`` of one layer for all stems. In the paper it is the generator,
``theta_k = W_k (P_k e_i + p_k) + w_k`` for layer k and stem i (section 2.1); the others are the paper's
baselines. The layers of `network.layers` and `network.unet_layers` use all sources in the same way.
"""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from hyperstem.config import NetworkConfig

Init = Callable[[Tensor], object]
Network = TypeVar("Network", bound=nn.Module)


class Generated(nn.Module):
    """Weights as an affine map of the stem's embedding through a narrow bottleneck (section 2.1).

    At the start the bias alone is a usable layer, the same for all stems; the product with the embedding is each stem's
    deviation from it.

    Args:
        shape: shape of one stem's weights.
        embedding_dim: size of an embedding (E_1).
        bottleneck: size of the bottleneck (E_2).
        init: fills a tensor of `shape` in place with initial weights.
        spread: scale of the stems' deviations at the start, whose standard deviation is some 0.6 of it; with 0 all
            stems start equal.
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
        with torch.autocast(embedding.device.type, enabled=False):  # small products, which need full precision
            return self.weights(self.bottleneck(embedding)).unflatten(-1, self.shape)


class Independent(nn.Module):
    """Separate weights for each of `stems` stems."""

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


@torch.no_grad()
def folded(network: Network) -> Network:
    """A copy of a network for inference whose stem weights are constants: no generator, no embeddings."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    owners = [module for module in network.modules() if hasattr(module, "embedding")]
    for owner in reversed(owners):  # one within another, such as a draft, has embeddings of its own
        for module in list(owner.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, Generated | Independent):
                    setattr(module, name, Folded(child(owner.embedding)))
        owner.embedding = None  # type: ignore[assignment]
    return network


def stem_rows(network: nn.Module, stems: int) -> set[str]:
    """Names of the tensors whose first axis is the stem: embeddings, and independent weights of `stems` stems."""
    own = {f"{name}.weights" for name, module in network.named_modules() if isinstance(module, Independent)}
    return {
        name
        for name, tensor in network.state_dict().items()
        if (name in own or name.rpartition(".")[2] == "embedding") and tensor.shape[0] == stems
    }


def weight_source(
    config: NetworkConfig, shape: tuple[int, ...], init: Init, spread: float = 0.0, head: bool = False
) -> nn.Module:
    """The weight source of one layer, as ``config.parameters`` says.

    Args:
        config: the model.
        shape: shape of one stem's weights.
        init: fills a tensor of `shape` in place with initial weights.
        spread: how much the stems' generated weights differ at the start; see `Generated`.
        head: whether the layer belongs to the mask head, which is separate for every stem even if the rest is shared.
    """
    if config.parameters == "generated":
        return Generated(shape, config.embedding_dim, config.embedding_bottleneck, init, spread)
    stems = len(config.stems) if head or config.parameters == "independent" else 1
    return Independent(stems, shape, init)
