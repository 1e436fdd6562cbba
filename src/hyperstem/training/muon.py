"""Muon: orthogonalised momentum for the weight matrices of hidden layers, AdamW for everything else."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
UPDATE_RMS = 0.4
"""Root mean square of a matrix's update, as a multiple of the learning rate: about that of AdamW's updates."""
SMALLEST = 16
"""Matrices with fewer rows or columns than this are left to AdamW."""
ROUNDS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration: it brings singular values near 1 within `ROUNDS`, and leaves them at 0.7 to 1.2."""


class Muon(torch.optim.AdamW):
    """AdamW, except in groups with ``muon``: there the update is the momentum's nearest orthogonal matrix.

    All directions of a matrix then move equally fast, whatever the scale of their gradients.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the scale of the updates:
    Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982, section 2.2.

    Args:
        groups: parameter groups, each with the key ``muon``.
        options: options of `torch.optim.AdamW`.
    """

    def __init__(self, groups: list[dict[str, Any]], **options: Any) -> None:
        super().__init__(groups, **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        groups = [group for group in self.param_groups if group["muon"]]
        matrices = [(weight, weight.grad, group) for group in groups for weight in group["params"]]
        for weight, _, _ in matrices:
            weight.grad = None  # AdamW passes over it
        loss = super().step(closure)
        for weight, gradient, group in matrices:
            weight.grad = gradient
            if gradient is not None:
                self._move(weight, gradient, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW wants one when a checkpoint is loaded
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        update = orthogonalised(gradient.lerp(momentum, MOMENTUM).flatten(1))  # Nesterov's form
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        scale = UPDATE_RMS * max(update.shape) ** 0.5  # an orthogonal matrix has a root mean square of 1 / sqrt(max)
        weight.add_(update.view_as(weight), alpha=-group["lr"] * scale)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix (row, column) with the same singular vectors, whose singular values are about 1."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix.float() if wide else matrix.float().T
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x if wide else x.T).to(matrix.dtype)


def hidden_matrices(network: nn.Module) -> set[nn.Parameter]:
    """The weights of linear, convolutional and recurrent layers that `Muon` orthogonalises."""
    layers = (layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.RNNBase))
    weights = (weight for layer in layers for weight in layer.parameters(recurse=False) if weight.ndim >= 2)
    return {weight for weight in weights if min(weight.flatten(1).shape) >= SMALLEST}
