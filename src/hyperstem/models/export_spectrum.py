"""Spectra as nodes of an ONNX graph, computed by matrix products."""

import numpy as np

from hyperstem.models.onnx_graph import Graph

SPECTRA = 16
"""How many spectra are computed at a time."""


def cut_frames(graph: Graph, wave: str, length: int, hop: int, channels: int) -> str:
    """SPECTRA overlapping frames (batch, channel, SPECTRA, length), `hop` apart, of a waveform of matching length."""
    piece = int(np.gcd(length, hop))  # copied in pieces as long as possible
    pieces = graph.op("Reshape", wave, graph.ints(0, channels, -1, piece))
    index = np.arange(SPECTRA)[:, None] * (hop // piece) + np.arange(length // piece)
    gathered = graph.op("Gather", pieces, graph.constant(index), axis=2)  # (batch, channel, SPECTRA, -1, piece)
    return graph.op("Reshape", gathered, graph.ints(0, channels, SPECTRA, length))


def cut_all_frames(graph: Graph, wave: str, count: str, length: int, hop: int, channels: int) -> str:
    """`count` overlapping frames (batch, channel, count, length), `hop` apart, of a waveform (batch, channel, time)."""
    piece = int(np.gcd(length, hop))
    end = graph.op("Add", graph.op("Mul", graph.op("Sub", count, graph.ints(1)), graph.ints(hop)), graph.ints(length))
    wave = graph.op("Slice", wave, graph.ints(0), end, graph.ints(2))
    pieces = graph.op("Reshape", wave, graph.ints(0, channels, -1, piece))
    first = graph.op("Mul", _range(graph, count), graph.ints(hop // piece))
    index = graph.op("Add", graph.op("Unsqueeze", first, graph.ints(1)), graph.constant(np.arange(length // piece)))
    gathered = graph.op("Gather", pieces, index, axis=2)  # (batch, channel, count, -1, piece)
    return graph.op("Reshape", gathered, graph.ints(0, channels, -1, length))


def power_spectrum(graph: Graph, frames: str, n_fft: int) -> tuple[str, np.ndarray]:
    """Power of windowed frames (..., n_fft), and the bin that each of its columns holds.

    A Fourier transform of length rows * columns in two steps of matrix products (Cooley and Tukey, 1965): ONNX's own
    operators for it are slow, and a complete Fourier basis would be large.
    """
    rows = max(divisor for divisor in range(1, int(n_fft**0.5) + 1) if n_fft % divisor == 0)
    columns = n_fft // rows
    kept = columns // 2 + 1
    row, column = np.arange(rows), np.arange(columns)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    first = np.exp(-2j * np.pi * np.outer(row, row) / rows)  # (row frequency, row)
    twiddle = np.exp(-2j * np.pi * np.outer(row, column) / n_fft)  # (row frequency, column)
    second = np.exp(-2j * np.pi * np.outer(column, np.arange(kept)) / columns)  # (column, column frequency)

    windowed = graph.op("Mul", graph.as_double(frames), graph.constant(window))  # double: see Spectrogram.log_power
    grid = graph.op("Reshape", windowed, graph.ints(0, 0, 0, rows, columns))
    partial = graph.op("MatMul", graph.constant(np.concatenate([first.real, first.imag])), grid)
    real, imag = graph.split(partial, [rows, rows], axis=-2)
    cosine, sine = graph.constant(twiddle.real), graph.constant(twiddle.imag)
    turned_real = graph.op("Sub", graph.op("Mul", real, cosine), graph.op("Mul", imag, sine))
    turned_imag = graph.op("Add", graph.op("Mul", real, sine), graph.op("Mul", imag, cosine))
    basis = np.block([[second.real, second.imag], [-second.imag, second.real]])
    spectrum = graph.op("MatMul", graph.op("Concat", turned_real, turned_imag, axis=-1), graph.constant(basis))
    real, imag = graph.split(spectrum, [kept, kept], axis=-1)  # (..., row frequency, column frequency)
    power = graph.op("Add", graph.op("Mul", real, real), graph.op("Mul", imag, imag))
    bins = (row[:, None] + rows * np.arange(kept)).reshape(-1)
    return graph.op("Reshape", power, graph.ints(0, 0, 0, len(bins))), bins


def stretch(graph: Graph, features: str, count: str, frames: str) -> str:
    """Linear interpolation of (batch, count, mels) to (batch, frames, mels), first and last in place."""
    last = graph.op("Sub", count, graph.ints(1))
    gaps = graph.op("Max", graph.op("Sub", frames, graph.ints(1)), graph.ints(1))
    step = graph.op("Div", graph.as_float(last), graph.as_float(gaps))
    position = graph.op("Mul", graph.as_float(_range(graph, frames)), step)  # (frames,)
    left = graph.op("Min", graph.as_int(graph.op("Floor", position)), last)
    right = graph.op("Min", graph.op("Add", left, graph.ints(1)), last)
    share = graph.op("Unsqueeze", graph.op("Sub", position, graph.as_float(left)), graph.ints(1))
    start, end = (graph.op("Gather", features, index, axis=1) for index in (left, right))
    return graph.op("Add", start, graph.op("Mul", graph.op("Sub", end, start), share))


def _range(graph: Graph, count: str) -> str:
    """0, 1, ... count - 1 as int64."""
    scalar = graph.op("Squeeze", count, graph.ints(0))
    return graph.op("Range", graph.constant(np.int64(0)), scalar, graph.constant(np.int64(1)))
