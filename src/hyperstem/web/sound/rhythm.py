"""Tempo and beats of a song from its onsets; pure.

Source: Ellis, "Beat Tracking by Dynamic Programming", Journal of New Music Research 36, 2007; onset strength is
spectral flux on a logarithmic scale of frequency and level (Böck, Krebs, Schedl, ISMIR 2012).
"""

from typing import NamedTuple

import numpy as np

RATE_HZ = 22050
HOP = 256
WINDOW = 1024
FRAMES_HZ = RATE_HZ / HOP
BANDS = 36
LOWEST_HZ, HIGHEST_HZ = 30.0, 10_000.0
SLOWEST_BPM, FASTEST_BPM = 55.0, 215.0
PREFERRED_BPM, PREFERRED_OCTAVES = 130.0, 0.9
"""Mean and deviation of the tempo prior."""
TIGHTNESS = 300.0
MIN_STRENGTH = 0.12
"""Least autocorrelation at the beat period; below it there is no beat."""
TRIPLE_MARGIN = 1.3
"""Bars of three must fit this much better than bars of four."""
_COMPRESSION = 1000.0
_REPEATS = {0.5: 0.2, 1.0: 1.0, 2.0: 0.5, 3.0: 0.25, 4.0: 0.5}
"""Weights of the autocorrelation at multiples of the beat period."""


class Beats(NamedTuple):
    """A song's beats."""

    tempo_bpm: float
    times_s: np.ndarray
    """float64 (beat,), increasing."""
    strength: float
    """Regularity of the beat, 0 to 1."""


class SpectralFlux:
    """Spectral flux, computed block by block."""

    def __init__(self) -> None:
        self._window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._bands = _bands()
        self._rest = np.zeros(WINDOW // 2, np.float32)
        self._before = np.full((1, BANDS), np.inf, np.float32)
        self._rises: list[np.ndarray] = []

    def add(self, wave: np.ndarray) -> None:
        """Appends float32 (time,) at `RATE_HZ`."""
        wave = np.concatenate([self._rest, wave])
        count = max(0, (len(wave) - WINDOW) // HOP + 1)
        self._rest = wave[count * HOP :]
        if not count:
            return
        frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[: count * HOP : HOP]
        magnitude = np.abs(np.fft.rfft(frames * self._window, axis=1)).astype(np.float32)
        levels = np.log1p(_COMPRESSION / WINDOW * (magnitude @ self._bands))  # (frame, band)
        earlier = np.concatenate([self._before, levels[:-1]])
        self._before = levels[-1:]
        self._rises.append(np.maximum(0, levels - earlier).sum(axis=1))

    def finish(self) -> np.ndarray:
        """The flux: float32 (frame,), `FRAMES_HZ` frames per second."""
        self.add(np.zeros(WINDOW // 2, np.float32))
        return np.concatenate(self._rises) if self._rises else np.zeros(0, np.float32)


def _bands() -> np.ndarray:
    """Triangular filters, equally spaced in octaves: float32 (bin, band)."""
    centres = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 2)
    bins = np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    width = RATE_HZ / WINDOW  # no band is narrower than a bin
    rising = (bins[:, None] - centres[:-2]) / np.maximum(centres[1:-1] - centres[:-2], width)
    falling = (centres[2:] - bins[:, None]) / np.maximum(centres[2:] - centres[1:-1], width)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def envelope(flux: np.ndarray) -> np.ndarray:
    """Onset strength: `flux` (frame,) without its moving mean, at unit deviation; zeros for silence."""
    total = flux.astype(np.float64)
    slow = _smooth(total, int(FRAMES_HZ))
    rises = np.maximum(0, total - slow)
    spread = rises.std()
    return rises / spread if spread > 1e-6 else np.zeros_like(rises)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """A centred moving mean over `width` frames."""
    if not len(values):
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(0, places - width // 2), np.minimum(len(values), places + width // 2 + 1)
    return (sums[last] - sums[first]) / (last - first)


def find_beats(onsets: np.ndarray) -> Beats | None:
    """The beats of a song, or None if it has no regular beat.

    Args:
        onsets: float (frame,), onset strength at unit deviation.
    """
    if len(onsets) < 4 * FRAMES_HZ or not onsets.any():
        return None
    lag, strength = _period(onsets)
    if strength < MIN_STRENGTH:
        return None
    frames = _track(onsets, lag)
    if len(frames) < 4:
        return None
    times = frames / FRAMES_HZ
    return Beats(_tempo(times), times, strength)


def _tempo(times: np.ndarray) -> float:
    """Beats per minute: the mean interval without outliers, or else the median."""
    gaps = np.diff(times)
    median = float(np.median(gaps))
    even = np.abs(gaps / median - 1) < 0.15
    return float(60 / (gaps[even].mean() if even.any() else median))


def _autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """Autocorrelation at lags 0 to `lags` - 1, normalised to 1 at lag 0."""
    size = 1 << (len(values) + lags).bit_length()
    spectrum = np.fft.rfft(values - values.mean(), size)
    result = np.fft.irfft(np.abs(spectrum) ** 2, size)[:lags]
    return result / max(result[0], 1e-12)


def _period(onsets: np.ndarray) -> tuple[float, float]:
    """The beat period in frames, and the autocorrelation there."""
    longest = int(60 / SLOWEST_BPM * FRAMES_HZ * 4) + 2
    repeats = _autocorrelation(_smooth(onsets, 3), min(longest, len(onsets)))
    candidates = np.arange(60 / FASTEST_BPM * FRAMES_HZ, 60 / SLOWEST_BPM * FRAMES_HZ, 0.05)
    places = np.arange(len(repeats))
    after = {share: np.interp(share * candidates, places, repeats, right=0.0) for share in _REPEATS}
    comb = np.maximum(0, sum(weight * after[share] for share, weight in _REPEATS.items()))
    octaves = np.log2(60 * FRAMES_HZ / candidates / PREFERRED_BPM)
    best = int(np.argmax(comb * np.exp(-0.5 * (octaves / PREFERRED_OCTAVES) ** 2)))
    return float(candidates[best]), float(after[1.0][best])


def _track(onsets: np.ndarray, lag: float) -> np.ndarray:
    """Frames of the beats: strong onsets at regular steps of about `lag` (dynamic programming)."""
    kernel = np.exp(-0.5 * (np.arange(-int(lag), int(lag) + 1) * 32 / lag) ** 2)
    local = np.convolve(onsets, kernel, mode="same")[: len(onsets)]
    steps = np.arange(round(lag / 2), round(lag * 2) + 1)
    cost = TIGHTNESS * np.log(steps / lag) ** 2
    local = local / (float(local.std()) or 1.0)
    score, before = local.copy(), np.full(len(local), -1)
    for frame in range(int(steps[0]), len(local)):
        reach = steps[: np.searchsorted(steps, frame, side="right")]
        gains = score[frame - reach] - cost[: len(reach)]
        best = int(np.argmax(gains))
        if gains[best] > 0:
            score[frame] = local[frame] + gains[best]
            before[frame] = frame - reach[best]
    return _backtrack(score, before, int(lag))


def _backtrack(score: np.ndarray, before: np.ndarray, lag: int) -> np.ndarray:
    """The path to the best score within the last beat."""
    frame = len(score) - lag + int(np.argmax(score[-lag:]))
    path = []
    while frame >= 0:
        path.append(frame)
        frame = int(before[frame])
    return np.array(path[::-1])


def find_bars(strengths: np.ndarray) -> tuple[int, int]:
    """Beats per bar (4, or 3 if that is clear) and the index of the first downbeat.

    Args:
        strengths: float (beat,), evidence for each beat as a downbeat.
    """
    fits = [(_contrast(strengths, beats, first), beats, first) for beats in (3, 4) for first in range(beats)]
    three, four = max(fits[:3]), max(fits[3:])
    _, beats, first = three if three[0] > TRIPLE_MARGIN * four[0] and three[0] > 0 else four
    return beats, first


def _contrast(strengths: np.ndarray, beats: int, first: int) -> float:
    """How far the downbeats stand out, in standard deviations of their mean."""
    downbeats = strengths[first::beats]
    if not len(downbeats):
        return 0.0
    spread = float(strengths.std()) + 1e-9
    return float(downbeats.mean() - strengths.mean()) / spread * len(downbeats) ** 0.5
