"""Trained models: their files, the engines that run them, their export, and the models that come with the package.

`hyperstem.models.load(path)` gives the network in a ``.safetensors`` file, to train on or to look into; it needs torch.
What separates songs loads models with `hyperstem.models.engines` and needs none.
"""

from hyperstem.models.store import load

__all__ = ["load"]
