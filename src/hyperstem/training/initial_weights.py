"""Initial weights of a run from an earlier or smaller model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from hyperstem.errors import ModelError
from hyperstem.models import store
from hyperstem.network.generator import stem_rows
from hyperstem.training import checkpoint


class Match(NamedTuple):
    """Which tensors of a network and of a file match."""

    loaded: list[str]
    """Tensors copied from the file."""
    missing: list[str]
    """Tensors, or rows of them, that keep their initial values, each with the reason."""
    unused: list[str]
    """Tensors of the file that the network does not have."""


class Source(NamedTuple):
    """The content of a file of weights."""

    tensors: Mapping[str, Tensor]
    stems: Sequence[str] = ()
    """The stems of its model, in order; empty if unknown."""


def load_matching(network: nn.Module, path: Path, strict: bool = False) -> Match:
    """Copies every tensor whose name and shape match into the network; rows of stems are matched by the stem's name.

    Args:
        network: the network. If its ``config`` has `stems`, each embedding (or independent weight) of a stem comes
            from the stem of the same name in the file.
        path: a safetensors file, or a run's checkpoint, whose weights are copied without averaging.
            The weights of a Meta-TasNet become the draft of a network that has one, and the other way round; those of a
            U-Net without a draft start one with a draft, which sees and keeps the draft by weights of zero at first.
        strict: every tensor of network and file must match.

    Raises:
        ModelError: the file is missing or damaged, nothing matches, or with `strict` something does not.
    """
    source = _beside_draft(network, _as_draft(network, _read(path)))
    stems = tuple(getattr(getattr(network, "config", None), "stems", ()))
    by_stem = stem_rows(network, len(stems)) if stems and source.stems else set()
    own = network.state_dict()
    match = Match([], [], [name for name in source.tensors if name not in own])
    for name, target in own.items():
        given = source.tensors.get(name)
        if given is None:
            match.missing.append(f"{name}: not in the file")
        elif name in by_stem and given.shape == (len(source.stems), *target.shape[1:]):
            match.loaded.append(name)
            for row, stem in zip(target, stems, strict=True):
                if stem in source.stems:
                    row.copy_(given[source.stems.index(stem)])
                else:
                    match.missing.append(f"{name}[{stem}]: not in the file")
        elif given.shape != target.shape:
            match.missing.append(f"{name}: {_shape(given)} in the file, {_shape(target)} in the network")
        else:
            target.copy_(given)
            match.loaded.append(name)
    if not match.loaded:
        raise ModelError(f"{path}: no tensor matches this network by name and shape")
    if strict and (match.missing or match.unused):
        raise ModelError(
            f"{path} does not match this network: {(match.missing + match.unused)[0]} (init_strict is set)"
        )
    return match


def _as_draft(network: nn.Module, source: Source) -> Source:
    """A Meta-TasNet's weights under the names that they have as a draft, or those of a draft for a Meta-TasNet."""
    own = network.state_dict()
    if any(name.startswith("draft.") for name in own) and all(name.startswith("stages.") for name in source.tensors):
        return source._replace(tensors={f"draft.{name}": tensor for name, tensor in source.tensors.items()})
    if all(name.startswith("stages.") for name in own):
        return source._replace(tensors={name.removeprefix("draft."): each for name, each in source.tensors.items()})
    return source


def _beside_draft(network: nn.Module, source: Source) -> Source:
    """A U-Net's weights for one with a draft: those of what sees or keeps the draft, if it had none, are zero."""
    own = network.state_dict()
    if not any(name.startswith("draft.") for name in own):
        return source
    tensors = dict(source.tensors)
    for name, tensor in source.tensors.items():
        target = own.get(name)
        if target is None or not name.startswith(("encoder.join.", "extractor.heads.")) or target.ndim != tensor.ndim:
            continue
        spare = [large - small for large, small in zip(target.shape, tensor.shape, strict=True)]
        if min(spare) >= 0:
            tensors[name] = F.pad(tensor, [part for size in reversed(spare) for part in (0, size)])
    return source._replace(tensors=tensors)


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"


def _read(path: Path) -> Source:
    if path.name == "checkpoint":
        state, config = checkpoint.load(path)
        return Source(state["network"], config.get("model", {}).get("stems", ()))
    tensors, metadata = store.read_tensors(path)
    try:
        return Source(tensors, json.loads(metadata.get("config", "{}")).get("stems", ()))
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: its config is no JSON object ({error})") from None
