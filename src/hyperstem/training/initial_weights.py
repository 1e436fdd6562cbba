"""Weights of an earlier or smaller model as the beginning of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.errors import ModelError
from hyperstem.training import checkpoint


class Taken(NamedTuple):
    """What became of two sets of names: the network's own and the file's."""

    taken: list[str]
    kept: list[str]  # tensors of the network that stay as they were initialised, each with the reason
    unused: list[str]  # tensors of the file that the network has no place for


def begin_from(network: nn.Module, path: Path, strict: bool = False) -> Taken:
    """Copies every tensor whose name and shape fit into the network.

    Args:
        path: a safetensors file, or a run's checkpoint, of which the weights are taken as trained, without averaging.
        strict: every tensor of the network must be found, and none left over.

    Raises:
        ModelError: the file is missing or damaged, nothing fits, or `strict` and something does not.
    """
    return take(network, _tensors(path), path, strict)


def take(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, strict: bool = False) -> Taken:
    """Copies the tensors that fit; see `begin_from`."""
    own = network.state_dict()
    result = Taken([], [], [name for name in tensors if name not in own])
    with torch.no_grad():
        for name, place in own.items():
            if name not in tensors:
                result.kept.append(f"{name}: not in the file")
            elif tensors[name].shape != place.shape:
                result.kept.append(f"{name}: {_shape(tensors[name])} in the file, {_shape(place)} here")
            else:
                place.copy_(tensors[name])
                result.taken.append(name)
    if not result.taken:
        raise ModelError(f"{path}: no tensor fits this network by name and shape")
    if strict and (result.kept or result.unused):
        raise ModelError(f"{path} does not fit this network: {(result.kept + result.unused)[0]} (init_strict is set)")
    return result


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.name == "checkpoint":
        return checkpoint.load(path)[0]["network"]
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"no weights {path} to begin from ([train] init)")
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}") from None
