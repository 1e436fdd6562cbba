"""The settings of a run: the tables of a TOML file, with overrides from the command line."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperstem.config import (
    TABLES,
    AnyLossConfig,
    DataConfig,
    NetworkConfig,
    TrainConfig,
    check_tables,
    from_mapping,
    loss_config,
    network_config,
    read_tables,
)
from hyperstem.errors import ConfigError
from hyperstem.training.checkpoint import Change, changes

_RESUMABLE = re.compile(
    r"train\.(steps|learning_rate|rate_factors(\..*)?|schedule|warmup_steps|schedule_steps|final_factor|period|restart_factor"
    r"|clip|weight_decay|device|precision|recompute|compile|threads|tensorboard|checkpoint_\w+|validate_\w+|best|log_steps|max_skipped)"
    r"|data\.(sources\.\d+\.weight|root|prepared|workers|prefetch)"
)


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run."""

    path: Path
    """The TOML file; relative paths in it start from its folder."""
    model: NetworkConfig
    loss: AnyLossConfig
    train: TrainConfig
    data: DataConfig

    def mapping(self) -> dict[str, Any]:
        """All settings as plain JSON values, defaults filled in."""
        return json.loads(json.dumps({name: dataclasses.asdict(getattr(self, name)) for name in TABLES}))


def read(path: str | Path, assignments: Sequence[str] = ()) -> RunSettings:
    """Reads a run's TOML file.

    Args:
        path: the file.
        assignments: ``table.key=value`` each, which replaces or adds one value. Without a table the key is one of
            ``[train]``; a number in the key is a position in a list; a value that is not TOML is plain text.

    Raises:
        ConfigError: the file or a setting is wrong.
    """
    path = Path(path)
    return from_tables(read_tables(path, assignments), path)


def from_tables(tables: Mapping[str, Any], path: Path) -> RunSettings:
    """The settings in the tables of a parsed TOML file; errors name `path`."""
    check_tables(tables, path)
    model = network_config(tables.get("model", {}), f"{path} [model]")
    return RunSettings(
        path=path,
        model=model,
        loss=loss_config(tables.get("loss", {}), model, f"{path} [loss]"),
        train=from_mapping(TrainConfig, tables.get("train", {}), f"{path} [train]"),
        data=from_mapping(DataConfig, tables.get("data", {}), f"{path} [data]"),
    )


def resumable_changes(old: Mapping[str, Any], new: RunSettings, where: Path) -> list[Change]:
    """The settings that differ between a checkpoint and a run that resumes it.

    The learning rate and its schedule, the sources' weights, precision and device may differ, and how often the run
    validates, saves and logs. The state of the checkpoint depends on the other settings.

    Args:
        old: the checkpoint's config.
        new: the run's settings.
        where: path of the checkpoint, for errors.

    Raises:
        ConfigError: another setting differs; the error names the first.
    """
    differing = changes(from_tables(old, where).mapping(), new.mapping())
    for change in differing:
        if not _RESUMABLE.fullmatch(change.key):
            raise ConfigError(
                f"{where} is a checkpoint of another config: {change}; restore the setting, or start a new run "
                f"(with these weights by [train] init)"
            )
    return differing
