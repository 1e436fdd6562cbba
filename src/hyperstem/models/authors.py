"""The paper authors' checkpoints, read safely into a MetaTasNet.

Their ``.pt`` files are pickles of a dict with ``state_dict`` and ``args``, an ``argparse.Namespace``. Only tensors,
plain values and that one class are allowed; a file with anything else is refused before any of it is executed.
"""

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hyperstem.config import STEMS, ConfigError, ModelConfig
from hyperstem.errors import ModelError
from hyperstem.network import MetaTasNet

_STEMS = len(STEMS)
# Our names to theirs.
_BLOCK_NAMES = {
    "expand": "conv1d",
    "expand_slope": "prelu_1",
    "expand_norm": "norm_1",
    "dilated": "dconv1d",
    "dilated_slope": "prelu_2",
    "dilated_norm": "norm_2",
    "residual": "res_out",
    "skip": "skip_out",
}
_MASK_NAMES = {
    "entry_slope": "prelu_1",
    "entry_norm": "norm_1",
    "entry": "in_conv",
    "stream_slope": "prelu_2",
    "stream_norm": "norm_2",
    "skip_slope": "prelu_3",
    "skip_norm": "norm_3",
    "exit": "mask_output",
    "exit_slope": "prelu_4",
    "exit_norm": "norm_4",
}
_OTHER_NAMES = {
    "encoder.join.weight": "encoder.bottleneck.0.weight",
    "encoder.mix.weight": "encoder.bottleneck.2.weight",
    "decoder.split.weight": "decoder.bottleneck.0.weight",
    "encoder.spectrogram.projection.weight": "encoder.spectrogram.mel_transform.weight",
    "encoder.spectrogram.projection.bias": "encoder.spectrogram.mel_transform.bias",
    "encoder.spectrogram.mean": "encoder.spectrogram.mean",
    "encoder.spectrogram.std": "encoder.spectrogram.std",
    "encoder.spectrogram.scale": "encoder.spectrogram.affine_scale",
    "encoder.spectrogram.shift": "encoder.spectrogram.affine_bias",
    "embedding": "instrument_embedding.weight",
}


class Conversion(NamedTuple):
    """A converted network and the number of tensors that were converted."""

    network: MetaTasNet
    matched: int


def load_authors_checkpoint(path: str | Path) -> MetaTasNet:
    """The network in one of the paper authors' checkpoints.

    Args:
        path: their ``.pt`` file; generated or independent parameters, with or without residual bias, any sizes.

    Raises:
        ModelError: the file is missing, is not such a checkpoint or has anything but tensors and settings, or a
            tensor is missing, unused or of the wrong shape (the message names it).
    """
    return convert(path).network


def convert(path: str | Path) -> Conversion:
    """Like `load_authors_checkpoint`, but also returns the number of tensors."""
    checkpoint = read_checkpoint(Path(path))
    args, state = vars(checkpoint["args"]), dict(checkpoint["state_dict"])
    network = MetaTasNet(model_config(args, state, path))
    ours, reader = network.state_dict(), _Reader(state, path)
    converted = {name: reader.tensor(source, ours[name].shape) for name, source in _sources(network.config, args, ours)}
    reader.finish()
    network.load_state_dict(converted, strict=True)
    return Conversion(network.eval(), len(state))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's dict with ``args`` and ``state_dict``; nothing in it is executed.

    Raises:
        ModelError: see `load_authors_checkpoint`.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warnings about foreign files; our own errors follow
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        blocked = re.search(r"\bGLOBAL (\S+)", str(error))
        asks = f": it asks for {blocked.group(1)}" if blocked else ""
        raise ModelError(
            f"{path} is refused: an authors' checkpoint holds only tensors and an argparse.Namespace"
            f"{asks}; nothing in it was run"
        ) from None
    except Exception as error:  # torch.load's errors have no common base
        raise ModelError(f"{path} is no readable checkpoint ({type(error).__name__})") from None
    if not isinstance(checkpoint, dict):
        raise ModelError(f"{path} holds a {type(checkpoint).__name__}; expected a dict with 'state_dict' and 'args'")
    for key, kind in {"state_dict": dict, "args": argparse.Namespace}.items():
        if not isinstance(checkpoint.get(key), kind):
            keys = ", ".join(map(str, checkpoint))
            raise ModelError(f"{path} has no {key!r} that is a {kind.__name__}; its keys are {keys}")
    for name, tensor in checkpoint["state_dict"].items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ModelError(f"{path}: {name!r} in its state_dict is a {kind}; expected a floating-point tensor")
    return checkpoint


def model_config(args: dict[str, Any], state: dict[str, Tensor], path: str | Path) -> ModelConfig:
    """Our config for their arguments (our names = theirs: latent_dim N, kernel L, hop W, ...)."""
    names = ["N", "L", "W", "B", "H", "E_2", "filters", "layers", "stack", "stages_num", "num_mels", "kernel"]
    names += ["sampling_rate", "independent_params", "residual_bias"]
    missing = [name for name in names if name not in args]
    if missing:
        raise ModelError(f"{path}: its args lack {', '.join(missing)}")
    wrong = [name for name in names if type(args[name]) is not (bool if name in names[-2:] else int)]
    if wrong and not (wrong == ["E_2"] and args["independent_params"]):
        given = ", ".join(f"{name} = {args[name]!r}" for name in wrong)
        raise ModelError(f"{path}: its args give {given}; expected whole numbers (true or false for the last two)")
    independent, embedding, seconds = args["independent_params"], args.get("E_1"), args.get("time_length", 8)
    if type(embedding) not in (int, type(None)) or type(seconds) not in (int, float):
        raise ModelError(f"{path}: its args give E_1 = {embedding!r}, time_length = {seconds!r}; expected numbers")
    _check_size(args, state, path)
    window = state.get("stages.0.encoder.spectrogram.window")
    factors = _stft_factors(args["sampling_rate"], args["stages_num"], path)
    if window is not None and window.numel() != 1024 * factors[0]:
        raise ModelError(f"{path}: its first STFT window has {window.numel()} samples; expected {1024 * factors[0]}")
    doubled = all(factor == factors[0] << i for i, factor in enumerate(factors))
    try:
        return ModelConfig(
            base_rate_hz=args["sampling_rate"],
            stages=args["stages_num"],
            latent_dim=args["N"],
            kernels=tuple(args["L"] << i for i in range(args["filters"])),
            hop=args["W"],
            mels=args["num_mels"],
            n_fft=1024 * factors[0] if doubled else tuple(1024 * factor for factor in factors),
            stft_hop=256 * factors[0] if doubled else tuple(256 * factor for factor in factors),
            bottleneck_dim=args["B"],
            hidden_dim=args["H"],
            kernel_size=args["kernel"],
            blocks=args["layers"],
            stacks=args["stack"],
            residual_bias=args["residual_bias"],
            parameters="independent" if independent else "generated",
            embedding_dim=_STEMS if independent or embedding is None else embedding,
            embedding_bottleneck=5 if independent else args["E_2"],
            segment_s=float(seconds),
        )
    except ConfigError as error:
        raise ModelError(f"{path}: its args give no network: {error}") from None


def _stft_factors(rate_hz: int, stages: int, path: str | Path) -> list[int]:
    """Factor on their STFT's 1024 samples in each stage: the stage's rate over 8 kHz, rounded down."""
    if rate_hz < 8000 or not 1 <= stages <= 4:
        raise ModelError(f"{path}: its args give {stages} stages from {rate_hz} Hz; 1 to 4 from 8000 Hz are expected")
    return [(rate_hz << i) // 8000 for i in range(stages)]


def _check_size(args: dict[str, Any], state: dict[str, Tensor], path: str | Path) -> None:
    """Refuses sizes for which the file has too few numbers, before memory is allocated for them."""
    held = sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in state.values())
    blocks, filters = args["layers"] * args["stack"], args["filters"]
    least = {
        "filters": filters,
        "N * N": args["N"] ** 2,
        "N * num_mels": args["N"] * args["num_mels"],
        "num_mels * bins": args["num_mels"] * args["sampling_rate"] // 16,
        "N * L * filters": args["N"] * args["L"] * filters // 4,
        "layers * stack * B * H": blocks * args["B"] * args["H"],
        "layers * stack * H * kernel": blocks * args["H"] * args["kernel"],
    }
    if not args["independent_params"]:
        least |= {"E_1 * E_2": (args.get("E_1") or 1) * args["E_2"], "E_2 * B * H": args["E_2"] * args["B"] * args["H"]}
    for name, size in least.items():
        if size > held:
            raise ModelError(f"{path}: its args ask for {name} = {size} numbers, but its tensors hold {held}")


class _Reader:
    """Reads the checkpoint's tensors and remembers which are unused."""

    def __init__(self, state: dict[str, Tensor], path: str | Path) -> None:
        self.state, self.path, self.unread = state, path, set(state)

    def raw(self, name: str) -> Tensor:
        if name not in self.state:
            raise ModelError(f"{self.path}: tensor {name} is missing")
        self.unread.discard(name)
        return self.state[name]

    def tensor(self, source: "_Source", shape: torch.Size) -> Tensor:
        value = None
        with suppress(RuntimeError, IndexError):  # from missing axes
            value = source.read(self)
        fitting = [size for size in shape if size != 1]  # theirs have more axes of size one
        if value is None or list(value.squeeze().shape) != fitting:
            given = ", ".join(f"{name} has shape {tuple(self.state[name].shape)}" for name in source.names)
            raise ModelError(f"{self.path}: tensor {given}, which does not fit {tuple(shape)}")
        return value.reshape(shape).float()

    def finish(self) -> None:
        left = sorted(name for name in self.unread if not name.endswith("spectrogram.window"))
        if left:
            raise ModelError(f"{self.path}: tensors that belong to no part of the network: {', '.join(left)}")


class _Source(NamedTuple):
    """How one of our tensors is computed from theirs."""

    names: tuple[str, ...]
    how: str = "as is"
    count: int = 1
    """Length of a tensor of zeros, or channels of each encoder kernel."""
    kernels: int = 1

    def read(self, reader: _Reader) -> Tensor:
        if self.how == "identity":  # no embeddings there: each layer has a code for each stem
            return torch.eye(_STEMS)
        if self.how == "zeros":
            return torch.zeros(self.count)
        tensors = [reader.raw(name) for name in self.names]
        if self.how == "transposed":
            return tensors[0].transpose(0, 1)
        if self.how == "scale and shift":  # (stem * channel) twice to (stem, 2, channel)
            return torch.stack([tensor.reshape(_STEMS, -1) for tensor in tensors], 1)
        if self.how == "by stem":  # (stem * out, ...) to (stem, out, ...)
            return tensors[0].unflatten(0, (_STEMS, -1))
        if self.how == "join":
            return _deinterleaved(tensors[0], self.count, self.kernels)
        return tensors[0]


def _deinterleaved(weight: Tensor, channels: int, kernels: int) -> Tensor:
    """Reorders columns from interleaved kernels (channel 0 of each, channel 1 of each, ...) to one after another."""
    filters, mels = weight[:, : kernels * channels], weight[:, kernels * channels :]
    return torch.cat([filters.unflatten(1, (channels, kernels)).transpose(1, 2).flatten(1, 2), mels], 1)


def _sources(config: ModelConfig, args: dict[str, Any], ours: dict[str, Tensor]) -> Iterator[tuple[str, _Source]]:
    """The source of each of our tensors."""
    coded = args.get("E_1") is None and not args["independent_params"]
    for name, tensor in ours.items():
        _, stage, part = name.split(".", 2)
        prefix = f"stages.{stage}."
        if part == "encoder.join.weight":
            width = config.stage_configs[int(stage)].encoder_channels
            source = _Source((prefix + _OTHER_NAMES[part],), "join", width, len(config.kernels))
        elif part == "embedding" and coded:
            source = _Source((), "identity")
        elif part in _OTHER_NAMES:
            how = "transposed" if part == "decoder.split.weight" else "as is"
            source = _Source((prefix + _OTHER_NAMES[part],), how)
        elif part.startswith(("encoder.filters.", "decoder.filters.")):
            source = _Source((name,))
        else:
            source = _masking_source(prefix, part, tensor.shape, coded)
        yield name, source


def _masking_source(prefix: str, part: str, shape: torch.Size, coded: bool) -> _Source:
    """The source of a tensor of the masking network."""
    found = re.fullmatch(r"masking\.(?:blocks\.(\d+)\.)?(\w+)\.?(.*)", part)
    block, layer, rest = found.groups() if found else (None, part, "")
    names = _MASK_NAMES if block is None else _BLOCK_NAMES
    base = f"{prefix}mask.{'' if block is None else f'tcn.{block}.'}{names[layer]}"
    if not rest:
        return _Source((f"{base}.weight",))  # a PReLU's slope
    role, _, field = rest.partition(".")  # e.g. kernel, bottleneck.weight
    if field == "weights":  # independent weights
        if role == "scale_shift":
            return _Source((f"{base}.group_norm.weight", f"{base}.group_norm.bias"), "scale and shift")
        return _Source((f"{base}.conv.{'weight' if role == 'kernel' else 'bias'}",), "by stem")
    if field.startswith("bottleneck"):
        if not coded:
            return _Source((f"{base}.{field}",))
        if field.endswith("bias"):
            return _Source((), "zeros", shape.numel())
        return _Source((f"{base}.bottleneck",), "transposed")
    head = {"scale_shift": "affine", "kernel": "kernel", "bias": "bias"}[role]
    return _Source((f"{base}.{head}.{field.rpartition('.')[2]}",))
