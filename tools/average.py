"""Averages weights along a training run: a longer running average than any one run kept.

python tools/average.py OUT BASE WEIGHTS [WEIGHTS ...]

OUT gets the tensors of BASE; those that every one of WEIGHTS holds too become their mean. So stage 0 can be averaged
over runs of stage 0 alone and of all stages.
"""

import argparse
from pathlib import Path

import torch

from hyperstem.models import store


def main() -> None:
    """Writes OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    args = parser.parse_args()
    network = store.load(args.base)
    states = {path: store.load(path).state_dict() for path in args.weights}
    averaged = 0
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if all(name in state for state in states.values()):
                for path, state in states.items():
                    if state[name].shape != tensor.shape:
                        raise SystemExit(
                            f"{path}: {name} has the sizes {tuple(state[name].shape)}, in {args.base} "
                            f"it has {tuple(tensor.shape)}"
                        )
                tensor.copy_(torch.stack([state[name].float() for state in states.values()]).mean(0))
                averaged += 1
    store.save(args.out, network)
    print(f"{args.out}: {averaged} of {len(network.state_dict())} tensors are means of {len(states)}")


if __name__ == "__main__":
    main()
