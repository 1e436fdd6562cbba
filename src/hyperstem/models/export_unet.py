"""A Meta-U-Net as one ONNX graph: from a spectrum to every stem's masks, generator and batch norms folded away.

Input is ``mixture`` (batch, 2, frame, bin, 2), the spectrum of left and right with real and imaginary part last; output
is ``masks`` (4, batch * stem, frame, row): real parts of left and right, imaginary parts of both. Batch and frames are
free.

A network with a draft runs one of two branches. With ``stages`` 1, ``waves0`` are the draft's stems, of ``wave0`` and
``pick0``, as in the graph of a Meta-TasNet. With ``stages`` 2, a further input is ``draft`` (batch, stem * 2, bin,
frame), the power of mid and side of every stem's draft, and a further output ``shares`` (batch, stem, frame, row), how
much of each draft is kept.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from hyperstem.config import UNetConfig
from hyperstem.models.export_layers import add_tasnet
from hyperstem.models.onnx_graph import Graph
from hyperstem.network import bands
from hyperstem.network.bands import MASK_COEFFICIENTS
from hyperstem.network.meta_unet import Encoder, Extractor, MetaUNet, UpBlock
from hyperstem.network.unet_layers import (
    AxisLSTM,
    Block,
    ConvNorm,
    RowMixer,
    StemBlock,
    StemConv2d,
    StemConvNorm,
    StemNorm2d,
)

SMALL = 1e-12 / 4
"""Keeps the stereo width from dividing by zero; `bands.stereo_width` adds four times as much to powers of full sums."""
ALIGN = 16
"""Channels of a group that onnxruntime convolves several times faster than others."""
COLUMNS = 32
"""Columns of the extractors' top level that are computed at once; even."""
GATES = (0, 3, 1, 2)
"""Order of an LSTM's gates: input, forget, cell, output in torch; input, output, forget, cell in ONNX."""


class Affine:
    """A batch norm in evaluation mode as ``x * scale + shift``, both (channel,)."""

    def __init__(self, norm: nn.BatchNorm2d, scale: Tensor, shift: Tensor) -> None:
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        rate = (variance + norm.eps).rsqrt()
        self.scale = (scale * rate).numpy()
        self.shift = (shift - mean * rate * scale).numpy()


def add_unet(graph: Graph, network: MetaUNet, stems: Sequence[int]) -> None:
    """Adds a folded network to an empty graph, with the masks of the given stems as output."""
    config = network.config
    mixture = graph.input("mixture", ["batch", 2, "frame", config.n_fft // 2, 2])
    if network.draft is None or config.draft is None:
        graph.output(_refinement(graph, network, mixture, "", stems)[0], "masks", [4, "item", "frame", config.rows])
        return
    power = graph.input("draft", ["batch", 2 * len(config.stems), config.n_fft // 2, "frame"])
    add_tasnet(graph, network.draft, config.draft, range(len(config.stems)), optional=True)
    refine = "" if graph.plain else graph.op("Less", "stages", graph.ints(1))
    masks, shares = graph.when(refine, lambda branch: _refinement(branch, network, mixture, power, stems))
    graph.output(masks, "masks", ["part", "item", "mask_frame", "row"])
    graph.output(shares, "shares", ["share_batch", "stem", "share_frame", "share_row"])


def _refinement(graph: Graph, network: MetaUNet, mixture: str, power: str, stems: Sequence[int]) -> list[str]:
    """Masks of some stems (4, batch * stem, frame, row) and, with a draft, the shares (batch, stem, frame, row)."""
    config = network.config
    mixture = graph.op("Transpose", mixture, perm=[4, 0, 1, 3, 2])  # (2, batch, 2, bin, frame)
    real, imaginary = (graph.op("Gather", mixture, graph.constant(np.array(i)), axis=0) for i in range(2))
    parts = _mid_and_side(graph, real), _mid_and_side(graph, imaginary)
    powers = [graph.op("Add", _square(graph, re), _square(graph, im)) for re, im in zip(*parts, strict=True)]
    frames = graph.op("Shape", real, start=3)
    spare = graph.op("Mod", graph.op("Neg", frames), graph.ints(config.frame_multiple))
    features = _features(graph, network, parts, powers)
    if power:
        features = graph.op("Concat", features, _standardised(graph, network, power)[1], axis=1)
    bottleneck, skips = _encoder(graph, network.encoder, _padded(graph, features, spare))
    coefficients = _extractor(graph, network.extractor, bottleneck, skips)
    masks = _masks(graph, coefficients, _stereo_width(graph, network, powers, spare), config)
    masks = graph.op("Slice", masks, graph.ints(0), frames, graph.ints(3))
    if list(stems) != list(range(len(config.stems))):
        masks = graph.op("Gather", masks, graph.ints(*stems), axis=2)
    shape = graph.op("Concat", graph.ints(4, -1), frames, graph.ints(config.rows), axis=0)
    masks = graph.op("Reshape", masks, shape)
    return [masks, _shares(graph, coefficients, frames, config)] if power else [masks]


def _shares(graph: Graph, coefficients: str, frames: str, config: UNetConfig) -> str:
    """The shares of the drafts that are kept (batch, stem, frame, row); see `MetaUNet.refinement`."""
    logit = graph.op(
        "Slice", coefficients, graph.ints(MASK_COEFFICIENTS), graph.ints(MASK_COEFFICIENTS + 1), graph.ints(2)
    )
    share = graph.op("Sigmoid", graph.op("Add", logit, graph.floats(bands.KEPT)))
    share = graph.op("Transpose", graph.op("Squeeze", share, graph.ints(2)), perm=[0, 1, 4, 2, 3])
    share = graph.op("Reshape", share, graph.ints(0, 0, -1, config.rows))
    return graph.op("Slice", share, graph.ints(0), frames, graph.ints(2))


def _padded(graph: Graph, x: str, spare: str) -> str:
    """(batch, channel, bin or row, frame) padded with `spare` frames of zeros at the end."""
    return graph.op("Pad", x, graph.op("Concat", graph.ints(*[0] * 7), spare, axis=0))


def _square(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, x)


def _mid_and_side(graph: Graph, x: str) -> list[str]:
    """Left and right (batch, 2, bin, frame) to mid and side, each (batch, 1, bin, frame)."""
    left, right = graph.split(x, [1, 1], 1)
    return [graph.op("Mul", graph.op(kind, left, right), graph.floats(0.5)) for kind in ("Add", "Sub")]


def _features(graph: Graph, network: MetaUNet, parts: Sequence[list[str]], power: Sequence[str]) -> str:
    """(batch, FEATURES, bin, frame); see `bands.features`."""
    level, logs, gains = network.level.numpy()[:, None], [], []
    for each in power:
        log, standardised = _standardised(graph, network, each)
        logs.append(standardised)
        raised = graph.op("Exp", graph.op("Mul", log, graph.floats((bands.COMPRESSION - 1) / 2)))
        gains.append(graph.op("Mul", raised, graph.floats(1 / level)))
    compressed = [graph.op("Mul", part, gain) for pair in parts for part, gain in zip(pair, gains, strict=True)]
    return graph.op("Concat", *logs, *compressed, axis=1)


def _standardised(graph: Graph, network: MetaUNet, power: str) -> tuple[str, str]:
    """The natural logarithm of the power (batch, channel, bin, frame), and that standardised."""
    mean, spread = network.mean.numpy()[:, None], network.spread.numpy()[:, None]
    log = graph.op("Log", graph.op("Add", power, graph.floats(bands.FLOOR)))
    scaled = graph.op("Mul", log, graph.floats(1 / (np.log(10) * spread)))
    return log, graph.op("Add", scaled, graph.floats(-mean / spread))


def _encoder(graph: Graph, encoder: Encoder, features: str) -> tuple[str, list[str]]:
    """The bottleneck and the skip connections level 0 first."""
    config, rows = encoder.config, []
    norm = Affine(encoder.norm, encoder.norm.weight, encoder.norm.bias)
    sizes = zip(config.band_widths, config.band_rows, strict=True)
    cut = graph.split(features, config.band_bins, 2)
    for part, (width, count), join in zip(cut, sizes, encoder.join, strict=True):
        part = graph.op("Reshape", part, graph.ints(0, encoder.features, count, width, -1, config.patch))
        part = graph.op("Transpose", part, perm=[0, 1, 3, 5, 2, 4])
        part = graph.op("Reshape", part, graph.ints(0, encoder.features * width * config.patch, count, -1))
        rows.append(_conv(graph, part, _scaled(join.weight, norm.scale)))
    place = encoder.place.numpy() * norm.scale[:, None, None] + norm.shift[:, None, None]
    x = graph.op("Relu", graph.op("Add", graph.op("Concat", *rows, axis=2), graph.floats(place)))
    skips = []
    for level, down in zip(encoder.levels, encoder.down, strict=True):
        for block in level:
            x = _layer(graph, x, block)
        skips.append(x)
        x = _conv_norm(graph, x, down)
    for layer in encoder.core:
        x = _layer(graph, x, layer)
    return x, skips


def _layer(graph: Graph, x: str, layer: nn.Module) -> str:
    """A layer of the encoder."""
    if isinstance(layer, AxisLSTM):
        return _lstm(graph, x, layer)
    if isinstance(layer, ConvNorm):
        return _conv_norm(graph, x, layer)
    if isinstance(layer, Block):
        return _block(graph, x, layer)
    raise TypeError(f"no ONNX for {type(layer).__name__}")


def _conv(
    graph: Graph,
    x: str,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    groups: int = 1,
    strides: Sequence[int] = (1, 1),
) -> str:
    """A zero-padded convolution; `kernel` is (out, in / groups, size, size)."""
    constants = [graph.floats(kernel)] + ([] if bias is None else [graph.floats(bias)])
    return graph.op("Conv", x, *constants, pads=[kernel.shape[-1] // 2] * 4, group=groups, strides=list(strides))


def _scaled(kernel: Tensor | np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A kernel whose output channels are multiplied by `scale`."""
    array = kernel if isinstance(kernel, np.ndarray) else kernel.numpy()
    return array * scale.reshape(-1, *[1] * (array.ndim - 1))


def _conv_norm(graph: Graph, x: str, layer: ConvNorm) -> str:
    norm = Affine(layer.norm, layer.norm.weight, layer.norm.bias)
    return graph.op(
        "Relu", _conv(graph, x, _scaled(layer.conv.weight, norm.scale), norm.shift, strides=layer.conv.stride)
    )


def _block(graph: Graph, x: str, block: Block) -> str:
    norm = Affine(block.norm, block.norm.weight, block.norm.bias)
    y = _conv(graph, _conv_norm(graph, x, block.first), _scaled(block.second.weight, norm.scale), norm.shift)
    y = graph.op("Add", x, y)
    return graph.op("Relu", y if block.mix is None else graph.op("Add", y, _mix_rows(graph, x, block.mix)))


def _mix_rows(graph: Graph, x: str, mix: RowMixer) -> str:
    x = _affine(graph, graph.op("MatMul", graph.floats(mix.narrow.weight.numpy()), x), mix.narrow_norm)
    x = graph.op("MatMul", graph.floats(mix.wide.weight.numpy()), graph.op("Relu", x))
    return _affine(graph, x, mix.wide_norm)


def _affine(graph: Graph, x: str, norm: nn.BatchNorm2d) -> str:
    affine = Affine(norm, norm.weight, norm.bias)
    scale, shift = (graph.floats(part[:, None, None]) for part in (affine.scale, affine.shift))
    return graph.op("Add", graph.op("Mul", x, scale), shift)


def _lstm(graph: Graph, x: str, layer: AxisLSTM) -> str:
    """A bidirectional LSTM along the columns or the rows; (batch, channel, row, column) in and out."""
    if layer.along_rows:
        x = graph.op("Transpose", x, perm=[0, 1, 3, 2])
    lstm, units = layer.lstm, layer.lstm.hidden_size

    def gates(name: str) -> np.ndarray:
        pair = [getattr(lstm, name + end).numpy() for end in ("_l0", "_l0_reverse")]
        return np.stack([np.concatenate([part[gate * units : (gate + 1) * units] for gate in GATES]) for part in pair])

    shape = graph.op("Shape", x)
    columns_first = graph.op("Transpose", x, perm=[3, 0, 2, 1])  # (column, batch, row, channel)
    flat = graph.op("Reshape", columns_first, graph.ints(0, -1, lstm.input_size))
    bias = np.concatenate([gates("bias_ih"), gates("bias_hh")], axis=1)
    inputs = [flat, *(graph.floats(gates(name)) for name in ("weight_ih", "weight_hh")), graph.floats(bias)]
    y = graph.op("LSTM", *inputs, hidden_size=units, direction="bidirectional")  # (column, 2, batch * row, units)
    y = graph.op("Reshape", graph.op("Transpose", y, perm=[0, 2, 1, 3]), graph.ints(0, -1, 2 * units))
    norm = Affine(layer.norm, layer.norm.weight, layer.norm.bias)
    weight = _scaled(layer.out.weight, norm.scale).T
    y = graph.op("MatMul", y, graph.floats(weight))
    y = graph.op("Add", y, graph.floats(layer.out.bias.numpy() * norm.scale + norm.shift))
    batch, channel, row, column = graph.split(shape, [1, 1, 1, 1], 0)
    y = graph.op("Reshape", y, graph.op("Concat", column, batch, row, channel, axis=0))
    y = graph.op("Add", x, graph.op("Transpose", y, perm=[1, 3, 2, 0]))
    return graph.op("Transpose", y, perm=[0, 1, 3, 2]) if layer.along_rows else y


def _extractor(graph: Graph, extractor: Extractor, x: str, skips: Sequence[str]) -> str:
    """(batch, stem, number, patch, row, column)."""
    config = extractor.config
    pairs = zip(reversed(extractor.rises), reversed(skips), strict=True)
    *lower, (top, skip) = pairs
    for rise, beside in lower:
        x = _up_block(graph, rise, x, beside)
    by_few = not graph.plain and isinstance(top.block, StemConvNorm)
    x = _top_by_few(graph, extractor, x, skip) if by_few else _heads(graph, extractor, _up_block(graph, top, x, skip))
    return graph.op("Reshape", x, graph.ints(0, len(config.stems), extractor.numbers, config.patch, config.rows, -1))


def _heads(graph: Graph, extractor: Extractor, x: str) -> str:
    """(batch, stem * channel, row, column) to (batch, stem * number * patch, row, column)."""
    parts = zip(graph.split(x, extractor.config.band_rows, 2), extractor.heads, strict=True)
    return graph.op("Concat", *(_stem_conv(graph, part, head) for part, head in parts), axis=2)


def _top_by_few(graph: Graph, extractor: Extractor, x: str, skip: str) -> str:
    """The top level of the extractors and their heads, a few columns at a time, which saves half of the memory."""
    top, columns = extractor.rises[0], graph.op("Shape", skip, start=3)
    factor = top.factor[1]
    rounds = graph.op("Div", graph.op("Add", columns, graph.ints(COLUMNS - 1)), graph.ints(COLUMNS))
    # A column of the coarser level on either side is more than the convolution reaches.
    skip = graph.op("Pad", skip, graph.ints(0, 0, 0, factor, 0, 0, 0, factor + COLUMNS))
    x = graph.op("Pad", x, graph.ints(0, 0, 0, 1, 0, 0, 0, 1 + COLUMNS // factor))

    def cut(inner: Graph, tensor: str, first: str, count: int) -> str:
        return inner.op("Slice", tensor, first, inner.op("Add", first, inner.ints(count)), inner.ints(3))

    def few(inner: Graph, number: str) -> str:
        beside = cut(inner, skip, inner.op("Mul", number, inner.ints(COLUMNS)), COLUMNS + 2 * factor)
        below = cut(inner, x, inner.op("Mul", number, inner.ints(COLUMNS // factor)), COLUMNS // factor + 2)
        found = _heads(inner, extractor, _up_block(inner, top, below, beside))
        return inner.op("Slice", found, inner.ints(factor), inner.ints(factor + COLUMNS), inner.ints(3))

    parts = graph.op(
        "Transpose", graph.repeat(rounds, few), perm=[1, 2, 3, 0, 4]
    )  # (batch, number, row, round, column)
    parts = graph.op("Reshape", parts, graph.ints(0, 0, extractor.config.rows, -1))
    return graph.op("Slice", parts, graph.ints(0), columns, graph.ints(3))


def _stem_conv(graph: Graph, x: str, layer: StemConv2d, norm: StemNorm2d | None = None, shifted: bool = True) -> str:
    """A convolution of the stems, followed by a norm, if one is given, with or without its shift.

    A stem's channels are filled up to a multiple of `ALIGN` with zeros, except those of the masks' head.
    """
    weight, shift = layer.weights(None)
    kernel, bias = weight.numpy(), None if shift is None else shift.numpy()
    if norm is not None:
        affine = Affine(norm.statistics, *norm.weights(None))
        kernel, bias = _scaled(kernel, affine.scale), affine.shift if shifted else None
    if layer.bias is None:  # not the head
        kernel, bias = _filled_up(kernel, layer.stems), None if bias is None else _filled_up(bias, layer.stems)
    if layer.groups > 1:
        kernel = _filled_up(kernel.swapaxes(0, 1), 1).swapaxes(0, 1)
    return _conv(graph, x, kernel, bias, groups=layer.groups)


def _filled_up(array: np.ndarray, groups: int) -> np.ndarray:
    """(group * channel, ...) with zeros after the channels of each group, up to a multiple of `ALIGN`."""
    grouped = array.reshape(groups, -1, *array.shape[1:])
    filled = np.pad(grouped, [(0, 0), (0, -grouped.shape[1] % ALIGN)] + [(0, 0)] * (array.ndim - 1))
    return filled.reshape(-1, *array.shape[1:])


def _stem_conv_norm(graph: Graph, x: str, layer: StemConvNorm) -> str:
    return graph.op("Relu", _stem_conv(graph, x, layer.conv, layer.norm))


def _up_block(graph: Graph, layer: UpBlock, x: str, skip: str) -> str:
    scales = graph.constant(np.array([1, 1, *layer.factor], np.float32))
    x = _stem_conv(graph, x, layer.below, layer.norm)
    x = graph.op(
        "Resize", x, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )
    # The norm is applied to a sum: its scale belongs into both convolutions, its shift into one.
    skip = _stem_conv(graph, skip, layer.beside, layer.norm, shifted=False)
    x = graph.op("Relu", graph.op("Add", x, skip))
    block = layer.block
    return _stem_conv_norm(graph, x, block) if isinstance(block, StemConvNorm) else _stem_block(graph, x, block)


def _stem_block(graph: Graph, x: str, block: StemBlock) -> str:
    y = _stem_conv(graph, _stem_conv_norm(graph, x, block.first), block.second, block.norm)
    return graph.op("Relu", graph.op("Add", x, y))


def _stereo_width(graph: Graph, network: MetaUNet, power: Sequence[str], spare: str) -> str:
    """(batch, 1, patch, row, column); see `bands.stereo_width`."""
    config, rows = network.config, []
    for each in power:  # (batch, 1, bin, frame)
        parts = []
        cut = graph.split(each, config.band_bins, 2)
        for part, width, count in zip(cut, config.band_widths, config.band_rows, strict=True):
            part = graph.op("Reshape", part, graph.ints(0, 1, count, width, -1))
            parts.append(graph.op("ReduceSum", part, graph.ints(3), keepdims=0))
        rows.append(graph.op("Concat", *parts, axis=2))
    mid, side = rows
    total = graph.op("Add", graph.op("Add", mid, side), graph.floats(SMALL))
    share = graph.op("Div", graph.op("Mul", side, graph.floats(1 / bands.FULL_WIDTH)), total)
    share = _padded(graph, graph.op("Min", share, graph.floats(1.0)), spare)
    share = graph.op("Reshape", share, graph.ints(0, 1, config.rows, -1, config.patch))
    return graph.op("Transpose", share, perm=[0, 1, 4, 2, 3])


def _masks(graph: Graph, coefficients: str, width: str, config: UNetConfig) -> str:
    """(4, batch, stem, frame, row): real parts of left and right, imaginary parts of both; see `bands.masks`.

    Args:
        coefficients: (batch, stem, number, patch, row, column).
        width: stereo width (batch, 1, patch, row, column).
    """
    coefficients = graph.op("Slice", coefficients, graph.ints(0), graph.ints(MASK_COEFFICIENTS), graph.ints(2))
    parts = graph.split(coefficients, [1] * MASK_COEFFICIENTS, 2)
    weight, *corrections = (graph.op("Squeeze", part, graph.ints(2)) for part in parts)
    # Softmax over the stems, written out: onnxruntime's would transpose, since stems are not the last axis.
    weight = graph.op("Exp", graph.op("Sub", weight, graph.op("ReduceMax", weight, graph.ints(1), keepdims=1)))
    weight = graph.op("Div", weight, graph.op("ReduceSum", weight, graph.ints(1), keepdims=1))
    own = []
    for part in corrections:
        common = graph.op("ReduceSum", graph.op("Mul", weight, part), graph.ints(1), keepdims=1)
        own.append(graph.op("Mul", weight, graph.op("Sub", part, common)))
    mean = graph.op("Add", weight, own[0]), own[1]  # real and imaginary part of the mean of left and right
    difference = [graph.op("Mul", part, width) for part in own[2:]]
    pairs = [graph.op(kind, *both) for both in zip(mean, difference, strict=True) for kind in ("Add", "Sub")]
    masks = graph.op("Concat", *(graph.op("Unsqueeze", part, graph.ints(0)) for part in pairs), axis=0)
    masks = graph.op("Transpose", masks, perm=[0, 1, 2, 5, 3, 4])  # (4, batch, stem, column, patch, row)
    return graph.op("Reshape", masks, graph.ints(4, 0, 0, -1, config.rows))
