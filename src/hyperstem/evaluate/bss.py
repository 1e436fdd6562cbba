"""BSS Eval version 4: SDR, ISR, SIR and SAR of separated stems, frame by frame.

Axes: j = (method, channel) of an estimate, where a method gives estimates of all stems, s = stem, k = (stem, channel)
of a reference, c = channel, f = frequency.

The numbers are museval's (mode "v4", 1 s windows without overlap), computed with less work: the normal equations of all
estimates are solved together, so the large matrix is factored once, not once per stem and method; the spectrum of each
filter is computed once, not once per frame; correlations are summed over short blocks, not computed by transforms as
long as the song. `hyperstem.evaluate.reference` runs museval itself for comparison.

Source: Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018; the decomposition is
that of Vincent, Gribonval, Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 14(4), 2006.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hyperstem.dsp.fourier import fast_length
from hyperstem.dsp.measures import decibels
from hyperstem.dsp.resample import crop

FILTER_SAMPLES = 512
WINDOW_S = 1.0
_BLOCK_FFT = 1 << 16


class FrameScores(NamedTuple):
    """BSS Eval's four measures in dB, each (stem, frame); NaN in frames with a silent stem or an infinite value."""

    sdr: np.ndarray
    isr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray


def bss_eval(references: np.ndarray, estimates: Sequence[np.ndarray], rate_hz: int) -> list[FrameScores]:
    """Scores several methods' estimates of the same stems.

    A stem that is silent in the whole song, in the reference or in a method's estimate, has no score in any frame; the
    method's other stems are then scored as if this stem did not exist (museval refuses such a song). A frame in which
    some other stem is silent has no score for any stem, as in museval.

    Args:
        references: the true stems, (stem, channel, time).
        estimates: one such array per method.
        rate_hz: sample rate; a frame is one second.

    Returns:
        One FrameScores per method. An incomplete second at the end is left out; a shorter song is one frame.
    """
    sounding = np.stack([~silent(references) & ~silent(estimate) for estimate in estimates])  # (method, stem)
    shape = (4, len(estimates), len(references), frame_count(references.shape[-1], rate_hz))
    scores = np.full(shape, np.nan)
    for pattern in np.unique(sounding, axis=0):
        members = np.flatnonzero((sounding == pattern).all(axis=1))
        if pattern.any():
            stems = np.flatnonzero(pattern)
            chosen = [estimates[int(member)] for member in members]
            signals = Signals([references[i] for i in stems], [[waves[i] for i in stems] for waves in chosen])
            scores[np.ix_(np.arange(4), members, stems)] = _scores(signals, rate_hz)
    return [FrameScores(*scores[:, i]) for i in range(len(estimates))]


class Signals(NamedTuple):
    """What is compared, as views of the caller's arrays, each (channel, time)."""

    references: list[np.ndarray]
    """By stem."""
    estimates: list[list[np.ndarray]]
    """By method, then stem."""

    def part(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """References (stem, channel, time) and estimates (method, stem, channel, time) in double precision."""
        return (
            np.stack([wave[:, start:stop] for wave in self.references]).astype(np.float64),
            np.stack([[wave[:, start:stop] for wave in stems] for stems in self.estimates]).astype(np.float64),
        )


def silent(wave: np.ndarray) -> np.ndarray:
    """Whether each (…, channel, time) signal is silent as in museval: the sum of its channels is zero throughout."""
    return np.all(wave.sum(axis=-2) == 0, axis=-1)


def frame_count(samples: int, rate_hz: int) -> int:
    """Frames in a song of `samples`."""
    return max(1, samples // int(WINDOW_S * rate_hz))


def _scores(signals: Signals, rate_hz: int) -> np.ndarray:
    """The four measures in the order of FrameScores, (4, method, stem, frame)."""
    time = signals.references[0].shape[-1]
    window, frames = min(int(WINDOW_S * rate_hz), time), frame_count(time, rate_hz)
    n_fft = fast_length(window + FILTER_SAMPLES - 1)
    every, own = (np.fft.rfft(filters, n_fft) for filters in _filters(signals))
    out = np.full((4, len(signals.estimates), len(signals.references), frames), np.nan)
    for frame in range(frames):
        true, estimated = signals.part(frame * window, (frame + 1) * window)
        playing = ~(silent(true).any() | silent(estimated).any(axis=1))  # (method,)
        if playing.any():
            parts = _project(true, every, own, n_fft)
            out[..., frame][:, playing] = _ratios(true, estimated, *parts)[:, playing]
    return out


def _filters(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares filters from the references to every estimate.

    Returns:
        every: from all references, (stem, k, method * channel, lag): the first axis is the estimated stem.
        own: from the estimated stem's own reference, (stem, channel, method * channel, lag).
    """
    stems, channels, lags = len(signals.references), len(signals.references[0]), FILTER_SAMPLES
    sources = [channel for wave in signals.references for channel in wave]
    targets = [channel for i in range(stems) for method in signals.estimates for channel in method[i]]
    among, across = _correlations(sources, targets)
    matrix = _toeplitz(among)
    right = across.transpose(0, 2, 1).reshape(len(sources) * lags, -1)  # (k * lag, stem * method * channel)
    every = _solve(matrix, right).reshape(len(sources), lags, stems, -1).transpose(2, 0, 3, 1)
    size, columns = channels * lags, right.shape[1] // stems
    own = []
    for i in range(stems):
        rows, part = slice(i * size, (i + 1) * size), slice(i * columns, (i + 1) * columns)
        own.append(_solve(matrix[rows, rows], right[rows, part]).reshape(channels, lags, columns).transpose(0, 2, 1))
    return every, np.stack(own)


def _correlations(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cross-correlations of `sources` (k of (time,)) with each other and with `targets` (j of (time,)).

    Returns:
        among: sum over t of source_a[t] source_b[t + lag], (k, k, 2 * lags - 1), lags from -(lags - 1).
        across: sum over t of source_a[t] target_j[t + lag], (k, j, lags), lags from 0.
    """
    reach = FILTER_SAMPLES - 1
    step = _BLOCK_FFT - 2 * reach
    among = np.zeros((len(sources), len(sources), _BLOCK_FFT // 2 + 1), complex)
    across = np.zeros((len(sources), len(targets), _BLOCK_FFT // 2 + 1), complex)
    for start in range(0, len(sources[0]), step):
        left = np.conj(np.fft.rfft(_cropped(sources, start, start + step), _BLOCK_FFT))
        wide = np.fft.rfft(_cropped(sources, start - reach, start + step + reach), _BLOCK_FFT)
        other = np.fft.rfft(_cropped(targets, start - reach, start + step + reach), _BLOCK_FFT)
        for k, spectrum in enumerate(left):
            among[k] += spectrum * wide
            across[k] += spectrum * other
    return (
        np.stack([np.fft.irfft(row, _BLOCK_FFT)[:, : 2 * reach + 1] for row in among]),
        np.stack([np.fft.irfft(row, _BLOCK_FFT)[:, reach : 2 * reach + 1] for row in across]),
    )


def _cropped(waves: Sequence[np.ndarray], start: int, stop: int) -> np.ndarray:
    """Samples [start, stop) of each waveform in double precision, (wave, time)."""
    return np.array([crop(wave, start, stop) for wave in waves], np.float64)


def _toeplitz(among: np.ndarray) -> np.ndarray:
    """The normal equations' matrix, (k * lag, k * lag): entry (a, p), (b, q) correlates a and b at lag p - q."""
    lags, count = FILTER_SAMPLES, len(among)
    matrix = np.empty((count, lags, count, lags))
    offsets = np.arange(lags)[:, None] - np.arange(lags) + lags - 1  # (p, q)
    for a in range(count):
        for b in range(count):
            matrix[a, :, b, :] = among[a, b][offsets]
    return matrix.reshape(count * lags, count * lags)


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solves the normal equations with museval's regularisation, or a stronger one if channels are equal."""
    identity = np.eye(len(matrix))
    try:
        return np.linalg.solve(matrix + np.finfo(float).eps * identity, right)
    except np.linalg.LinAlgError:
        return np.linalg.solve(matrix + 1e-14 * np.trace(matrix) / len(matrix) * identity, right)


def _project(true: np.ndarray, every: np.ndarray, own: np.ndarray, n_fft: int) -> Iterator[np.ndarray]:
    """One frame filtered from all references, then from the stem's own, each (method, stem, channel, time)."""
    spectra = np.fft.rfft(true, n_fft)  # (s, c, f)
    flat = spectra.reshape(-1, spectra.shape[-1])  # (k, f)
    for product in (np.einsum("kf,skjf->sjf", flat, every), np.einsum("scf,scjf->sjf", spectra, own)):
        waves = np.fft.irfft(product, n_fft)[..., : true.shape[-1] + FILTER_SAMPLES - 1]
        yield np.moveaxis(waves.reshape(len(true), -1, true.shape[1], waves.shape[-1]), 1, 0)


def _ratios(true: np.ndarray, estimated: np.ndarray, every: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The frame's four measures, (4, method, stem).

    Args:
        true: (stem, channel, time).
        estimated: (method, stem, channel, time).
        every: the estimates' projections on all references, (method, stem, channel, time + lags - 1).
        own: their projections on their own reference, of the same shape.
    """
    tail = [(0, 0), (0, 0), (0, FILTER_SAMPLES - 1)]
    target, given = np.pad(true, tail), np.pad(estimated, [(0, 0), *tail])
    return np.stack(
        [
            decibels(_energy(target), _energy(given - target)),
            decibels(_energy(target), _energy(own - target)),
            decibels(_energy(own), _energy(every - own)),
            decibels(_energy(every), _energy(given - every)),
        ]
    )


def _energy(waves: np.ndarray) -> np.ndarray:
    return np.square(waves).sum(axis=(-2, -1))
