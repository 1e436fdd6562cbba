"""A Meta-TasNet as nodes of an ONNX graph: its stages, their encoders, spectrograms and decoders."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from onnx import TensorProto
from torch import Tensor

from hyperstem.config import ModelConfig
from hyperstem.dsp.upsample import POWER_EPS, TAPS, padding, upsampling_matrix
from hyperstem.models.export_masking import add_masking
from hyperstem.models.export_spectrum import SPECTRA, cut_all_frames, cut_frames, power_spectrum, stretch
from hyperstem.models.export_stage import StageGraph, array
from hyperstem.models.onnx_graph import Graph
from hyperstem.network import MetaTasNet, Stage
from hyperstem.network.decoder import Decoder
from hyperstem.network.encoder import Encoder, frame_padding
from hyperstem.network.octaves import OCTAVE_FLOOR
from hyperstem.network.spectrogram import POWER_FLOOR, Spectrogram


def add_tasnet(
    graph: Graph, folded: MetaTasNet, config: ModelConfig, stems: Sequence[int], optional: bool = False
) -> None:
    """Adds the first stages of a folded network, as many as `config` has, with their inputs and outputs.

    Args:
        graph: gets the inputs ``stages``, ``wave{i}`` and ``pick{i}`` and the outputs ``waves{i}`` and ``latent{i}``,
            or, if it is plain, the inputs ``wave{i}`` and the output ``stems``; see `hyperstem.models.export`.
        folded: the network.
        config: sizes of the stages.
        stems: which stems can be picked.
        optional: whether ``stages`` may be 0, with which no stage runs.
    """
    plain = graph.plain
    wanted = "" if plain else graph.input("stages", [1], TensorProto.INT64)
    work = _stage_graphs(graph, config, stems)
    latent: str | None = None
    decoded = ""
    for i, (sizes, stage) in enumerate(zip(work, folded.stages, strict=False)):
        if config.octaves and i:
            sizes = sizes._replace(before=(decoded, work[i - 1].wave))
        add = partial(_add_stage, sizes=sizes, stage=stage, previous=latent)
        always = plain or (i == 0 and not optional)
        decoded, latent = add(graph) if always else graph.when(graph.op("Greater", wanted, graph.ints(i)), add)
        if plain:
            continue
        graph.output(decoded, f"waves{i}", [f"waves{i}_{axis}" for axis in ("batch", "pick", "channel", "time")])
        graph.output(latent, f"latent{i}", [f"latent{i}_{axis}" for axis in ("batch", "stem", "latent", "frame")])
    if plain:
        graph.output(decoded, "stems", ["batch", len(stems), config.audio_channels, "time"])


def _add_stage(graph: Graph, sizes: StageGraph, stage: Stage, previous: str | None) -> tuple[str, str]:
    """Adds a stage; returns the picked waveforms and the masked latent (batch, stem, latent, frame)."""
    octave, level = ("", "") if sizes.before is None else _octave(graph, sizes, sizes.before[1])
    latent = _encoder(graph, sizes, stage.encoder, octave)  # (batch, latent, frame)
    masks = add_masking(graph, sizes, stage.masking, latent, previous)  # (batch, stem, latent, frame)
    alone = graph.op("Unsqueeze", latent, graph.ints(1))
    masked = graph.op("Mul", masks, alone)

    def decode(branch: Graph) -> list[str]:
        every = branch.op("Concat", masked, alone, axis=1)  # stems, then mixture
        rows = branch.op("Gather", branch.ints(*sizes.table), sizes.pick)
        own = _decoder(branch, sizes, stage.decoder, branch.op("Gather", every, rows, axis=1))
        if sizes.before is None:
            return [own]
        own = branch.op("Mul", own, branch.op("Unsqueeze", level, branch.ints(3)))
        waves, lower = sizes.before
        picked = [branch.op("Shape", waves, start=1, end=2)]
        return [branch.op("Add", own, _lower_band(branch, sizes, waves, lower, picked))]

    asked = graph.op("Greater", graph.op("Shape", sizes.pick), graph.ints(0))
    return graph.when(asked, decode)[0], masked


def _stage_graphs(graph: Graph, config: ModelConfig, stems: Sequence[int]) -> list[StageGraph]:
    """Every stage's sizes; declares the inputs ``wave{i}`` and, unless the graph is plain, ``pick{i}``.

    Args:
        graph: the graph.
        config: of the network.
        stems: which stems can be picked.
    """
    indices = range(config.stages)
    waves = [graph.input(f"wave{i}", [f"batch{i or ''}", config.audio_channels, f"time{i}"]) for i in indices]
    picks = [
        graph.ints(*range(len(stems))) if graph.plain else graph.input(f"pick{i}", [f"pick{i}"], TensorProto.INT64)
        for i in indices
    ]
    times = [graph.op("Shape", wave, start=2) for wave in waves]
    frames, table = _frames(graph, config, times), [*stems, len(config.stems)]
    return [StageGraph(config, config.stage_configs[i], frames, waves[i], times[i], picks[i], table) for i in indices]


def _frames(graph: Graph, config: ModelConfig, times: Sequence[str]) -> str:
    """Latent frames as `ModelConfig.frames` counts them, (1,) int64."""
    frames = graph.ints(config.least_frames)
    for stage, time in zip(config.stage_configs, times, strict=True):
        whole = graph.op("Div", graph.op("Add", time, graph.ints(stage.hop - 1)), graph.ints(stage.hop))
        frames = graph.op("Max", frames, whole)
    return frames


def _octave(graph: Graph, sizes: StageGraph, lower: str) -> tuple[str, str]:
    """The mixture's octave at this stage, divided by its RMS level, and that level (batch, 1, 1)."""
    octave = graph.op("Sub", sizes.wave, _lower_band(graph, sizes, lower, lower, []))
    power = graph.op("ReduceMean", graph.op("Mul", octave, octave), graph.ints(1, 2), keepdims=1)
    level = graph.op("Sqrt", graph.op("Add", power, graph.floats(OCTAVE_FLOOR)))
    return graph.op("Div", octave, level), level


def _encoder(graph: Graph, sizes: StageGraph, encoder: Encoder, octave: str) -> str:
    """Latents (batch, latent, frame); the filters get the octave instead of the mixture, if there is one."""
    hop = sizes.stage.hop
    whole = graph.op("Mul", sizes.frames, graph.ints(hop))
    pads = graph.op("Concat", graph.ints(0, 0, 0, 0, 0), graph.op("Sub", whole, sizes.time), axis=0)
    wave = graph.op("Pad", sizes.wave, pads)  # (batch, channel, frames * hop)
    source = graph.op("Pad", octave, pads) if octave else wave
    features = []
    for layer in encoder.filters:
        weight = array(layer.weight)  # (width, channel, kernel)
        before, after = frame_padding(weight.shape[-1], hop)
        weight = np.pad(weight, ((0, 0), (0, 0), (max(-before, 0), max(-after, 0))))
        convolved = graph.op("Conv", source, graph.floats(weight), strides=[hop], pads=[max(before, 0), max(after, 0)])
        features.append(graph.op("Relu", convolved))
    if encoder.spectrogram is not None:
        features.append(_spectrogram(graph, sizes, encoder.spectrogram, wave, whole))
    joined = graph.op("Concat", *features, axis=1)
    joined = graph.op("Relu", graph.op("Conv", joined, graph.floats(array(encoder.join.weight))))
    return graph.op("Conv", joined, graph.floats(array(encoder.mix.weight)))


def _spectrogram(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, wave: str, whole: str) -> str:
    """Features (batch, mels, frame) from waveforms (batch, channel, whole)."""
    hop, half = sizes.stage.stft_hop, sizes.stage.n_fft // 2
    spectra = graph.op("Add", graph.op("Div", whole, graph.ints(hop)), graph.ints(1))
    padded = graph.op("Pad", wave, graph.ints(0, 0, half, 0, 0, half), mode="reflect")
    features = (_all_mels if graph.plain else _mels_by_few)(graph, sizes, spectrogram, padded, spectra)
    bias = array(affine_projection(spectrogram)[1])
    features = graph.op("Add", features, graph.floats(bias))
    return graph.op("Transpose", stretch(graph, features, spectra, sizes.frames), perm=[0, 2, 1])


def _all_mels(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, padded: str, spectra: str) -> str:
    """Projected log power (batch, spectrum, mels), all spectra at once."""
    stage = sizes.stage
    frames = cut_all_frames(graph, padded, spectra, stage.n_fft, stage.stft_hop, sizes.config.audio_channels)
    return _mels(graph, sizes, spectrogram, frames)


def _mels_by_few(graph: Graph, sizes: StageGraph, spectrogram: Spectrogram, padded: str, spectra: str) -> str:
    """Projected log power (batch, spectrum, mels), a few spectra at a time, which saves most of the memory."""
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
    weight = array(affine_projection(spectrogram)[0])
    weight = weight.reshape(-1, channels, half + 1).transpose(1, 2, 0)  # (channel, bin, mels)
    power, bins = power_spectrum(graph, frames, n_fft)
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


def _decoder(graph: Graph, sizes: StageGraph, decoder: Decoder, latent: str) -> str:
    """Latents (batch, stem, latent, frame) to waveforms (batch, stem, channel, time).

    A transposed convolution is written as a convolution over frames that gives the `hop` samples of each frame at once.
    """
    hop, channels = sizes.stage.hop, sizes.config.audio_channels
    whole = graph.op("Mul", sizes.frames, graph.ints(hop))
    picked = graph.op("Shape", latent, start=1, end=2)
    shape = graph.op("Concat", graph.ints(-1, sizes.stage.latent_dim), sizes.frames, axis=0)
    items = graph.op("Reshape", latent, shape)  # (batch * stem, latent, frame)
    split = array(decoder.split.weight)  # (sum of widths, latent, 1)
    total, first = "", 0
    for width, layer in zip(decoder.widths, decoder.filters, strict=True):
        hidden = graph.op("Relu", graph.op("Conv", items, graph.floats(split[first : first + width])))
        weight, pads = _as_frame_convolution(array(layer.weight), hop)
        part = graph.op("Conv", hidden, graph.floats(weight), pads=pads)  # (batch * stem, channel * hop, frame)
        total = graph.op("Add", total, part) if total else part
        first += width
    grid = graph.op("Reshape", total, graph.op("Concat", graph.ints(-1, channels, hop), sizes.frames, axis=0))
    wave = graph.op("Transpose", grid, perm=[0, 1, 3, 2])  # (batch * stem, channel, frame, hop)
    wave = graph.op("Reshape", wave, graph.op("Concat", graph.ints(-1), picked, graph.ints(channels), whole, axis=0))
    return graph.op("Slice", wave, graph.ints(0), sizes.time, graph.ints(3))


def _lower_band(graph: Graph, sizes: StageGraph, waves: str, lower: str, stems: list[str]) -> str:
    """Waveforms (batch, [stem,] channel, time) of the previous stage at this one's rate; see `octaves.lower_band`.

    Args:
        stems: the tensor with the number of stems, if there is a stem axis.
    """
    band = _upsampled(graph, sizes, lower, [])
    cross = graph.op("ReduceSum", graph.op("Mul", band, sizes.wave), graph.ints(1, 2), keepdims=1)
    power = graph.op("Add", graph.op("ReduceSumSquare", band, graph.ints(1, 2), keepdims=1), graph.floats(POWER_EPS))
    gain = graph.op("Div", cross, power)  # (batch, 1, 1)
    gain = graph.op("Unsqueeze", gain, graph.ints(3)) if stems else gain
    return graph.op("Mul", _upsampled(graph, sizes, waves, stems), gain)


def _upsampled(graph: Graph, sizes: StageGraph, waves: str, stems: list[str]) -> str:
    """(batch, [stem,] channel, time) upsampled by 2, trimmed or padded to this stage's time."""
    time = graph.op("Shape", waves, start=-1)
    rows = graph.op("Reshape", waves, graph.op("Concat", graph.ints(-1), time, axis=0))
    before, after = padding(0)
    fill = graph.op("Mod", graph.op("Neg", time), graph.ints(TAPS))
    pads = graph.op("Concat", graph.ints(0, before, 0), graph.op("Add", fill, graph.ints(after)), axis=0)
    count = graph.op("Shape", rows, end=1)
    shape = graph.op("Concat", count, graph.ints(-1, TAPS), axis=0)
    blocks = graph.op("Reshape", graph.op("Pad", rows, pads), shape)
    last = graph.op("Sub", graph.op("Shape", blocks, start=1, end=2), graph.ints(1))
    this = graph.op("Slice", blocks, graph.ints(0), last, graph.ints(1))
    next_ = graph.op("Slice", blocks, graph.ints(1), graph.op("Add", last, graph.ints(1)), graph.ints(1))
    doubled = graph.op("MatMul", graph.op("Concat", this, next_, axis=2), graph.constant(upsampling_matrix()))
    doubled = graph.op("Reshape", doubled, graph.op("Concat", count, graph.ints(-1), axis=0))
    length, channels = graph.op("Mul", time, graph.ints(2)), graph.ints(sizes.config.audio_channels)
    doubled = graph.op("Slice", doubled, graph.ints(0), length, graph.ints(1))
    shape = graph.op("Concat", graph.ints(-1), *stems, channels, length, axis=0)
    wave, axes = graph.op("Reshape", doubled, shape), 3 + len(stems)
    spare = 4 << sizes.config.stages  # more samples than rounding removes
    padded = graph.op("Pad", wave, graph.ints(*[0] * (2 * axes - 1), spare))
    return graph.op("Slice", padded, graph.ints(0), sizes.time, graph.ints(axes - 1))


def _as_frame_convolution(weight: np.ndarray, hop: int) -> tuple[np.ndarray, list[int]]:
    """A transposed convolution's (width, channel, kernel) as (channel * hop, width, tap), and its padding in frames."""
    width, channels, kernel = weight.shape
    before, _ = frame_padding(kernel, hop)
    ahead = -(-max(before, 0) // hop)  # hops before its own into which a frame's kernel reaches
    lead = ahead * hop - before
    taps = -(-(lead + kernel) // hop)
    placed = np.zeros((width, channels, taps * hop), np.float32)
    placed[..., lead : lead + kernel] = weight
    # Frame t adds tap j to frame t + j - ahead; a convolution sums over t - j + ahead: the taps are reversed.
    grid = placed.reshape(width, channels, taps, hop)[:, :, ::-1]
    return grid.transpose(1, 3, 0, 2).reshape(channels * hop, width, taps), [taps - 1 - ahead, ahead]
