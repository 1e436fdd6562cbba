"""A network as one ONNX file, its generator folded into constants.

The graph is written node by node rather than traced: the operators are the ones that onnxruntime runs fastest (1x1 and
depthwise ``Conv``, ``InstanceNormalization``, ``LeakyRelu``), batch and length stay free, and nothing of the embeddings or
of the generator's maps can remain in it.

Inputs are ``wave{i}`` (batch, channel, time_i); outputs, per stage i, ``stems{i}`` (batch, stem, channel, time_i),
``latent{i}`` (batch, stem, latent, frame) and ``mixture{i}`` (batch, channel, time_i).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from torch import Tensor, nn

from hyperstem.config import ModelConfig, StageConfig
from hyperstem.errors import ModelError
from hyperstem.graph import Graph
from hyperstem.model import MetaTasNet, Stage
from hyperstem.model.encoder import frame_padding
from hyperstem.model.generator import NORM_EPS, StemConv, StemNorm
from hyperstem.model.masking import Block, Masking
from hyperstem.model.spectrogram import POWER_FLOOR, Spectrogram
from hyperstem.weights import FORMAT, config_to_json, replacing

OPSET, IR_VERSION = 20, 9


class _Sizes(NamedTuple):
    """What stays the same throughout one stage's graph."""

    config: ModelConfig
    stage: StageConfig
    frames: str

    @property
    def stems(self) -> int:
        return len(self.config.stems)


def export(
    network: MetaTasNet, path: str | Path, stages: int | None = None, stems: Sequence[str] | None = None
) -> None:
    """Writes a network as ONNX, whole or not at all.

    Args:
        network: the network; it is left as it is.
        path: the ``.onnx`` file.
        stages: how many of its stages to write, from the first; all by default.
        stems: which stems to decode, in this order; all by default. (Masks always need every stem's extractor.)

    Raises:
        ModelError: `stems` names an unknown stem.
        ConfigError: `stages` is out of range.
    """
    model = build(network, stages, stems)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(model.SerializeToString())


def build(network: MetaTasNet, stages: int | None = None, stems: Sequence[str] | None = None) -> onnx.ModelProto:
    """The ONNX model that `export` writes; see there."""
    config = network.config.first_stages(stages or network.config.stages)
    chosen = tuple(stems or config.stems)
    for stem in chosen:
        if stem not in config.stems:
            raise ModelError(f"no stem {stem!r}; this model separates {', '.join(config.stems)}")
    folded = network.folded().float()
    graph = Graph("hyperstem")
    waves = [graph.input(f"wave{i}", ["batch", config.audio_channels, f"time{i}"]) for i in range(config.stages)]
    times = [graph.op("Shape", wave, start=2) for wave in waves]
    frames = _frames(graph, config, times)
    previous = None
    for i, (wave, time) in enumerate(zip(waves, times, strict=True)):
        sizes = _Sizes(config, config.stage_configs[i], frames)
        previous = _stage(graph, sizes, folded.stages[i], wave, time, previous, chosen, i)
    return graph.model(OPSET, IR_VERSION, {"format": FORMAT, "config": config_to_json(config), "stems": ",".join(chosen)})


def _frames(graph: Graph, config: ModelConfig, times: list[str]) -> str:
    """Latent frames as `ModelConfig.frames` counts them, (1,) int64."""
    frames = graph.ints(-(-(config.n_fft // 2 + 1) // config.hop))
    for stage, time in zip(config.stage_configs, times, strict=True):
        whole = graph.op("Div", graph.op("Add", time, graph.ints(stage.hop - 1)), graph.ints(stage.hop))
        frames = graph.op("Max", frames, whole)
    return frames


def _stage(
    graph: Graph, sizes: _Sizes, stage: Stage, wave: str, time: str, previous: str | None, chosen: tuple[str, ...], index: int
) -> str:
    """One stage; gives the masked latent (batch, stem, latent, frame)."""
    latent = _encoder(graph, sizes, stage.encoder, wave, time)                  # (batch, latent, frame)
    masks = _masking(graph, sizes, stage.masking, latent, previous)             # (batch, stem, latent, frame)
    masked = graph.op("Mul", masks, graph.op("Unsqueeze", latent, graph.ints(1)), name=f"latent{index}")
    picked = masked
    if chosen != sizes.config.stems:
        order = [sizes.config.stems.index(stem) for stem in chosen]
        picked = graph.op("Gather", masked, graph.ints(*order), axis=1)
    channels = sizes.config.audio_channels
    stems = _decoder(graph, sizes, stage.decoder, picked, time)
    graph.output(stems, f"stems{index}", ["batch", len(chosen), channels, f"time{index}"])
    graph.output(masked, f"latent{index}", ["batch", sizes.stems, sizes.stage.latent_dim, "frames"])
    mixture = _decoder(graph, sizes, stage.decoder, graph.op("Unsqueeze", latent, graph.ints(1)), time)
    graph.output(graph.op("Squeeze", mixture, graph.ints(1)), f"mixture{index}", ["batch", channels, f"time{index}"])
    return masked


def _encoder(graph: Graph, sizes: _Sizes, encoder: nn.Module, wave: str, time: str) -> str:
    hop = sizes.stage.hop
    whole = graph.op("Mul", sizes.frames, graph.ints(hop))
    pads = graph.op("Concat", graph.ints(0, 0, 0, 0, 0), graph.op("Sub", whole, time), axis=0)
    wave = graph.op("Pad", wave, pads)                                          # (batch, channel, frames * hop)
    features = []
    for layer in encoder.filters:
        weight = _array(layer.weight)                                           # (width, channel, kernel)
        before, after = frame_padding(weight.shape[-1], hop)
        weight = np.pad(weight, ((0, 0), (0, 0), (max(-before, 0), max(-after, 0))))
        convolved = graph.op("Conv", wave, graph.floats(weight), strides=[hop], pads=[max(before, 0), max(after, 0)])
        features.append(graph.op("Relu", convolved))
    features.append(_spectrogram(graph, sizes, encoder.spectrogram, wave, whole))
    joined = graph.op("Concat", *features, axis=1)
    joined = graph.op("Relu", graph.op("Conv", joined, graph.floats(_array(encoder.join.weight))))
    return graph.op("Conv", joined, graph.floats(_array(encoder.mix.weight)))


def _spectrogram(graph: Graph, sizes: _Sizes, spectrogram: Spectrogram, wave: str, whole: str) -> str:
    """Features (batch, mels, frame) from waveforms (batch, channel, whole)."""
    n_fft, hop, channels = sizes.stage.n_fft, sizes.stage.stft_hop, sizes.config.audio_channels
    half = n_fft // 2
    padded = graph.op("Pad", wave, graph.ints(0, 0, half, 0, 0, half), mode="reflect")
    spectra = graph.op("Add", graph.op("Div", whole, graph.ints(hop)), graph.ints(1))
    frames = _cut_frames(graph, padded, spectra, n_fft, hop, channels)          # (batch, channel, spectrum, n_fft)
    power, bins = _power_spectrum(graph, frames, n_fft)                         # bins in the order `bins`
    log_power = graph.op("Mul", graph.op("Log", graph.op("Add", power, graph.floats(POWER_FLOOR))),
                         graph.floats(1 / np.log(10)))
    weight, bias = (_array(part) for part in spectrogram.affine_projection())
    weight = weight.reshape(-1, channels, half + 1).transpose(1, 2, 0)          # (channel, bin, mels)
    placed = np.zeros((channels, len(bins), weight.shape[-1]), np.float32)
    placed[:, bins <= half] = weight[:, bins[bins <= half]]
    features = graph.op("MatMul", log_power, graph.floats(placed))              # (batch, channel, spectrum, mels)
    features = graph.op("ReduceSum", features, graph.ints(1), keepdims=0)
    features = graph.op("Add", features, graph.floats(bias))
    return graph.op("Transpose", _stretch(graph, features, spectra, sizes.frames), perm=[0, 2, 1])


def _cut_frames(graph: Graph, wave: str, count: str, length: int, hop: int, channels: int) -> str:
    """Overlapping frames (batch, channel, count, length) of a waveform, `hop` apart, copied in the longest common pieces."""
    piece = int(np.gcd(length, hop))
    reach = graph.op("Add", graph.op("Mul", graph.op("Sub", count, graph.ints(1)), graph.ints(hop)), graph.ints(length))
    cut = graph.op("Slice", wave, graph.ints(0), reach, graph.ints(2))
    pieces = graph.op("Reshape", cut, graph.ints(0, channels, -1, piece))
    starts = graph.op("Mul", _range(graph, count), graph.ints(hop // piece))
    offsets = graph.constant(np.arange(length // piece, dtype=np.int64))
    index = graph.op("Add", graph.op("Unsqueeze", starts, graph.ints(1)), offsets)
    gathered = graph.op("Gather", pieces, index, axis=2)                        # (batch, channel, count, pieces, piece)
    return graph.op("Reshape", gathered, graph.ints(0, channels, -1, length))


def _power_spectrum(graph: Graph, frames: str, n_fft: int) -> tuple[str, np.ndarray]:
    """Power of windowed frames (..., n_fft), and the bin that each of its columns holds.

    A Fourier transform of length rows * columns in two steps of matrix products (Cooley and Tukey, 1965): the operators
    of the ONNX standard for it are slow, and a whole Fourier basis would be large.
    """
    rows = max(divisor for divisor in range(1, int(n_fft**0.5) + 1) if n_fft % divisor == 0)
    columns = n_fft // rows
    kept = columns // 2 + 1
    row, column = np.arange(rows), np.arange(columns)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    first = np.exp(-2j * np.pi * np.outer(row, row) / rows)                     # (row frequency, row)
    twiddle = np.exp(-2j * np.pi * np.outer(row, column) / n_fft)               # (row frequency, column)
    second = np.exp(-2j * np.pi * np.outer(column, np.arange(kept)) / columns)  # (column, column frequency)

    grid = graph.op("Reshape", graph.op("Mul", frames, graph.floats(window)), graph.ints(0, 0, 0, rows, columns))
    partial = graph.op("MatMul", graph.floats(np.concatenate([first.real, first.imag])), grid)
    real, imag = graph.split(partial, [rows, rows], axis=-2)
    turned_real = graph.op("Sub", graph.op("Mul", real, graph.floats(twiddle.real)),
                           graph.op("Mul", imag, graph.floats(twiddle.imag)))
    turned_imag = graph.op("Add", graph.op("Mul", real, graph.floats(twiddle.imag)),
                           graph.op("Mul", imag, graph.floats(twiddle.real)))
    basis = np.block([[second.real, second.imag], [-second.imag, second.real]])
    spectrum = graph.op("MatMul", graph.op("Concat", turned_real, turned_imag, axis=-1), graph.floats(basis))
    real, imag = graph.split(spectrum, [kept, kept], axis=-1)                   # (..., row frequency, column frequency)
    power = graph.op("Add", graph.op("Mul", real, real), graph.op("Mul", imag, imag))
    bins = (row[:, None] + rows * np.arange(kept)).reshape(-1)
    return graph.op("Reshape", power, graph.ints(0, 0, 0, len(bins))), bins


def _stretch(graph: Graph, features: str, count: str, frames: str) -> str:
    """Linear interpolation of (batch, count, mels) to (batch, frames, mels), first and last in place."""
    last = graph.op("Sub", count, graph.ints(1))
    step = graph.op("Div", graph.as_float(last), graph.as_float(graph.op("Sub", frames, graph.ints(1))))
    position = graph.op("Mul", graph.as_float(_range(graph, frames)), step)     # (frames,)
    left = graph.op("Min", graph.as_int(graph.op("Floor", position)), last)
    right = graph.op("Min", graph.op("Add", left, graph.ints(1)), last)
    share = graph.op("Unsqueeze", graph.op("Sub", position, graph.as_float(left)), graph.ints(1))
    start, end = (graph.op("Gather", features, index, axis=1) for index in (left, right))
    return graph.op("Add", start, graph.op("Mul", graph.op("Sub", end, start), share))


def _range(graph: Graph, count: str) -> str:
    """0, 1, ... count - 1 as int64."""
    scalar = graph.op("Squeeze", count, graph.ints(0))
    return graph.op("Range", graph.constant(np.int64(0)), scalar, graph.constant(np.int64(1)))


def _masking(graph: Graph, sizes: _Sizes, masking: Masking, latent: str, previous: str | None) -> str:
    """Masks (batch, stem, latent, frame); inside, stem and channel share an axis: (batch, stem * channel, frame)."""
    parts = [_prelu(graph, graph.op("Unsqueeze", latent, graph.ints(1)), masking.entry_slope)]
    if previous is not None:
        if masking.joins_previous:
            width = sizes.stems * sizes.stage.previous_dim
            previous = graph.op("Reshape", previous, graph.ints(0, 1, width, -1))
        parts.append(_prelu(graph, previous, masking.entry_slope))
    x = _entry(graph, sizes, masking, parts)
    x = _group_norm(graph, sizes, _prelu(graph, x, masking.stream_slope), masking.stream_norm)
    skips = None
    for block in masking.blocks:
        residual, skip = _block(graph, sizes, block, x)
        x = graph.op("Add", x, residual)
        skips = skip if skips is None else graph.op("Add", skips, skip)
    skips = _standardise(graph, sizes, _prelu(graph, skips, masking.skip_slope), masking.skip_norm)
    scores = _normed_conv(graph, skips, masking.skip_norm, [masking.exit])
    scores = _prelu(graph, scores, masking.exit_slope)
    scores = _group_norm(graph, sizes, scores, masking.exit_norm)
    scores = graph.op("Reshape", scores, graph.ints(0, sizes.stems, sizes.stage.latent_dim, -1))
    # Softmax over the stems, spelled out: onnxruntime's own is ten times slower on an inner axis.
    peak = graph.op("ReduceMax", scores, graph.ints(1), keepdims=1)
    power = graph.op("Exp", graph.op("Sub", scores, peak))
    return graph.op("Div", power, graph.op("ReduceSum", power, graph.ints(1), keepdims=1))


def _entry(graph: Graph, sizes: _Sizes, masking: Masking, parts: list[str]) -> str:
    """Norm and 1x1 of the masking network's input, in parts (batch, stem or 1, channel_p, frame) as in `normed_pointwise`."""
    scale, shift = (_array(part) for part in masking.entry_norm(None))          # (stem, channel)
    kernel = _array(masking.entry(None)[0])                                     # (stem, out, channel)
    stems, out, channels = kernel.shape
    groups, widths = sizes.config.norm_groups, [sizes.stage.latent_dim, channels - sizes.stage.latent_dim][: len(parts)]
    count = graph.as_float(sizes.frames)
    means, powers = [], []
    for part, width in zip(parts, widths, strict=True):
        shape = graph.constant(np.array([1, stems, width], np.int64))
        mean = graph.op("ReduceMean", part, graph.ints(3), keepdims=0)          # (batch, stem or 1, width)
        power = graph.op("Div", graph.op("ReduceSumSquare", part, graph.ints(3), keepdims=0), count)
        means.append(graph.op("Expand", mean, shape))
        powers.append(graph.op("Expand", power, shape))
    per_group = graph.ints(0, stems, groups, channels // groups)

    def over_group(channelwise: list[str]) -> str:
        joined = graph.op("Concat", *channelwise, axis=2) if len(channelwise) > 1 else channelwise[0]
        return graph.op("ReduceMean", graph.op("Reshape", joined, per_group), graph.ints(3), keepdims=1)

    centre = over_group(means)                                                  # (batch, stem, group, 1)
    variance = graph.op("Sub", over_group(powers), graph.op("Mul", centre, centre))
    variance = graph.op("Add", graph.op("Max", variance, graph.floats(0.0)), graph.floats(NORM_EPS))
    grouped = (1, stems, groups, channels // groups)
    gain = graph.op("Div", graph.floats(scale.reshape(grouped)), graph.op("Sqrt", variance))
    offset = graph.op("Sub", graph.floats(shift.reshape(grouped)), graph.op("Mul", gain, centre))
    gain_row = graph.op("Reshape", gain, graph.ints(0, stems, 1, channels))
    offset_column = graph.op("Reshape", offset, graph.ints(0, stems, channels, 1))

    total = graph.op("MatMul", graph.floats(kernel), offset_column)             # (batch, stem, out, 1)
    kernels = graph.op("Mul", graph.floats(kernel), gain_row)                   # (batch, stem, out, channel)
    pieces = graph.split(kernels, widths, axis=3) if len(parts) > 1 else [kernels]
    for i, (part, piece, width) in enumerate(zip(parts, pieces, widths, strict=True)):
        if i == 0:  # one signal for all stems: one product
            flat = graph.op("Reshape", piece, graph.ints(0, 1, stems * out, width))
            product = graph.op("Reshape", graph.op("MatMul", flat, part), graph.ints(0, stems, out, -1))
        else:
            product = graph.op("MatMul", piece, part)
        total = graph.op("Add", product, total)
    return graph.op("Reshape", total, graph.ints(0, stems * out, -1))


def _block(graph: Graph, sizes: _Sizes, block: Block, x: str) -> tuple[str, str]:
    """What a dilated block adds to the residual stream and to the skips, each (batch, stem * bottleneck, frame)."""
    x = _prelu(graph, _conv(graph, x, *block.expand(None)), block.expand_slope)
    x = _group_norm(graph, sizes, x, block.expand_norm)
    kernel = _array(block.dilated(None)[0])                                     # (stem, channel, tap)
    reach = block.dilation * (kernel.shape[-1] // 2)
    x = graph.op("Conv", x, graph.floats(kernel.reshape(-1, 1, kernel.shape[-1])), group=kernel.shape[0] * kernel.shape[1],
                 dilations=[block.dilation], pads=[reach, reach])
    x = _standardise(graph, sizes, _prelu(graph, x, block.dilated_slope), block.dilated_norm)
    return (_normed_conv(graph, x, block.dilated_norm, [block.residual]),
            _normed_conv(graph, x, block.dilated_norm, [block.skip]))


def _conv(graph: Graph, x: str, kernel: Tensor, bias: Tensor | None) -> str:
    """A 1x1 convolution of (batch, stem * in, frame) with each stem's kernel (stem, out, in)."""
    stems = kernel.shape[0]
    inputs = [graph.floats(_array(kernel).reshape(-1, kernel.shape[-1], 1))]
    if bias is not None:
        inputs.append(graph.floats(_array(bias).reshape(-1)))
    return graph.op("Conv", x, *inputs, group=stems)


def _normed_conv(graph: Graph, x: str, norm: StemNorm, layers: list[StemConv]) -> str:
    """1x1 convolutions of a standardised signal, the norm's scale and shift folded into their kernels and biases."""
    scale, shift = norm(None)                                                   # (stem, channel)
    kernels, biases = [], []
    for layer in layers:
        kernel, bias = layer(None)
        kernels.append(kernel * scale.unsqueeze(1))
        biases.append((kernel @ shift.unsqueeze(-1)).squeeze(-1) + (0 if bias is None else bias))
    if kernels[0].shape[0] > scale.shape[0]:  # one extractor, a head per stem: one product for all heads
        return graph.op("Conv", x, graph.floats(_array(kernels[0]).reshape(-1, scale.shape[-1], 1)),
                        graph.floats(_array(biases[0]).reshape(-1)))
    return _conv(graph, x, kernels[0], biases[0])


def _prelu(graph: Graph, x: str, slope: Tensor) -> str:
    return graph.op("LeakyRelu", x, alpha=float(slope.item()))


def _standardise(graph: Graph, sizes: _Sizes, x: str, norm: StemNorm) -> str:
    """The group norm of (batch, stem * channel, frame) without scale and shift."""
    scale = norm(None).scale
    stems, channels = scale.shape
    groups = stems * sizes.config.norm_groups
    grouped = graph.op("Reshape", x, graph.ints(0, groups, -1))
    normed = graph.op("InstanceNormalization", grouped, graph.floats(np.ones(groups)), graph.floats(np.zeros(groups)),
                      epsilon=NORM_EPS)
    return graph.op("Reshape", normed, graph.ints(0, stems * channels, -1))


def _group_norm(graph: Graph, sizes: _Sizes, x: str, norm: StemNorm) -> str:
    """The group norm of (batch, stem * channel, frame)."""
    scale, shift = (graph.floats(_array(part).reshape(-1, 1)) for part in norm(None))
    return graph.op("Add", graph.op("Mul", _standardise(graph, sizes, x, norm), scale), shift)


def _decoder(graph: Graph, sizes: _Sizes, decoder: nn.Module, latent: str, time: str) -> str:
    """Latents (batch, stem, latent, frame) to waveforms (batch, stem, channel, time)."""
    hop, channels = sizes.stage.hop, sizes.config.audio_channels
    hidden = graph.op("Relu", graph.op("MatMul", graph.floats(_array(decoder.split.weight)[..., 0]), latent))
    parts = graph.split(hidden, decoder.widths, axis=2) if len(decoder.widths) > 1 else [hidden]
    whole = graph.op("Mul", sizes.frames, graph.ints(hop))
    total = None
    for part, layer in zip(parts, decoder.filters, strict=True):
        weight = _array(layer.weight)                                           # (width, channel, kernel)
        kernel = weight.shape[-1]
        before, _ = frame_padding(kernel, hop)
        # Placed so that frame t starts a whole number of hops before its own: out[(t + j - ahead) * hop + h] += column[j, h, t].
        ahead = -(-max(before, 0) // hop)
        lead = ahead * hop - before
        hops = -(-(lead + kernel) // hop)
        placed = np.zeros((weight.shape[0], channels, hops * hop), np.float32)
        placed[..., lead : lead + kernel] = weight
        columns = graph.op("MatMul", graph.floats(placed.reshape(weight.shape[0], -1).T), part)
        columns = graph.op("Reshape", columns, graph.constant(np.array([0, 0, channels, hops, hop, -1], np.int64)))
        for j, column in enumerate(graph.split(columns, [1] * hops, axis=3) if hops > 1 else [columns]):
            shifted = _shift(graph, graph.op("Squeeze", column, graph.ints(3)), j - ahead, sizes.frames)
            total = shifted if total is None else graph.op("Add", total, shifted)
    wave = graph.op("Transpose", total, perm=[0, 1, 2, 4, 3])                   # (batch, stem, channel, frame, hop)
    wave = graph.op("Reshape", wave, graph.op("Concat", graph.ints(0, 0, channels), whole, axis=0))
    return graph.op("Slice", wave, graph.ints(0), time, graph.ints(3))


def _shift(graph: Graph, x: str, by: int, frames: str) -> str:
    """(batch, stem, channel, hop, frame) moved `by` frames later, zeros moving in."""
    if by == 0:
        return x
    pads = [0] * 10
    pads[4], pads[9] = by, -by
    return graph.op("Pad", x, graph.ints(*pads))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
