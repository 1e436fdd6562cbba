"""Makes a model folder from trained weights: safetensors and ONNX, both int8, and a card with sizes and hashes.

python tools/release.py WEIGHTS FOLDER [--card FACTS.json]
"""

import argparse
import json
from pathlib import Path

from hyperstem.config import to_mapping
from hyperstem.files import write_text
from hyperstem.models import store
from hyperstem.models.export import export


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--card", type=Path, help="JSON whose keys go into the card as they are")
    args = parser.parse_args()

    safetensors, onnx = args.folder / "model.safetensors", args.folder / "model.onnx"
    store.save(safetensors, store.load(args.weights), "int8")
    network = store.load(safetensors)  # what was rounded is what is exported
    export(network, onnx, precision="int8")
    card = json.loads(args.card.read_text(encoding="utf-8")) if args.card else {}
    card |= {
        "config": to_mapping(network.config),
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
        "sha256": {path.name: store.sha256(path) for path in (onnx, safetensors)},
    }
    write_text(args.folder / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    for path in (onnx, safetensors):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
