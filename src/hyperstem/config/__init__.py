"""Settings: frozen dataclasses, read from TOML and checked on construction."""

from hyperstem.config.data import LAYOUTS, AugmentConfig, DataConfig, MixingConfig, SourceConfig
from hyperstem.config.families import AnyLossConfig, NetworkConfig, loss_config, network_config
from hyperstem.config.model import STEMS, ModelConfig, StageConfig
from hyperstem.config.reading import (
    TABLES,
    assigned,
    check_tables,
    from_mapping,
    load_toml,
    read_tables,
    require,
    to_mapping,
)
from hyperstem.config.training import SCORES, LossConfig, SpectralLossConfig, TrainConfig
from hyperstem.config.unet import UNetConfig
from hyperstem.errors import ConfigError

__all__ = [
    "LAYOUTS",
    "SCORES",
    "STEMS",
    "TABLES",
    "AnyLossConfig",
    "AugmentConfig",
    "ConfigError",
    "DataConfig",
    "LossConfig",
    "MixingConfig",
    "ModelConfig",
    "NetworkConfig",
    "SourceConfig",
    "SpectralLossConfig",
    "StageConfig",
    "TrainConfig",
    "UNetConfig",
    "assigned",
    "check_tables",
    "from_mapping",
    "load_toml",
    "loss_config",
    "network_config",
    "read_tables",
    "require",
    "to_mapping",
]
