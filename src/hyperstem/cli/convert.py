"""Convert a checkpoint of the paper authors' program to our weights. Nothing in the file is executed."""

import argparse
from pathlib import Path

from hyperstem.cli._usage import UsageError

HELP = "convert a checkpoint of the paper authors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``hyperstem convert``."""
    parser.add_argument("checkpoint", type=Path, help="the authors' .pt file")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Converts, and reports what matched."""
    from hyperstem.models import store
    from hyperstem.models.authors import convert

    if args.output.suffix != ".safetensors":
        raise UsageError(f"{args.output}: the file to write must end in .safetensors")
    network, matched = convert(args.checkpoint)
    store.save(args.output, network)
    config, parameters = network.config, sum(tensor.numel() for tensor in network.parameters())
    print(
        f"{args.checkpoint}: all {matched} tensors matched: {config.stages} stages, {config.parameters} parameters, "
        f"{parameters:,} numbers in all"
    )
    print(f"{args.output}: written")
    return 0
