"""Makes a model folder from trained weights: safetensors and ONNX, both int8, and a card with sizes and hashes.

python tools/release.py WEIGHTS FOLDER [--card FACTS.json] [--octaves TASNET] [--segment S]

A Meta-U-Net is trained with the first stage of a Meta-TasNet as its draft; --octaves adds its other stages. --segment
sets the seconds that the model separates at once.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from hyperstem.config import to_mapping
from hyperstem.files import write_text
from hyperstem.models import store
from hyperstem.models.export import export
from hyperstem.network import AnyNetwork, MetaTasNet, MetaUNet


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--card", type=Path, help="JSON whose keys go into the card as they are")
    parser.add_argument("--octaves", type=Path, help="weights of the Meta-TasNet whose stages follow")
    parser.add_argument("--segment", type=float, help="seconds that the model separates at once")
    args = parser.parse_args()

    trained = store.load(args.weights)
    if args.octaves:
        trained = with_octaves(trained, store.load(args.octaves))
    if args.segment:
        trained.config = dataclasses.replace(trained.config, segment_s=args.segment)
    safetensors, onnx = args.folder / "model.safetensors", args.folder / "model.onnx"
    store.save(safetensors, trained, "int8")
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


def with_octaves(unet: AnyNetwork, tasnet: AnyNetwork) -> MetaUNet:
    """A U-Net with all stages of the Meta-TasNet whose first stage it refines, and the segments of that network."""
    if not (isinstance(unet, MetaUNet) and unet.draft is not None and isinstance(tasnet, MetaTasNet)):
        raise SystemExit("--octaves needs the weights of a Meta-U-Net with a draft, and those of a Meta-TasNet")
    first = tasnet.state_dict()
    for name, tensor in unet.draft.state_dict().items():
        if not torch.allclose(tensor, first[name], atol=0.02 * float(first[name].abs().max())):  # it may be rounded
            raise SystemExit(f"{name} differs: this is not the Meta-TasNet that the U-Net was trained with")
    config = dataclasses.replace(unet.config, draft=tasnet.config, segment_s=tasnet.config.segment_s)
    joined = MetaUNet(config)
    own = {name: tensor for name, tensor in unet.state_dict().items() if not name.startswith("draft.")}
    joined.load_state_dict(own | {f"draft.{name}": tensor for name, tensor in first.items()})
    return joined.eval()


if __name__ == "__main__":
    main()
