"""The paper authors' checkpoint format: a stored case, random checkpoints of any size, and what they should give.

`separate` computes, in plain float64 and from their own key names, what a network of theirs does. Nothing of it is
shared with the package: every stem's convolutions run on their own, and norms and STFT are spelled out.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

STORED = Path(__file__).with_name("authors_generated.npz")
ARGS = {
    "B": 16,
    "E_1": 8,
    "E_2": 5,
    "filters": 3,
    "H": 24,
    "independent_params": False,
    "kernel": 3,
    "L": 20,
    "layers": 2,
    "N": 32,
    "num_mels": 16,
    "residual_bias": False,
    "sampling_rate": 8000,
    "stack": 2,
    "stages_num": 2,
    "W": 20,
    "time_length": 8,
}


class Stored(NamedTuple):
    """A case from the authors' program: checkpoint, inputs, and every `every`-th frame or sample of what came out."""

    args: dict[str, Any]
    state: dict[str, Tensor]
    arrays: dict[str, np.ndarray]
    peaks: dict[str, float]
    every: int


def stored() -> Stored:
    """The case in tests/helpers: all its numbers as the four bytes of a float32 in planes, which compress better."""
    with np.load(STORED) as file:
        facts, planes = json.loads(str(file["facts"])), file["bytes"]
    numbers = torch.from_numpy(np.ascontiguousarray(planes.T).view("<f4").reshape(-1).astype(np.float32))
    sizes = [math.prod(shape) for _, shape in facts["arrays"]]
    named = {
        name: part.reshape(shape) for (name, shape), part in zip(facts["arrays"], numbers.split(sizes), strict=True)
    }
    state = {name.removeprefix("state."): part.clone() for name, part in named.items() if name.startswith("state.")}
    arrays = {name: part.numpy() for name, part in named.items() if not name.startswith("state.")}
    return Stored(facts["args"], state, arrays, facts["peaks"], facts["every"])


def write(path: Path, args: dict[str, Any], state: dict[str, Tensor]) -> Path:
    """A checkpoint file in their format."""
    torch.save({"state_dict": state, "args": argparse.Namespace(**args), "optimizer": {}, "epoch": 1, "steps": 2}, path)
    return path


def random_state(args: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """A state_dict of random tensors for `args`."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int, spread: float = 0.3, around: float = 0.0) -> None:
        state[name] = around + spread * torch.randn(shape, generator=generator)

    def conv(base: str, inside: int, outside: int, taps: int = 1, bias: bool = False, depthwise: bool = False) -> None:
        per_output = taps if depthwise else inside * taps
        if args["independent_params"]:
            add(f"{base}.conv.weight", 4 * outside, 1 if depthwise else inside, taps)
            if bias:
                add(f"{base}.conv.bias", 4 * outside)
            return
        bottleneck(base)
        linear(f"{base}.kernel", outside * per_output)
        if bias:
            linear(f"{base}.bias", outside)

    def norm(base: str, channels: int) -> None:
        if args["independent_params"]:
            add(f"{base}.group_norm.weight", 4 * channels, around=1.0)
            add(f"{base}.group_norm.bias", 4 * channels)
            return
        bottleneck(base)
        linear(f"{base}.affine", 2 * channels, around=0.5)

    def bottleneck(base: str) -> None:
        if args["E_1"] is None:
            add(f"{base}.bottleneck", 4, args["E_2"])
        else:
            add(f"{base}.bottleneck.weight", args["E_2"], args["E_1"])
            add(f"{base}.bottleneck.bias", args["E_2"])

    def linear(base: str, outputs: int, around: float = 0.0) -> None:
        add(f"{base}.weight", outputs, args["E_2"])
        add(f"{base}.bias", outputs, around=around)

    def slope(base: str) -> None:
        add(f"{base}.weight", 1, spread=0.1, around=0.25)

    for i in range(args["stages_num"]):
        base, scale = f"stages.{i}", 2**i * args["sampling_rate"] // 8000
        latent, bins = args["N"] * 2**i, 512 * scale + 1
        widths = [latent // 2 ** (k + 1) for k in range(args["filters"])]
        spectrogram = f"{base}.encoder.spectrogram"
        state[f"{spectrogram}.window"] = torch.hann_window(1024 * scale)
        add(f"{spectrogram}.mean", 1, bins, 1)
        state[f"{spectrogram}.std"] = 1 + torch.rand(1, bins, 1, generator=generator)
        add(f"{spectrogram}.affine_bias", 1, bins, 1)
        add(f"{spectrogram}.affine_scale", 1, bins, 1, around=1.0)
        add(f"{spectrogram}.mel_transform.weight", args["num_mels"], bins, 1, spread=0.05)
        add(f"{spectrogram}.mel_transform.bias", args["num_mels"])
        for k, width in enumerate(widths):
            kernel = args["L"] * 2 ** (i + k)
            add(f"{base}.encoder.filters.{k}.weight", latent // 4, 1, kernel)
            add(f"{base}.decoder.filters.{k}.weight", width, 1, kernel)
        add(f"{base}.encoder.bottleneck.0.weight", latent, args["filters"] * (latent // 4) + args["num_mels"], 1)
        add(f"{base}.encoder.bottleneck.2.weight", latent, latent, 1)
        add(f"{base}.decoder.bottleneck.0.weight", latent, sum(widths), 1)
        entry = latent + (latent // 2 if i else 0)
        norm(f"{base}.mask.norm_1", entry)
        conv(f"{base}.mask.in_conv", entry, args["B"])
        norm(f"{base}.mask.norm_2", args["B"])
        for t in range(args["layers"] * args["stack"]):
            block = f"{base}.mask.tcn.{t}"
            conv(f"{block}.conv1d", args["B"], args["H"])
            norm(f"{block}.norm_1", args["H"])
            conv(f"{block}.dconv1d", args["H"], args["H"], args["kernel"], depthwise=True)
            norm(f"{block}.norm_2", args["H"])
            for layer in ("res_out", "skip_out"):
                conv(f"{block}.{layer}", args["H"], args["B"], bias=args["residual_bias"])
            slope(f"{block}.prelu_1")
            slope(f"{block}.prelu_2")
        norm(f"{base}.mask.norm_3", args["B"])
        conv(f"{base}.mask.mask_output", args["B"], latent)
        norm(f"{base}.mask.norm_4", latent)
        for number in range(1, 5):
            slope(f"{base}.mask.prelu_{number}")
        if args["E_1"] is not None and not args["independent_params"]:
            add(f"{base}.instrument_embedding.weight", 4, args["E_1"], spread=1.0)
    return state


class Result(NamedTuple):
    """One stage of `separate`, in float64."""

    encoder: Tensor
    masked_latent: Tensor
    separated: Tensor


def separate(args: dict[str, Any], state: dict[str, Tensor], pyramid: list[Tensor]) -> list[Result]:
    """What their network gives for mixtures (batch, time_i), time_i a multiple of the hop."""
    wide = {name: tensor.double() for name, tensor in state.items()}
    results: list[Result] = []
    for i, wave in enumerate(pyramid):
        part = {
            name.removeprefix(f"stages.{i}."): tensor
            for name, tensor in wide.items()
            if name.startswith(f"stages.{i}.")
        }
        stage = _Stage(args, part, 2**i)
        previous = results[-1].masked_latent if results else None
        latent = stage.encode(wave.double())
        masked = torch.stack(
            [stage.scores(latent, None if previous is None else previous[:, stem], stem) for stem in range(4)], 1
        ).softmax(1) * latent.unsqueeze(1)
        results.append(Result(latent, masked, torch.stack([stage.decode(masked[:, stem]) for stem in range(4)], 1)))
    return results


class _Stage:
    def __init__(self, args: dict[str, Any], state: dict[str, Tensor], scale: int) -> None:
        self.args, self.state, self.hop = args, state, args["W"] * scale
        self.n_fft = 1024 * (scale * args["sampling_rate"] // 8000)

    def encode(self, wave: Tensor) -> Tensor:
        outputs = []
        for k in range(self.args["filters"]):
            weight = self.state[f"encoder.filters.{k}.weight"]
            padding = (weight.shape[-1] - self.hop) // 2
            outputs.append(F.conv1d(wave.unsqueeze(1), weight, stride=self.hop, padding=padding).relu())
        latent = torch.stack(outputs, 2).flatten(1, 2)  # channel 0 of every kernel, channel 1 of every kernel, ...
        latent = torch.cat([latent, self.spectrogram(wave, latent.shape[-1])], 1)
        latent = F.conv1d(latent, self.state["encoder.bottleneck.0.weight"]).relu()
        return F.conv1d(latent, self.state["encoder.bottleneck.2.weight"])

    def spectrogram(self, wave: Tensor, frames: int) -> Tensor:
        n, named = (
            self.n_fft,
            {
                name: self.state[f"encoder.spectrogram.{name}"]
                for name in ("mean", "std", "affine_scale", "affine_bias")
            },
        )
        padded = F.pad(wave.unsqueeze(1), (n // 2, n // 2), mode="reflect").squeeze(1)
        cut = padded.unfold(1, n, n // 4) * torch.hann_window(n, dtype=torch.float64)
        power = torch.log10(torch.fft.rfft(cut).abs().square() + 1e-8).transpose(1, 2)
        features = (power - named["mean"]) / named["std"] * named["affine_scale"] + named["affine_bias"]
        mels = F.conv1d(
            features,
            self.state["encoder.spectrogram.mel_transform.weight"],
            self.state["encoder.spectrogram.mel_transform.bias"],
        )
        return F.interpolate(mels, size=frames, mode="linear", align_corners=True)

    def decode(self, latent: Tensor) -> Tensor:
        split = self.state["decoder.bottleneck.0.weight"]
        latent = F.conv_transpose1d(latent, split).relu()
        filters = [self.state[f"decoder.filters.{k}.weight"] for k in range(self.args["filters"])]
        parts = latent.split([weight.shape[0] for weight in filters], 1)
        return sum(
            F.conv_transpose1d(part, weight, stride=self.hop, padding=(weight.shape[-1] - self.hop) // 2)
            for part, weight in zip(parts, filters, strict=True)
        ).squeeze(1)

    def scores(self, latent: Tensor, previous: Tensor | None, stem: int) -> Tensor:
        x = latent if previous is None else torch.cat([latent, previous], 1)
        x = self.conv("in_conv", self.norm("norm_1", self.prelu("prelu_1", x), stem), stem)
        x = self.norm("norm_2", self.prelu("prelu_2", x), stem)
        skips = 0
        for t in range(self.args["layers"] * self.args["stack"]):
            y = self.norm(
                f"tcn.{t}.norm_1", self.prelu(f"tcn.{t}.prelu_1", self.conv(f"tcn.{t}.conv1d", x, stem)), stem
            )
            y = self.conv(f"tcn.{t}.dconv1d", y, stem, dilation=2 ** (t % self.args["layers"]))
            y = self.norm(f"tcn.{t}.norm_2", self.prelu(f"tcn.{t}.prelu_2", y), stem)
            x = x + self.conv(f"tcn.{t}.res_out", y, stem)
            skips = skips + self.conv(f"tcn.{t}.skip_out", y, stem)
        x = self.conv("mask_output", self.norm("norm_3", self.prelu("prelu_3", skips), stem), stem)
        return self.norm("norm_4", self.prelu("prelu_4", x), stem)

    def generated(self, base: str, head: str, stem: int) -> Tensor | None:
        """theta = W (P e + p) + w of one stem."""
        if f"mask.{base}.{head}.weight" not in self.state:
            return None
        if self.args["E_1"] is None:
            code = self.state[f"mask.{base}.bottleneck"][stem]
        else:
            embedding = self.state["instrument_embedding.weight"][stem]
            code = self.state[f"mask.{base}.bottleneck.weight"] @ embedding + self.state[f"mask.{base}.bottleneck.bias"]
        return self.state[f"mask.{base}.{head}.weight"] @ code + self.state[f"mask.{base}.{head}.bias"]

    def conv(self, base: str, x: Tensor, stem: int, dilation: int | None = None) -> Tensor:
        groups = 1 if dilation is None else x.shape[1]
        if self.args["independent_params"]:
            weight = self.state[f"mask.{base}.conv.weight"].chunk(4)[stem]
            bias = self.state.get(f"mask.{base}.conv.bias")
            bias = None if bias is None else bias.chunk(4)[stem]
        else:
            taps = 1 if dilation is None else self.args["kernel"]
            weight = self.generated(base, "kernel", stem).reshape(-1, x.shape[1] // groups, taps)
            bias = self.generated(base, "bias", stem)
        dilation = dilation or 1
        return F.conv1d(x, weight, bias, groups=groups, dilation=dilation, padding=dilation * (weight.shape[-1] // 2))

    def norm(self, base: str, x: Tensor, stem: int) -> Tensor:
        if self.args["independent_params"]:
            scale, shift = (self.state[f"mask.{base}.group_norm.{name}"].chunk(4)[stem] for name in ("weight", "bias"))
        else:
            scale, shift = self.generated(base, "affine", stem).chunk(2)
        grouped = x.unflatten(1, (8, -1))
        mean, power = grouped.mean((2, 3), keepdim=True), grouped.square().mean((2, 3), keepdim=True)
        normed = ((grouped - mean) / (power - mean.square() + 1e-8).sqrt()).flatten(1, 2)
        return normed * scale.unsqueeze(-1) + shift.unsqueeze(-1)

    def prelu(self, base: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self.state[f"mask.{base}.weight"])
