"""The network: Meta-TasNet, stage by stage."""

from hyperstem.model.network import MetaTasNet
from hyperstem.model.stage import Stage, StageOutput

__all__ = ["MetaTasNet", "Stage", "StageOutput"]
