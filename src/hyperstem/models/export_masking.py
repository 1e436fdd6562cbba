"""The masking network as nodes of an ONNX graph.

Inside, stem and channel share an axis: signals are (batch, stem * channel, frame).
"""

import numpy as np
from torch import Tensor

from hyperstem.models.export_stage import StageGraph, array
from hyperstem.models.onnx_graph import Graph
from hyperstem.network.layers import NORM_EPS, StemConv, StemNorm
from hyperstem.network.masking import Block, Masking


def add_masking(graph: Graph, sizes: StageGraph, masking: Masking, latent: str, previous: str | None) -> str:
    """Masks (batch, stem, latent, frame) from latents (batch, latent, frame); see `Masking.forward`."""
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
    scores = _normed_conv(graph, skips, masking.skip_norm, masking.exit)
    scores = _prelu(graph, scores, masking.exit_slope)
    scores = _group_norm(graph, sizes, scores, masking.exit_norm)
    scores = graph.op("Reshape", scores, graph.ints(0, sizes.stems, sizes.stage.latent_dim, -1))
    # Softmax over the stems, written out: onnxruntime's is ten times slower on an inner axis.
    peak = graph.op("ReduceMax", scores, graph.ints(1), keepdims=1)
    power = graph.op("Exp", graph.op("Sub", scores, peak))
    return graph.op("Div", power, graph.op("ReduceSum", power, graph.ints(1), keepdims=1))


def _entry(graph: Graph, sizes: StageGraph, masking: Masking, parts: list[str]) -> str:
    """Norm and 1x1 of the masking network's input, given as parts (batch, stem or 1, channel of the part, frame)."""
    scale, shift = (array(part) for part in masking.entry_norm.weights(None))  # (stem, channel)
    kernel = array(masking.entry.weights(None)[0])  # (stem, out, channel)
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
        if i == 0:  # the same signal for all stems: one product
            flat = graph.op("Reshape", piece, graph.ints(0, 1, stems * out, width))
            product = graph.op("Reshape", graph.op("MatMul", flat, part), graph.ints(0, stems, out, -1))
        else:
            product = graph.op("MatMul", piece, part)
        total = graph.op("Add", product, total)
    return graph.op("Reshape", total, graph.ints(0, stems * out, -1))


def _block(graph: Graph, sizes: StageGraph, block: Block, x: str) -> tuple[str, str]:
    """A block's residual and skip, each (batch, stem * bottleneck, frame)."""
    x = _prelu(graph, _conv(graph, x, *block.expand.weights(None)), block.expand_slope)
    x = _group_norm(graph, sizes, x, block.expand_norm)
    kernel, dilation = array(block.dilated.weights(None)[0]), block.dilated.dilation  # (stem, channel, tap)
    padding = dilation * (kernel.shape[-1] // 2)
    kernel = kernel.reshape(-1, 1, kernel.shape[-1])
    x = graph.op("Conv", x, graph.floats(kernel), group=len(kernel), dilations=[dilation], pads=[padding] * 2)
    x = _standardise(graph, sizes, _prelu(graph, x, block.dilated_slope), block.dilated_norm)
    residual, skip = (_normed_conv(graph, x, block.dilated_norm, layer) for layer in (block.residual, block.skip))
    return residual, skip


def _conv(graph: Graph, x: str, kernel: Tensor, bias: Tensor | None) -> str:
    """A 1x1 convolution of (batch, stem * in, frame) with each stem's kernel (stem, out, in)."""
    stems = kernel.shape[0]
    inputs = [graph.floats(array(kernel).reshape(-1, kernel.shape[-1], 1))]
    if bias is not None:
        inputs.append(graph.floats(array(bias).reshape(-1)))
    return graph.op("Conv", x, *inputs, group=stems)


def _normed_conv(graph: Graph, x: str, norm: StemNorm, layer: StemConv) -> str:
    """A 1x1 convolution of a standardised signal, with the norm's scale and shift folded into kernel and bias."""
    scale, shift = norm.weights(None)  # (stem, channel)
    kernel, bias = layer.weights(None)
    bias = (kernel @ shift.unsqueeze(-1)).squeeze(-1) + (0 if bias is None else bias)
    kernel = kernel * scale.unsqueeze(1)
    if kernel.shape[0] > scale.shape[0]:  # one extractor, but a head per stem: one product for all heads
        kernel, bias = kernel.flatten(0, 1).unsqueeze(0), bias.reshape(1, -1)
    return _conv(graph, x, kernel, bias)


def _prelu(graph: Graph, x: str, slope: Tensor) -> str:
    return graph.op("LeakyRelu", x, alpha=float(slope.item()))


def _standardise(graph: Graph, sizes: StageGraph, x: str, norm: StemNorm) -> str:
    """The group norm of (batch, stem * channel, frame) without scale and shift."""
    stems, channels = norm.weights(None).scale.shape
    groups = stems * sizes.config.norm_groups
    grouped = graph.op("Reshape", x, graph.ints(0, groups, -1))
    scale, shift = graph.floats(np.ones(groups)), graph.floats(np.zeros(groups))
    normed = graph.op("InstanceNormalization", grouped, scale, shift, epsilon=NORM_EPS)
    return graph.op("Reshape", normed, graph.ints(0, stems * channels, -1))


def _group_norm(graph: Graph, sizes: StageGraph, x: str, norm: StemNorm) -> str:
    """The group norm of (batch, stem * channel, frame)."""
    scale, shift = (graph.floats(array(part).reshape(-1, 1)) for part in norm.weights(None))
    return graph.op("Add", graph.op("Mul", _standardise(graph, sizes, x, norm), scale), shift)
