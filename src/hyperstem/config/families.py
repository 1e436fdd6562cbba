"""The families of networks, and the settings that belong to each."""

from collections.abc import Mapping
from typing import Any

from hyperstem.config.model import ModelConfig
from hyperstem.config.reading import from_mapping
from hyperstem.config.training import LossConfig, SpectralLossConfig
from hyperstem.config.unet import UNetConfig
from hyperstem.errors import ConfigError

NetworkConfig = ModelConfig | UNetConfig
"""Sizes of a network of any family."""
AnyLossConfig = LossConfig | SpectralLossConfig
_FAMILIES: dict[str, type[NetworkConfig]] = {"meta-tasnet": ModelConfig, "meta-unet": UNetConfig}


def network_config(mapping: Mapping[str, Any], where: str) -> NetworkConfig:
    """The sizes in a ``[model]`` table, whose key ``network`` names the family, Meta-TasNet by default.

    Raises:
        ConfigError: the family is unknown, or see `from_mapping`.
    """
    family = mapping.get("network", "meta-tasnet")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise ConfigError(f"{where}: network is {family!r}; allowed are {', '.join(map(repr, _FAMILIES))}")
    kind = _FAMILIES[family]
    sizes = {key: value for key, value in mapping.items() if key != "network"} if kind is ModelConfig else mapping
    return from_mapping(kind, sizes, where)


def loss_config(mapping: Mapping[str, Any], network: NetworkConfig, where: str) -> AnyLossConfig:
    """The objective in a ``[loss]`` table, for the family of the network.

    Raises:
        ConfigError: see `from_mapping`.
    """
    kind: type[AnyLossConfig] = SpectralLossConfig if isinstance(network, UNetConfig) else LossConfig
    return from_mapping(kind, mapping, where)
