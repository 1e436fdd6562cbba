"""The network that belongs to a config."""

from hyperstem.config import NetworkConfig, UNetConfig
from hyperstem.network.meta_tasnet import MetaTasNet
from hyperstem.network.meta_unet import MetaUNet
from hyperstem.network.octaves import build_tasnet

AnyNetwork = MetaTasNet | MetaUNet
"""A network of any family."""


def build(config: NetworkConfig) -> AnyNetwork:
    """The network that a config describes, with random weights."""
    if isinstance(config, UNetConfig):
        return MetaUNet(config)
    return build_tasnet(config)
