"""A picture of a song and its stems: waveforms and spectrograms. Needs matplotlib (``hyperstem[plot]``)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hyperstem.errors import HyperstemError
from hyperstem.files import replacing

_COLUMNS = 1024
"""Most columns of a picture; a song that is long enough has at least half as many."""
_BINS = 128
_FFT = 2048
_RANGE_DB = 80.0
_COLOURS = {"mixture": "#555555", "drums": "#c1652e", "bass": "#7a4fa3", "other": "#2e8b6f", "vocals": "#2f6fb5"}


def require_matplotlib() -> None:
    """Checks that matplotlib is installed.

    Raises:
        HyperstemError: it is missing.
    """
    if find_spec("matplotlib") is None:
        raise HyperstemError("pictures need matplotlib: pip install 'hyperstem[plot]'")


class Picture:
    """Collects a song block by block in constant memory, and draws it.

    Args:
        rate_hz: sample rate of the waves.
        names: a title for each row.
    """

    def __init__(self, rate_hz: int, names: Sequence[str]) -> None:
        self._rate_hz, self._names = rate_hz, tuple(names)
        self._held = np.zeros((len(names), 0), np.float32)
        self._span = 1  # analysis windows in one column
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []
        self._power: list[np.ndarray] = []
        self._frames = 0
        self._window = np.hanning(_FFT).astype(np.float32)
        self._bands = _bands(rate_hz)

    def add(self, *waves: np.ndarray) -> None:
        """Appends samples: one (channel, time) array per row, all of the same length."""
        mono = np.stack([wave.mean(axis=0) for wave in waves])
        self._frames += mono.shape[1]
        self._held = np.concatenate([self._held, mono], axis=1)
        while self._held.shape[1] >= _FFT * self._span:
            self._take(_FFT * self._span)

    def _take(self, count: int) -> None:
        part, self._held = self._held[:, :count], self._held[:, count:]
        windows = part.reshape(len(part), -1, _FFT)  # (row, window, sample)
        self._low.append(part.min(axis=1))
        self._high.append(part.max(axis=1))
        power = (np.abs(np.fft.rfft(windows * self._window)) ** 2).mean(axis=1)  # (row, bin)
        self._power.append(power @ self._bands)
        if len(self._power) == _COLUMNS:
            self._halve()

    def _halve(self) -> None:
        """Merges pairs of columns."""
        self._low = [np.minimum(a, b) for a, b in zip(self._low[::2], self._low[1::2], strict=True)]
        self._high = [np.maximum(a, b) for a, b in zip(self._high[::2], self._high[1::2], strict=True)]
        self._power = [(a + b) / 2 for a, b in zip(self._power[::2], self._power[1::2], strict=True)]
        self._span *= 2

    def save(self, path: Path, title: str = "") -> None:
        """Draws the picture into a PNG file, which appears complete or not at all.

        Raises:
            HyperstemError: matplotlib is missing.
            OSError: the file cannot be written.
        """
        require_matplotlib()
        from matplotlib.figure import Figure

        if self._held.shape[1]:
            spare = -self._held.shape[1] % _FFT
            self._held = np.pad(self._held, [(0, 0), (0, spare)])
            self._take(self._held.shape[1])
        low, high = np.stack(self._low, axis=1), np.stack(self._high, axis=1)  # (row, column)
        level = 10 * np.log10(np.stack(self._power, axis=1) + 1e-12)  # (row, column, band)
        length_s = self._frames / self._rate_hz
        time_s = np.linspace(0, length_s, low.shape[1])
        figure = Figure(figsize=(12, 1.6 * len(self._names) + 0.6), layout="constrained")
        axes = figure.subplots(len(self._names), 2, sharex=True, squeeze=False)
        reach = max(float(np.abs(low).max()), float(high.max()), 1e-6)
        top_db = float(level.max())
        for row, (name, (wave, spectrum)) in enumerate(zip(self._names, axes, strict=True)):
            wave.fill_between(time_s, low[row], high[row], color=_COLOURS.get(name, "#555555"), linewidth=0)
            wave.set(ylabel=name, ylim=(-reach, reach), xlim=(0, max(length_s, 1e-3)), yticks=[])
            spectrum.imshow(
                level[row].T,
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                cmap="magma",
                vmin=top_db - _RANGE_DB,
                vmax=top_db,
                extent=(0, max(length_s, 1e-3), 0, _BINS),
            )
            marks = [hz for hz in (100, 1000, 10_000) if hz < self._rate_hz / 2]
            spectrum.set_yticks([_band_of(hz, self._rate_hz) for hz in marks], [f"{hz:,} Hz" for hz in marks])
        for axis in axes[-1]:
            axis.set_xlabel("seconds")
        if title:
            shown = title.encode(errors="replace").decode()  # file names may be any bytes
            figure.suptitle(shown.replace("$", r"\$"))
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None})


def _band_of(hz: float, rate_hz: int) -> float:
    """The (fractional) band of a frequency: bands have equal widths on the mel scale, 2595 log10(1 + f / 700)."""
    return _BINS * np.log10(1 + hz / 700) / np.log10(1 + rate_hz / 2 / 700)


def _bands(rate_hz: int) -> np.ndarray:
    """(bin, band) weights that map a power spectrum to mel bands; every band has at least the bin nearest to it."""
    position = np.array([_band_of(hz, rate_hz) for hz in np.arange(_FFT // 2 + 1) * rate_hz / _FFT])
    centre = np.arange(_BINS) + 0.5
    weights = np.maximum(0, 1 - np.abs(position[:, None] - centre))
    empty = weights.sum(axis=0) == 0
    weights[np.abs(position[:, None] - centre).argmin(axis=0)[empty], np.flatnonzero(empty)] = 1
    return (weights / weights.sum(axis=0)).astype(np.float32)
