"""The network: Meta-TasNet, stage by stage."""

from hyperstem.network.meta_tasnet import MetaTasNet
from hyperstem.network.stage import Stage, StageOutput

__all__ = ["MetaTasNet", "Stage", "StageOutput"]
