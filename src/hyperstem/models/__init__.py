"""Trained models: their files, the engines that run them, their export, and the models that come with the package.

`hyperstem.models.load(path)` gives the network in a ``.safetensors`` file, for further training or inspection; it needs
torch. Separation loads models with `hyperstem.models.engines`, which does not need torch.
"""

from hyperstem.models.store import load

__all__ = ["load"]
