"""The network's layers as nodes of an ONNX graph, stage by stage."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from hyperstem.config import ModelConfig, StageConfig
from hyperstem.models.export_spectrum import SPECTRA, cut_all_frames, cut_frames, power_spectrum, stretch
from hyperstem.models.onnx_graph import Graph
from hyperstem.network import Stage
from hyperstem.network.decoder import Decoder
from hyperstem.network.encoder import Encoder, frame_padding
from hyperstem.network.layers import NORM_EPS, StemConv, StemNorm
from hyperstem.network.masking import Block, Masking
from hyperstem.network.octaves import OCTAVE_FLOOR, POWER_EPS, TAPS, upsampling_filter
from hyperstem.network.spectrogram import POWER_FLOOR, Spectrogram


class StageGraph(NamedTuple):
    """One stage's sizes, and the names of the tensors around it."""

    config: ModelConfig
    stage: StageConfig
    frames: str
    wave: str
    time: str
    pick: str
    table: list[int]
    before: "tuple[str, str] | None" = None
    """Decoded waveforms and mixture of the previous stage, if this stage adds its octave to them."""

    @property
    def stems(self) -> int:
        """Number of stems."""
        return len(self.config.stems)

    def add(self, graph: Graph, stage: Stage, previous: str | None) -> tuple[str, str]:
        """Adds the stage; returns the picked waveforms and the masked latent (batch, stem, latent, frame)."""
        octave, level = ("", "") if self.before is None else _octave(graph, self, self.before[1])
        latent = _encoder(graph, self, stage.encoder, octave)  # (batch, latent, frame)
        masks = _masking(graph, self, stage.masking, latent, previous)  # (batch, stem, latent, frame)
        alone = graph.op("Unsqueeze", latent, graph.ints(1))
        masked = graph.op("Mul", masks, alone)

        def decode(branch: Graph) -> list[str]:
            every = branch.op("Concat", masked, alone, axis=1)  # the stems', then the mixture's
            rows = branch.op("Gather", branch.ints(*self.table), self.pick)
            own = _decoder(branch, self, stage.decoder, branch.op("Gather", every, rows, axis=1))
            if self.before is None:
                return [own]
            own = branch.op("Mul", own, branch.op("Unsqueeze", level, branch.ints(3)))
            waves, lower = self.before
            picked = [branch.op("Shape", waves, start=1, end=2)]
            return [branch.op("Add", own, _lower_band(branch, self, waves, lower, picked))]

        asked = graph.op("Greater", graph.op("Shape", self.pick), graph.ints(0))
        return graph.when(asked, decode)[0], masked


def _octave(graph: Graph, sizes: StageGraph, lower: str) -> tuple[str, str]:
    """The mixture's octave at this stage, divided by its RMS level, and that level (batch, 1, 1)."""
    octave = graph.op("Sub", sizes.wave, _lower_band(graph, sizes, lower, lower, []))
    power = graph.op("ReduceMean", graph.op("Mul", octave, octave), graph.ints(1, 2), keepdims=1)
    level = graph.op("Sqrt", graph.op("Add", power, graph.floats(OCTAVE_FLOOR)))
    return graph.op("Div", octave, level), level


def _encoder(graph: Graph, sizes: StageGraph, encoder: Encoder, octave: str) -> str:
    """Latents (batch, latent, frame); the filters get the octave, if there is one."""
    hop = sizes.stage.hop
    whole = graph.op("Mul", sizes.frames, graph.ints(hop))
    pads = graph.op("Concat", graph.ints(0, 0, 0, 0, 0), graph.op("Sub", whole, sizes.time), axis=0)
    wave = graph.op("Pad", sizes.wave, pads)  # (batch, channel, frames * hop)
    source = graph.op("Pad", octave, pads) if octave else wave
    features = []
    for layer in encoder.filters:
        weight = _array(layer.weight)  # (width, channel, kernel)
        before, after = frame_padding(weight.shape[-1], hop)
        weight = np.pad(weight, ((0, 0), (0, 0), (max(-before, 0), max(-after, 0))))
        convolved = graph.op("Conv", source, graph.floats(weight), strides=[hop], pads=[max(before, 0), max(after, 0)])
        features.append(graph.op("Relu", convolved))
    features.append(_spectrogram(graph, sizes, encoder.spectrogram, wave, whole))
    joined = graph.op("Concat", *features, axis=1)
    joined = graph.op("Relu", graph.op("Conv", joined, graph.floats(_array(encoder.join.weight))))
    return graph.op("Conv", joined, graph.floats(_array(encoder.mix.weight)))


def _spectrogram(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, wave: str, whole: str) -> str:
    """Features (batch, mels, frame) from waveforms (batch, channel, whole)."""
    hop, half = sizes.stage.stft_hop, sizes.stage.n_fft // 2
    spectra = graph.op("Add", graph.op("Div", whole, graph.ints(hop)), graph.ints(1))
    padded = graph.op("Pad", wave, graph.ints(0, 0, half, 0, 0, half), mode="reflect")
    features = (_all_mels if graph.plain else _mels_by_few)(graph, sizes, spectrogram, padded, spectra)
    bias = _array(affine_projection(spectrogram)[1])
    features = graph.op("Add", features, graph.floats(bias))
    return graph.op("Transpose", stretch(graph, features, spectra, sizes.frames), perm=[0, 2, 1])


def _all_mels(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, padded: str, spectra: str) -> str:
    """Projected log power (batch, spectrum, mels), all at once."""
    stage = sizes.stage
    frames = cut_all_frames(graph, padded, spectra, stage.n_fft, stage.stft_hop, sizes.config.audio_channels)
    return _mels(graph, sizes, spectrogram, frames)


def _mels_by_few(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, padded: str, spectra: str) -> str:
    """Projected log power (batch, spectrum, mels), a few spectra at a time.

    All spectra of a segment in double precision would take most of the memory of a run.
    """
    n_fft, hop, channels = sizes.stage.n_fft, sizes.stage.stft_hop, sizes.config.audio_channels
    reach = (SPECTRA - 1) * hop + n_fft
    rounds = graph.op("Div", graph.op("Add", spectra, graph.ints(SPECTRA - 1)), graph.ints(SPECTRA))
    padded = graph.op("Pad", padded, graph.ints(0, 0, 0, 0, 0, SPECTRA * hop))

    def few(inner: Graph, number: str) -> str:
        first = inner.op("Mul", number, inner.ints(SPECTRA * hop))
        cut = inner.op("Slice", padded, first, inner.op("Add", first, inner.ints(reach)), inner.ints(2))
        return _mels(inner, sizes, spectrogram, cut_frames(inner, cut, n_fft, hop, channels))

    blocks = graph.op("Transpose", graph.repeat(rounds, few), perm=[1, 0, 2, 3])  # (batch, round, SPECTRA, mels)
    features = graph.op("Reshape", blocks, graph.ints(0, -1, sizes.stage.mels))
    return graph.op("Slice", features, graph.ints(0), spectra, graph.ints(1))


def _mels(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, frames: str) -> str:
    """Projected log power (batch, spectrum, mels), without the bias, of frames (batch, channel, spectrum, n_fft)."""
    n_fft, channels = sizes.stage.n_fft, sizes.config.audio_channels
    half = n_fft // 2
    weight = _array(affine_projection(spectrogram)[0])
    weight = weight.reshape(-1, channels, half + 1).transpose(1, 2, 0)  # (channel, bin, mels)
    power, bins = power_spectrum(graph, frames, n_fft)  # bins in the order `bins`
    log = graph.op("Log", graph.as_float(graph.op("Add", power, graph.constant(np.float64(POWER_FLOOR)))))
    log_power = graph.op("Mul", log, graph.floats(1 / np.log(10)))
    placed = np.zeros((channels, len(bins), weight.shape[-1]), np.float32)
    placed[:, bins <= half] = weight[:, bins[bins <= half]]
    features = graph.op("MatMul", log_power, graph.floats(placed))  # (batch, channel, spectrum, mels)
    return graph.op("ReduceSum", features, graph.ints(1), keepdims=0)


def affine_projection(spectrogram: Spectrogram) -> tuple[Tensor, Tensor]:
    """Standardising, affine map and projection as one matrix (mels, channel * bins) and one bias (mels,)."""
    gain = spectrogram.scale / spectrogram.std
    weight = spectrogram.projection.weight
    bias = spectrogram.projection.bias + weight @ (spectrogram.shift - spectrogram.mean * gain)
    return weight * gain, bias


def _masking(graph: Graph, sizes: StageGraph, masking: Masking, latent: str, previous: str | None) -> str:
    """Masks (batch, stem, latent, frame); inside, stem and channel share an axis: (batch, stem * channel, frame)."""
    parts = [_prelu(graph, graph.op("Unsqueeze", latent, graph.ints(1)), masking.entry_slope)]
    if previous is not None:
        if masking.extractors == 1:
            width = sizes.stems * sizes.stage.previous_dim
            previous = graph.op("Reshape", previous, graph.ints(0, 1, width, -1))
        parts.append(_prelu(graph, previous, masking.entry_slope))
    x = _entry(graph, sizes, masking, parts)
    x = _group_norm(graph, sizes, _prelu(graph, x, masking.stream_slope), masking.stream_norm)
    skips = ""
    for block in masking.blocks:
        residual, skip = _block(graph, sizes, block, x)
        x = graph.op("Add", x, residual)
        skips = graph.op("Add", skips, skip) if skips else skip
    skips = _standardise(graph, sizes, _prelu(graph, skips, masking.skip_slope), masking.skip_norm)
    scores = _normed_conv(graph, skips, masking.skip_norm, [masking.exit])
    scores = _prelu(graph, scores, masking.exit_slope)
    scores = _group_norm(graph, sizes, scores, masking.exit_norm)
    scores = graph.op("Reshape", scores, graph.ints(0, sizes.stems, sizes.stage.latent_dim, -1))
    # Softmax over the stems, spelled out: onnxruntime's own is ten times slower on an inner axis.
    peak = graph.op("ReduceMax", scores, graph.ints(1), keepdims=1)
    power = graph.op("Exp", graph.op("Sub", scores, peak))
    return graph.op("Div", power, graph.op("ReduceSum", power, graph.ints(1), keepdims=1))


def _entry(graph: Graph, sizes: StageGraph, masking: Masking, parts: list[str]) -> str:
    """Norm and 1x1 of the masking network's input, in parts (batch, stem or 1, channel_p, frame)."""
    scale, shift = (_array(part) for part in masking.entry_norm.weights(None))  # (stem, channel)
    kernel = _array(masking.entry.weights(None)[0])  # (stem, out, channel)
    stems, out, channels = kernel.shape
    groups, widths = sizes.config.norm_groups, [sizes.stage.latent_dim, channels - sizes.stage.latent_dim][: len(parts)]
    count = graph.as_float(sizes.frames)
    means, variances = [], []
    for part, width in zip(parts, widths, strict=True):
        shape = graph.constant(np.array([1, stems, width, 1], np.int64))
        mean = graph.op("ReduceMean", part, graph.ints(3), keepdims=1)  # (batch, stem or 1, width, 1)
        square = graph.op("ReduceSumSquare", graph.op("Sub", part, mean), graph.ints(3), keepdims=1)
        means.append(graph.op("Expand", mean, shape))
        variances.append(graph.op("Expand", graph.op("Div", square, count), shape))

    def by_group(parts: list[str]) -> str:
        joined = graph.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]
        return graph.op("Reshape", joined, graph.ints(0, stems, groups, channels // groups))

    mean = by_group(means)
    centre = graph.op("ReduceMean", mean, graph.ints(3), keepdims=1)  # (batch, stem, group, 1)
    away = graph.op("Sub", mean, centre)
    variance = graph.op("Add", by_group(variances), graph.op("Mul", away, away))
    variance = graph.op("Add", graph.op("ReduceMean", variance, graph.ints(3), keepdims=1), graph.floats(NORM_EPS))
    grouped = (1, stems, groups, channels // groups)
    gain = graph.op("Div", graph.floats(scale.reshape(grouped)), graph.op("Sqrt", variance))
    offset = graph.op("Sub", graph.floats(shift.reshape(grouped)), graph.op("Mul", gain, centre))
    gain_row = graph.op("Reshape", gain, graph.ints(0, stems, 1, channels))
    offset_column = graph.op("Reshape", offset, graph.ints(0, stems, channels, 1))

    total = graph.op("MatMul", graph.floats(kernel), offset_column)  # (batch, stem, out, 1)
    kernels = graph.op("Mul", graph.floats(kernel), gain_row)  # (batch, stem, out, channel)
    pieces = graph.split(kernels, widths, axis=3) if len(parts) > 1 else [kernels]
    for i, (part, piece, width) in enumerate(zip(parts, pieces, widths, strict=True)):
        if i == 0:  # one signal for all stems: one product
            flat = graph.op("Reshape", piece, graph.ints(0, 1, stems * out, width))
            product = graph.op("Reshape", graph.op("MatMul", flat, part), graph.ints(0, stems, out, -1))
        else:
            product = graph.op("MatMul", piece, part)
        total = graph.op("Add", product, total)
    return graph.op("Reshape", total, graph.ints(0, stems * out, -1))


def _block(graph: Graph, sizes: StageGraph, block: Block, x: str) -> tuple[str, str]:
    """What a dilated block adds to the residual stream and to the skips, each (batch, stem * bottleneck, frame)."""
    x = _prelu(graph, _conv(graph, x, *block.expand.weights(None)), block.expand_slope)
    x = _group_norm(graph, sizes, x, block.expand_norm)
    kernel = _array(block.dilated.weights(None)[0])  # (stem, channel, tap)
    reach = block.dilated.dilation * (kernel.shape[-1] // 2)
    kernel = kernel.reshape(-1, 1, kernel.shape[-1])
    x = graph.op(
        "Conv", x, graph.floats(kernel), group=len(kernel), dilations=[block.dilated.dilation], pads=[reach, reach]
    )
    x = _standardise(graph, sizes, _prelu(graph, x, block.dilated_slope), block.dilated_norm)
    return (
        _normed_conv(graph, x, block.dilated_norm, [block.residual]),
        _normed_conv(graph, x, block.dilated_norm, [block.skip]),
    )


def _conv(graph: Graph, x: str, kernel: Tensor, bias: Tensor | None) -> str:
    """A 1x1 convolution of (batch, stem * in, frame) with each stem's kernel (stem, out, in)."""
    stems = kernel.shape[0]
    inputs = [graph.floats(_array(kernel).reshape(-1, kernel.shape[-1], 1))]
    if bias is not None:
        inputs.append(graph.floats(_array(bias).reshape(-1)))
    return graph.op("Conv", x, *inputs, group=stems)


def _normed_conv(graph: Graph, x: str, norm: StemNorm, layers: list[StemConv]) -> str:
    """1x1 convolutions of a standardised signal, the norm's scale and shift folded into their kernels and biases."""
    scale, shift = norm.weights(None)  # (stem, channel)
    kernels, biases = [], []
    for layer in layers:
        kernel, bias = layer.weights(None)
        kernels.append(kernel * scale.unsqueeze(1))
        biases.append((kernel @ shift.unsqueeze(-1)).squeeze(-1) + (0 if bias is None else bias))
    if kernels[0].shape[0] > scale.shape[0]:  # one extractor, a head per stem: one product for all heads
        return graph.op(
            "Conv",
            x,
            graph.floats(_array(kernels[0]).reshape(-1, scale.shape[-1], 1)),
            graph.floats(_array(biases[0]).reshape(-1)),
        )
    return _conv(graph, x, kernels[0], biases[0])


def _prelu(graph: Graph, x: str, slope: Tensor) -> str:
    return graph.op("LeakyRelu", x, alpha=float(slope.item()))


def _standardise(graph: Graph, sizes: StageGraph, x: str, norm: StemNorm) -> str:
    """The group norm of (batch, stem * channel, frame) without scale and shift."""
    stems, channels = norm.weights(None).scale.shape
    groups = stems * sizes.config.norm_groups
    grouped = graph.op("Reshape", x, graph.ints(0, groups, -1))
    normed = graph.op(
        "InstanceNormalization",
        grouped,
        graph.floats(np.ones(groups)),
        graph.floats(np.zeros(groups)),
        epsilon=NORM_EPS,
    )
    return graph.op("Reshape", normed, graph.ints(0, stems * channels, -1))


def _group_norm(graph: Graph, sizes: StageGraph, x: str, norm: StemNorm) -> str:
    """The group norm of (batch, stem * channel, frame)."""
    scale, shift = (graph.floats(_array(part).reshape(-1, 1)) for part in norm.weights(None))
    return graph.op("Add", graph.op("Mul", _standardise(graph, sizes, x, norm), scale), shift)


def _decoder(graph: Graph, sizes: StageGraph, decoder: Decoder, latent: str) -> str:
    """Latents (batch, stem, latent, frame) to waveforms (batch, stem, channel, time).

    A transposed convolution is written as a convolution over frames that gives the `hop` samples of each frame at once.
    """
    hop, channels = sizes.stage.hop, sizes.config.audio_channels
    whole = graph.op("Mul", sizes.frames, graph.ints(hop))
    picked = graph.op("Shape", latent, start=1, end=2)
    shape = graph.op("Concat", graph.ints(-1, sizes.stage.latent_dim), sizes.frames, axis=0)
    items = graph.op("Reshape", latent, shape)  # (batch * stem, latent, frame)
    split = _array(decoder.split.weight)  # (sum of widths, latent, 1)
    total, first = "", 0
    for width, layer in zip(decoder.widths, decoder.filters, strict=True):
        hidden = graph.op("Relu", graph.op("Conv", items, graph.floats(split[first : first + width])))
        weight, pads = _as_frame_convolution(_array(layer.weight), hop)
        part = graph.op("Conv", hidden, graph.floats(weight), pads=pads)  # (batch * stem, channel * hop, frame)
        total = graph.op("Add", total, part) if total else part
        first += width
    grid = graph.op("Reshape", total, graph.op("Concat", graph.ints(-1, channels, hop), sizes.frames, axis=0))
    wave = graph.op("Transpose", grid, perm=[0, 1, 3, 2])  # (batch * stem, channel, frame, hop)
    wave = graph.op("Reshape", wave, graph.op("Concat", graph.ints(-1), picked, graph.ints(channels), whole, axis=0))
    return graph.op("Slice", wave, graph.ints(0), sizes.time, graph.ints(3))


def _lower_band(graph: Graph, sizes: StageGraph, waves: str, lower: str, stems: list[str]) -> str:
    """Waveforms (batch, [stem,] channel, time) of the stage before, at this one's rate; see `network.octaves`.

    Args:
        stems: tensor with the number of stems, if there is that axis.
    """
    below = _upsampled(graph, sizes, lower, [])
    cross = graph.op("ReduceSum", graph.op("Mul", below, sizes.wave), graph.ints(1, 2), keepdims=1)
    power = graph.op("Add", graph.op("ReduceSumSquare", below, graph.ints(1, 2), keepdims=1), graph.floats(POWER_EPS))
    gain = graph.op("Div", cross, power)  # (batch, 1, 1)
    gain = graph.op("Unsqueeze", gain, graph.ints(3)) if stems else gain
    return graph.op("Mul", _upsampled(graph, sizes, waves, stems), gain)


def _upsampled(graph: Graph, sizes: StageGraph, waves: str, stems: list[str]) -> str:
    """(batch, [stem,] channel, time) upsampled by 2, trimmed or padded to this stage's time."""
    kernels = graph.floats(upsampling_filter()[:, None])  # (even and odd, 1, tap)
    rows = graph.op("Reshape", waves, graph.op("Concat", graph.ints(-1, 1), graph.op("Shape", waves, start=-1), axis=0))
    phases = graph.op("Conv", rows, kernels, pads=[TAPS // 2 - 1, TAPS // 2])  # (row, 2, time)
    channels = graph.ints(sizes.config.audio_channels)
    shape = graph.op(
        "Concat",
        graph.ints(-1),
        *stems,
        channels,
        graph.op("Mul", graph.op("Shape", waves, start=-1), graph.ints(2)),
        axis=0,
    )
    wave = graph.op("Reshape", graph.op("Transpose", phases, perm=[0, 2, 1]), shape)
    axes = 3 + len(stems)
    spare = 4 << sizes.config.stages  # more than rounding can remove
    padded = graph.op("Pad", wave, graph.ints(*[0] * (2 * axes - 1), spare))
    return graph.op("Slice", padded, graph.ints(0), sizes.time, graph.ints(axes - 1))


def _as_frame_convolution(weight: np.ndarray, hop: int) -> tuple[np.ndarray, list[int]]:
    """A transposed convolution's (width, channel, kernel) as (channel * hop, width, tap), and its padding in frames."""
    width, channels, kernel = weight.shape
    before, _ = frame_padding(kernel, hop)
    ahead = -(-max(before, 0) // hop)  # whole hops that frame t reaches back
    lead = ahead * hop - before
    taps = -(-(lead + kernel) // hop)
    placed = np.zeros((width, channels, taps * hop), np.float32)
    placed[..., lead : lead + kernel] = weight
    # Frame t adds tap j to frame t + j - ahead; a convolution sums over t - j + ahead: the taps are reversed.
    grid = placed.reshape(width, channels, taps, hop)[:, :, ::-1]
    return grid.transpose(1, 3, 0, 2).reshape(channels * hop, width, taps), [taps - 1 - ahead, ahead]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
