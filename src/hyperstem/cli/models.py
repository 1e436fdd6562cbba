"""List the models that come with hyperstem, or show one: sizes, rates, stems, and what its model card says."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperstem.config import NetworkConfig
    from hyperstem.models.store import ModelFiles

HELP = "list the models, or show one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show")
    listing = actions.add_parser("list", help="name every model")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="everything known of one model")
    show.add_argument(
        "model", nargs="?", default="default", metavar="NAME|PATH", help="model name or file (default: default)"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument(
        "--plot", type=Path, metavar="PICTURE", help="draw embeddings, and masks of a SONG, into a .png, .svg or .pdf"
    )
    show.add_argument("--song", type=Path, metavar="SONG", help="with --plot: sound file whose masks are drawn")
    show.set_defaults(parser=show)


def run(args: argparse.Namespace) -> int:
    """Prints the list, or one model."""
    import json

    if args.action == "list":
        facts, status = _all_facts()
        if args.json:
            print(json.dumps(facts, ensure_ascii=False))
        elif facts:
            print("\n".join(map(_line, facts)))
        elif status == 0:
            print("no models are installed")
        return status
    if args.song is not None and args.plot is None:
        args.parser.error("--song needs --plot PICTURE")
    facts = _facts(args.model)
    if args.plot is not None:
        _plot(args.model, args.plot, args.song)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if args.json else _table(facts))
    return 0


def _plot(model: str, picture: Path, song: Path | None) -> None:
    """Draws what the model has learned."""
    from hyperstem import audio
    from hyperstem.errors import ModelError
    from hyperstem.models import store
    from hyperstem.models.picture import MASK_S, draw

    weights = store.find(model).safetensors
    if weights is None:
        raise ModelError(f"{model} has no model.safetensors: only trainable weights hold embeddings and masks")
    try:
        network = store.load(weights)
    except ImportError:
        raise ModelError("looking into a model needs PyTorch; `pip install 'hyperstem[train]'`") from None
    wave, rate_hz = (None, 0) if song is None else audio.read(song, duration_s=MASK_S)
    draw(picture, network, wave, rate_hz)


def _all_facts() -> tuple[list[dict], int]:
    """The facts of every model; damaged ones are reported and left out."""
    import sys

    from hyperstem.errors import ModelError
    from hyperstem.models import store

    facts, status = [], 0
    for name in store.names():
        try:
            facts.append(_facts(name))
        except ModelError as error:
            print(f"hyperstem: {error}", file=sys.stderr)
            status = 1
    return facts, status


def _line(fact: dict) -> str:
    return (
        f"{fact['name']:<12} {', '.join(fact['stems'])}; {fact['rates_hz'][-1]} Hz, "
        f"{fact['channels']} channel{'s' if fact['channels'] > 1 else ''}, "
        f"{fact['bytes'] / 1e6:.1f} MB{'' if fact['trained'] else '; untrained'}"
        + (f"; {fact['card']['license']}" if "license" in fact["card"] else "")
    )


def _facts(name: str) -> dict:
    """Facts from the model's files and card."""
    from hyperstem.models import store
    from hyperstem.models.engines import is_trained

    files = store.find(name)
    config = _config(files)
    paths = [path for path in (files.onnx, files.safetensors) if path is not None]
    return {
        "name": files.name,
        "stems": list(config.stems),
        "rates_hz": list(config.rates_hz),
        "stages": config.stages,
        "channels": config.audio_channels,
        "segment_s": config.segment_s,
        "trained": is_trained(files.card),
        "bytes": paths[0].stat().st_size,
        "files": {path.name: store.sha256(path) for path in paths},
        "card": files.card,
    }


def _config(files: "ModelFiles") -> "NetworkConfig":
    if files.onnx is not None:
        from hyperstem.models import onnx_engine

        return onnx_engine.load(files.onnx, threads=1).config
    from hyperstem.models import store

    assert files.safetensors is not None
    return store.load(files.safetensors).config


def _table(facts: dict) -> str:
    rows = {
        "name": facts["name"],
        "stems": ", ".join(facts["stems"]),
        "rates": ", ".join(f"{rate} Hz" for rate in facts["rates_hz"]),
        "channels": facts["channels"],
        "segment": f"{facts['segment_s']:g} s",
        "size": f"{facts['bytes'] / 1e6:.1f} MB",
        "trained": "yes" if facts["trained"] else "no",
    }
    rows |= {f"sha256 {name}": digest for name, digest in facts["files"].items()}
    listed = ("sha256", "name", "stems", "trained")
    rows |= {key: _text(value) for key, value in facts["card"].items() if key not in listed}
    width = max(map(len, rows))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in rows.items())


def _text(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
