"""Settings: frozen dataclasses, read from TOML and checked where they are born."""

from hyperstem.config.data import LAYOUTS, AugmentConfig, DataConfig, MixingConfig, SourceConfig
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
from hyperstem.config.training import SCORES, LossConfig, TrainConfig
from hyperstem.errors import ConfigError

__all__ = [
    "LAYOUTS",
    "SCORES",
    "STEMS",
    "TABLES",
    "AugmentConfig",
    "ConfigError",
    "DataConfig",
    "LossConfig",
    "MixingConfig",
    "ModelConfig",
    "SourceConfig",
    "StageConfig",
    "TrainConfig",
    "assigned",
    "check_tables",
    "from_mapping",
    "load_toml",
    "read_tables",
    "require",
    "to_mapping",
]
