"""Checkpoints: the state of a run in one file, written whole or not at all, and read without running code from it."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hyperstem.errors import ModelError
from hyperstem.files import replacing

FORMAT = 1


class Change(NamedTuple):
    """One setting that differs between two configs; None where it is missing."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        old, new = ("(none)" if value is None else json.dumps(value) for value in (self.old, self.new))
        return f"{self.key}: {old} -> {new}"


def save(path: Path, state: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Writes a run's state, whole or not at all.

    Args:
        state: tensors, numbers, text, and lists and dicts of them; `load` accepts nothing else.
        config: settings of the run as plain JSON values.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save({"format": FORMAT, "config": json.dumps(config), "state": dict(state)}, file)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a checkpoint; its tensors are on the CPU.

    Returns:
        The state and the config.

    Raises:
        ModelError: the file is missing, damaged, not a checkpoint, or contains more than tensors and plain values.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}: nothing to resume")
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} is not a hyperstem checkpoint: it is damaged, or contains more than tensors and plain values"
        ) from None
    except (RuntimeError, EOFError, LookupError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"checkpoint {path} is damaged: {(str(error).splitlines() or ['it ends early'])[0]}") from None
    if not isinstance(content, dict) or content.keys() != {"format", "config", "state"}:
        raise ModelError(f"{path} is not a hyperstem checkpoint")
    if content["format"] != FORMAT:
        raise ModelError(f"checkpoint {path} has format {content['format']}; this version reads {FORMAT}")
    return content["state"], json.loads(content["config"])


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """The settings that differ, with dotted keys; lists of tables are compared item by item."""
    differing: list[Change] = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        tables = _numbered(before), _numbered(after)
        if all(isinstance(table, Mapping) for table in tables):
            differing += changes(*tables, f"{prefix}{key}.")
        elif before != after:
            differing.append(Change(f"{prefix}{key}", before, after))
    return differing


def _numbered(value: Any) -> Any:
    """A list of tables as a mapping from the positions; other values as they are."""
    tables = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    return {str(i): item for i, item in enumerate(value)} if tables else value


def random_state() -> dict[str, torch.Tensor]:
    """State of torch's random generators: of the CPU, and of the current CUDA device if one is in use."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Restores what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
