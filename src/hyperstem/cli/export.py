"""Write a network as one ONNX file that runs without torch, its generator folded into constants."""

import argparse
from pathlib import Path

HELP = "write a network as ONNX, for use without torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``hyperstem export``."""
    parser.add_argument("model", help="a model's name, or a .safetensors file")
    parser.add_argument("output", type=Path, help="the .onnx file to write")
    parser.add_argument("--stages", type=int, help="write only the first so many stages")
    parser.add_argument("--stems", help="decode only these stems, separated by commas")
    parser.add_argument(
        "--precision",
        choices=["float32", "float16"],
        default="float32",
        help="how weights are stored; either way they are computed with in float32 (default: float32)",
    )


def run(args: argparse.Namespace) -> int:
    """Exports."""
    from hyperstem.errors import ModelError
    from hyperstem.models import store
    from hyperstem.models.export import export

    if args.output.suffix != ".onnx":
        raise ModelError(f"{args.output}: the file to write must end in .onnx")
    source = store.find(args.model).safetensors
    if source is None:
        raise ModelError(f"{args.model} has no .safetensors weights, which an export starts from")
    stems = [stem.strip() for stem in args.stems.split(",")] if args.stems else None
    export(store.load(source), args.output, args.stages, stems, args.precision)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, SHA-256 {store.sha256(args.output)}")
    return 0
