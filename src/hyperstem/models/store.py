"""Models on disk: the named models of the package, and weights as safetensors with the config inside.

A named model is a folder in ``hyperstem/models`` with ``model.onnx``, ``model.safetensors`` and ``card.json``; the card
holds the SHA-256 of both files, and a file that differs is refused.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

from hyperstem.config import NetworkConfig, network_config, to_mapping
from hyperstem.errors import ModelError
from hyperstem.files import replacing, sha256, user_path

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from hyperstem.network import AnyNetwork

    Network = TypeVar("Network", bound=nn.Module)

MODELS = Path(__file__).parent
FORMAT = "hyperstem-1"
PLAIN = f"{FORMAT}-plain"
"""The format named in the metadata of an ONNX file for other programs."""


BLOCK = 64
"""Weights that have a scale in common in an int8 file."""
SCALES = ".scales"
"""What follows the name of an int8 tensor in the name of its scales."""


class ModelFiles(NamedTuple):
    """Where a model's files are."""

    name: str
    """What the user asked for."""
    onnx: Path | None
    """The exported network, if there is one."""
    safetensors: Path | None
    """The trainable weights, if there are any."""
    card: dict[str, Any]
    """Contents of the model card; empty for a bare file."""


def names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in MODELS.glob("*/card.json"))


def find(name_or_path: str | Path) -> ModelFiles:
    """The files of a model, given its name, its folder, or one ``.onnx`` or ``.safetensors`` file.

    Raises:
        ModelError: there is no such model, or a file's SHA-256 is not the one in its card.
    """
    folder = MODELS / str(name_or_path)
    if str(name_or_path) in names():
        return _from_folder(str(name_or_path), folder)
    path = user_path(name_or_path)
    if (path / "card.json").is_file():
        return _from_folder(path.name, path)
    if path.is_file() and path.suffix == ".onnx":
        return ModelFiles(str(path), path, None, {})
    if path.is_file() and path.suffix == ".safetensors":
        return ModelFiles(str(path), None, path, {})
    if path.is_file():
        raise ModelError(f"{path} is no model file; allowed are .onnx, .safetensors, or a folder with card.json")
    raise ModelError(
        f"no model {str(name_or_path)!r}; models here are {', '.join(names()) or '(none)'}, or give a file's path"
    )


def _from_folder(name: str, folder: Path) -> ModelFiles:
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        hashes = dict(card.get("sha256", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / 'card.json'} is damaged: {error}") from None
    found: dict[str, Path | None] = {"model.onnx": None, "model.safetensors": None}
    for file_name in found:
        path = folder / file_name
        if not path.is_file():
            continue
        digest = sha256(path)
        if digest != hashes.get(file_name):
            raise ModelError(
                f"{path} is damaged or foreign: its SHA-256 is {digest}, its card says "
                f"{hashes.get(file_name, 'nothing')}"
            )
        found[file_name] = path
    if not any(found.values()):
        raise ModelError(f"{folder} has a card but neither model.onnx nor model.safetensors")
    return ModelFiles(name, found["model.onnx"], found["model.safetensors"], card)


def config_to_json(config: NetworkConfig) -> str:
    """A model's config as the JSON that model files hold."""
    return json.dumps(to_mapping(config))


def config_from_json(text: str, where: str) -> NetworkConfig:
    """The inverse of `config_to_json`; errors name `where`.

    Raises:
        ModelError: `text` is not a config.
    """
    try:
        return network_config(json.loads(text), where)
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{where}: its config is damaged: {error}") from None


def save(
    path: str | Path, network: "nn.Module | AnyNetwork", precision: Literal["float32", "float16", "int8"] = "float32"
) -> None:
    """Writes a network's weights and config; the file appears complete or not at all.

    Args:
        path: the ``.safetensors`` file.
        network: a network whose ``config`` is a ModelConfig or a UNetConfig.
        precision: how weights are stored. float16 halves the file. int8 halves it again: blocks of `BLOCK` weights
            have a scale in common, and tensors of fewer weights are float16.

    Raises:
        ModelError: a weight is too large for float16.
    """
    import torch
    from safetensors.torch import save_file

    dtype = torch.float32 if precision == "float32" else torch.float16
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in network.state_dict().items():
        if precision == "int8" and tensor.numel() >= BLOCK:
            tensors[name], tensors[name + SCALES] = _to_bytes(tensor.detach().cpu().float())
            continue
        kind = dtype if tensor.is_floating_point() else torch.float32  # norms count their batches
        tensors[name] = tensor.detach().to("cpu", kind).contiguous()
        if not tensors[name].isfinite().all() and tensor.isfinite().all():
            raise ModelError(f"{name} has numbers up to {tensor.abs().max().item():g}, too large for {precision}")
    with replacing(Path(path)) as temporary:
        config: Any = network.config
        save_file(tensors, temporary, metadata={"format": FORMAT, "config": config_to_json(config)})
        _order_header(temporary)
        temporary.chmod(0o644)  # safetensors creates files that only their owner can read


def read_tensors(path: Path) -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """The tensors of any ``.safetensors`` file, in float32, and its metadata.

    Raises:
        ModelError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"no weights {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}") from None
    for name in [name for name in tensors if name.endswith(SCALES)]:
        scales, whole = tensors.pop(name), name.removesuffix(SCALES)
        codes = tensors.get(whole)
        if codes is None or scales.shape != (-(-codes.numel() // BLOCK),):
            raise ModelError(f"{path} is damaged: {name} does not fit {whole}")
        tensors[whole] = codes * scales.repeat_interleave(BLOCK)[: codes.numel()].view_as(codes)
    return tensors, metadata


def _to_bytes(tensor: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """A float32 tensor as int8 of the same shape, and the scale of each `BLOCK` of them (block,) float32."""
    import torch

    padded = torch.nn.functional.pad(tensor.flatten(), (0, -tensor.numel() % BLOCK)).view(-1, BLOCK)
    scales = padded.abs().amax(1) / 127
    codes = (padded / scales.clamp(min=1e-30)[:, None]).round().to(torch.int8)
    return codes.flatten()[: tensor.numel()].view_as(tensor).contiguous(), scales


def _order_header(path: Path) -> None:
    """Rewrites a safetensors file's header with sorted keys: the library writes metadata in random order.

    The header is eight bytes of length, then JSON padded with spaces; sorting does not change the length.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > size:
            raise ModelError(f"{path}: its header of {size} bytes cannot be put in order")
        file.seek(8)
        file.write(text.ljust(size))


@overload
def load(path: str | Path) -> "AnyNetwork": ...
@overload
def load(path: str | Path, build: "Callable[[NetworkConfig], Network]") -> "Network": ...
def load(path: str | Path, build: "Callable[[NetworkConfig], Any] | None" = None) -> Any:
    """The network in a ``.safetensors`` file written by `save`, in float32 and evaluation mode.

    Args:
        path: the file.
        build: builds a network of your own from the config in the file; by default the network that the config
            describes, a `MetaTasNet` or a `MetaUNet` of `hyperstem.network`, is built.

    Raises:
        ModelError: the file is missing, damaged or foreign, or its tensors are not those of its config.
    """
    from hyperstem import network as networks

    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise ModelError(
            f"{path} is no hyperstem model: its metadata says {metadata.get('format', 'nothing')!r}, "
            f"expected {FORMAT!r}"
        )
    network = (build or networks.build)(config_from_json(metadata["config"], str(path)))
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit its own config: {' '.join(str(error).split())}") from None
    return network.eval()
