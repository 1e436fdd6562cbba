"""Weights of an earlier or smaller model as the beginning of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstem.errors import ModelError
from hyperstem.network.generator import stem_rows
from hyperstem.training import checkpoint


class Taken(NamedTuple):
    """What became of two sets of names: the network's own and the file's."""

    taken: list[str]
    kept: list[str]
    """Tensors of the network that stay as they were initialised, each with the reason."""
    unused: list[str]
    """Tensors of the file that the network has no place for."""


class Source(NamedTuple):
    """Weights to begin from."""

    tensors: Mapping[str, Tensor]
    stems: Sequence[str] = ()
    """The stems of its model, in order; empty if the file does not say."""


def begin_from(network: nn.Module, path: Path, strict: bool = False) -> Taken:
    """Copies every tensor whose name and shape fit into the network, and what belongs to a stem by the stem's name.

    Args:
        network: the network; if its ``config`` has `stems`, each takes the embedding (and, where stems have weights of
            their own, those) that the file holds of the stem of the same name.
        path: a safetensors file, or a run's checkpoint, of which the weights are taken as trained, without averaging.
        strict: every tensor of the network must be found, and none left over.

    Raises:
        ModelError: the file is missing or damaged, nothing fits, or `strict` and something does not.
    """
    return take(network, _read(path), path, strict)


def take(network: nn.Module, source: Source, path: Path, strict: bool = False) -> Taken:
    """Copies the tensors that fit; see `begin_from`."""
    own = network.state_dict()
    stems = tuple(getattr(getattr(network, "config", None), "stems", ()))
    by_stem = stem_rows(network, len(stems)) if stems and source.stems else set()
    result = Taken([], [], [name for name in source.tensors if name not in own])
    with torch.no_grad():
        for name, place in own.items():
            given = source.tensors.get(name)
            if given is None:
                result.kept.append(f"{name}: not in the file")
            elif name in by_stem and _counts(given, place, len(source.stems)):
                lacking = _copy_rows(place, stems, given, source.stems)
                result.taken.append(name)
                result.kept.extend(f"{name}[{stem}]: not in the file" for stem in lacking)
            elif given.shape != place.shape:
                result.kept.append(f"{name}: {_shape(given)} in the file, {_shape(place)} here")
            else:
                place.copy_(given)
                result.taken.append(name)
    if not result.taken:
        raise ModelError(f"{path}: no tensor fits this network by name and shape")
    if strict and (result.kept or result.unused):
        raise ModelError(f"{path} does not fit this network: {(result.kept + result.unused)[0]} (init_strict is set)")
    return result


def _counts(given: Tensor, place: Tensor, stems: int) -> bool:
    """Whether the rows of `given` are those of its model's stems, and of the size of the rows of `place`."""
    return given.ndim == place.ndim and given.shape[0] == stems and given.shape[1:] == place.shape[1:]


def _copy_rows(place: Tensor, stems: Sequence[str], given: Tensor, theirs: Sequence[str]) -> list[str]:
    """Copies each stem's row by name; gives the names of the stems that the file does not know."""
    for row, stem in zip(place, stems, strict=True):
        if stem in theirs:
            row.copy_(given[list(theirs).index(stem)])
    return [stem for stem in stems if stem not in theirs]


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _read(path: Path) -> Source:
    if path.name == "checkpoint":
        state, config = checkpoint.load(path)
        return Source(state["network"], config.get("model", {}).get("stems", ()))
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"no weights {path} to begin from ([train] init)")
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
            return Source({name: file.get_tensor(name) for name in file.keys()}, config.get("stems", ()))  # noqa: SIM118
    except (SafetensorError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}") from None
