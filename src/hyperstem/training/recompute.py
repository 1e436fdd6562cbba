"""Gradient checkpointing: activations are recomputed in the backward pass, which saves memory and takes time."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(network: nn.Module) -> int:
    """Makes the backward pass recompute activations inside modules instead of storing them; gradients stay the same.

    It applies to modules with the attribute ``recomputable = True``, which must not draw random numbers.

    Returns:
        The number of these modules.
    """
    chosen = [module for module in network.modules() if getattr(module, "recomputable", False)]
    for module in chosen:
        forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)
        module.forward = forward  # type: ignore[method-assign]
    return len(chosen)
