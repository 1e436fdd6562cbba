"""Write a network as one ONNX file that runs without torch, its generator folded into constants."""

import argparse
from pathlib import Path

from hyperstem.cli._arguments import names, positive_int
from hyperstem.cli._usage import UsageError, usage

HELP = "write a network as ONNX, for use without torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``hyperstem export``."""
    parser.add_argument("model", help="a model's name, or a .safetensors file")
    parser.add_argument("output", type=Path, help="the .onnx file to write")
    parser.add_argument("--stages", type=positive_int, help="write only the first K stages", metavar="K")
    parser.add_argument("--stems", type=names, metavar="NAMES", help="decode only these stems, separated by commas")
    parser.add_argument(
        "--precision",
        choices=["float32", "float16", "int8"],
        default="float32",
        help="how weights are stored; computation is in float32 either way (default: float32)",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="one path without branches, for OpenVINO, onnxruntime-web and other programs; not for separate",
    )


def run(args: argparse.Namespace) -> int:
    """Exports."""
    from hyperstem.errors import ConfigError, ModelError
    from hyperstem.models import store
    from hyperstem.models.export import export

    if args.output.suffix != ".onnx":
        raise UsageError(f"{args.output}: the file to write must end in .onnx")
    source = store.find(args.model).safetensors
    if source is None:
        raise ModelError(f"{args.model} has no .safetensors weights, which an export starts from")
    network = store.load(source)
    with usage(ConfigError, ModelError):
        export(network, args.output, args.stages, args.stems, args.precision, args.plain)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, SHA-256 {store.sha256(args.output)}")
    return 0
