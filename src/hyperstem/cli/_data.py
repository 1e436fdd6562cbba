"""What `prepare` and `data` share: reading the model's and the data's tables of a config."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hyperstem.cli._arguments import positive_int

if TYPE_CHECKING:
    from hyperstem.config import DataConfig, NetworkConfig


class DataSettings(NamedTuple):
    """The tables of a config that determine the training data, with absolute folders."""

    model: "NetworkConfig"
    data: "DataConfig"


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds CONFIG, --set and --stages."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file with [model] and [data]")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="replace one value, e.g. data.root=/music (may be given often)",
    )
    parser.add_argument("--stages", type=positive_int, metavar="K", help="as for a model of the first K stages")


def read_settings(args: argparse.Namespace) -> DataSettings:
    """The settings given by the arguments of `add_config_arguments`.

    Raises:
        ConfigError: the file or a setting is wrong.
    """
    from hyperstem.config import DataConfig, from_mapping, network_config, read_tables

    tables = read_tables(args.config, args.assignments)
    model = network_config(tables.get("model", {}), f"{args.config} [model]")
    data = from_mapping(DataConfig, tables.get("data", {}), f"{args.config} [data]")
    model = model if args.stages is None else model.first_stages(args.stages)
    return DataSettings(model, data.resolved(args.config.parent))
