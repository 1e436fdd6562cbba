"""Engines that run the network: onnxruntime for exported models, torch for GPUs and for models without an export."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from hyperstem.config import NetworkConfig
from hyperstem.errors import ConfigError, ModelError
from hyperstem.models import store
from hyperstem.parallel import cores

DEVICES = ("auto", "cpu", "cuda")
MOST_WORKERS = 8
"""Most segments in flight, however many cores there are; each needs memory of its own."""


class Engine(Protocol):
    """A loaded network; thread-safe."""

    @property
    def config(self) -> NetworkConfig:
        """The model's config."""
        ...

    def separate(self, pyramid: list[np.ndarray]) -> np.ndarray:
        """Runs one stage per rate given.

        Args:
            pyramid: normalised (batch, channel, time_i) float32 per stage.

        Returns:
            (batch, stem, channel, time) float32 at the last rate given.
        """
        ...


class Loaded(NamedTuple):
    """An engine and its model."""

    engine: Engine
    workers: int
    """Segments to run at once."""
    name: str
    """Name of the model, as the user gave it."""
    sha256: str
    """SHA-256 of the model file."""
    trained: bool


def load(name_or_path: str | Path, device: str = "auto", threads: int | None = None) -> Loaded:
    """Finds and loads a model.

    On a CPU each segment runs on one thread, and several segments run at once: that is faster than one segment on all
    threads, and the result does not depend on the number of threads.

    Raises:
        ModelError: no such model, a damaged one, or no CUDA device although one is requested.
        ConfigError: `device` or `threads` is out of range.
    """
    if device not in DEVICES:
        raise ConfigError(f"device is {device!r}; allowed are {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; at least 1 is needed")
    files = store.find(name_or_path)
    workers = min(threads or cores(), MOST_WORKERS)
    trained = is_trained(files.card)
    if files.onnx is not None and device != "cuda":
        from hyperstem.models import onnx_engine

        return Loaded(onnx_engine.load(files.onnx, threads=1), workers, files.name, _sha256(files, files.onnx), trained)
    if files.safetensors is None:
        raise ModelError(f"model {files.name} has no safetensors file, which device 'cuda' needs")
    try:
        from hyperstem.models.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        raise ModelError(
            f"model {files.name} needs torch on this device ({error}): pip install 'hyperstem[train]'"
        ) from None
    engine = TorchEngine(files.safetensors, device)
    workers = workers if engine.device == "cpu" else 1
    return Loaded(engine, workers, files.name, _sha256(files, files.safetensors), trained)


def _sha256(files: store.ModelFiles, path: Path) -> str:
    """The SHA-256 in the card, against which the file has been checked, or else that of the file."""
    return files.card.get("sha256", {}).get(path.name) or store.sha256(path)


def is_trained(card: dict[str, Any]) -> bool:
    """Whether a model is trained: true unless its card says that it is a placeholder."""
    return bool(card.get("trained", True))
