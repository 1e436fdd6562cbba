"""The state of a training run in one file: written whole or not at all, read without running code from it."""

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
    """One setting that differs between two configs; a missing one is None."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}"


def _shown(value: Any) -> str:
    return "(none)" if value is None else json.dumps(value)


def save(path: Path, state: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Writes a run's state, whole or not at all.

    Args:
        state: tensors, numbers, text, and lists and dicts of them; nothing else can be read back.
        config: the run's settings as plain JSON values.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save({"format": FORMAT, "config": json.dumps(config), "state": dict(state)}, file)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save` wrote, on the processor.

    Returns:
        The state and the config.

    Raises:
        ModelError: no such file, damaged, of another kind, or it holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}: nothing to resume")
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} is no hyperstem checkpoint: it is damaged, or holds more than tensors and plain values"
        ) from None
    except (RuntimeError, EOFError, LookupError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"checkpoint {path} is damaged: {(str(error).splitlines() or ['it ends early'])[0]}") from None
    if not isinstance(content, dict) or content.keys() != {"format", "config", "state"}:
        raise ModelError(f"{path} is no hyperstem checkpoint")
    if content["format"] != FORMAT:
        raise ModelError(f"checkpoint {path} has format {content['format']}; this version reads {FORMAT}")
    return content["state"], json.loads(content["config"])


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """The settings that differ, as dotted keys; lists are compared item by item where their items are tables."""
    found: list[Change] = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if _tables(before) and _tables(after):
            found += changes(_mapping(before), _mapping(after), f"{prefix}{key}.")
        elif before != after:
            found.append(Change(f"{prefix}{key}", before, after))
    return found


def _tables(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(item, Mapping) for item in value))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {str(i): item for i, item in enumerate(value)}


def random_state() -> dict[str, torch.Tensor]:
    """The state of torch's random generators: the processor's, and the current CUDA device's if one is in use."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Puts torch's random generators back to a `random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
