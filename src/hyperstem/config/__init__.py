"""Settings: frozen dataclasses, read from TOML and checked where they are born."""

from hyperstem.config.reading import (
    STEMS,
    TABLES,
    AugmentConfig,
    DataConfig,
    LossConfig,
    MixingConfig,
    ModelConfig,
    SourceConfig,
    StageConfig,
    TrainConfig,
    assigned,
    check_tables,
    from_mapping,
    load_toml,
    require,
    to_mapping,
)
from hyperstem.errors import ConfigError

__all__ = [
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
    "require",
    "to_mapping",
]
