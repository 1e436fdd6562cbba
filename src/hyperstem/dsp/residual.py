"""Makes stems sum to their mixture: distributes the residual by each stem's local energy. Pure, in constant memory.

`share_by_frequency` distributes it over time and frequency within the network's band, `ResidualSharing` over time alone
for what lies above that band.
"""

from typing import NamedTuple

import numpy as np

WINDOW_S = 0.064
"""Length of the window of the spectra in which energies are compared."""
CELL = 512
"""Samples over which energies are summed, on a grid from the song's start, so that block sizes do not matter."""
_BATCH = 64
"""Cells processed at once: few enough to stay in the processor's cache."""
_SPAN = 4096
"""Samples of each signal whose spectra are processed at once, for the same reason."""
_SILENT = 1e-5
"""Samples below this count as silence, in a wave of unit variance: resampling leaves less than this in silence."""
_TINY = 1e-20
"""Least energy of each stem: where all are silent, all get equal shares."""
FAINT_BIN = 1e-9
"""The same for one bin of the spectrum of a wave of unit variance."""


def share_by_frequency(mixture: np.ndarray, stems: np.ndarray, rate_hz: int) -> np.ndarray:
    """Distributes the residual, mixture minus stems, in every bin in proportion to each stem's energy there.

    A bass that has no energy at 3 kHz gets none of the residual at 3 kHz.

    Args:
        mixture: (..., channel, time) float32 of about unit variance.
        stems: (..., stem, channel, time) float32.
        rate_hz: their sample rate.

    Returns:
        (..., stem, channel, time) float32 that sums to the mixture.
    """
    time = mixture.shape[-1]
    window = sine_window(rate_hz)
    half = len(window) // 2
    missing = _halves(mixture - stems.sum(axis=-3), half)  # (..., channel, half, sample)
    shared = _halves(stems, half)  # (..., stem, channel, half, sample)
    given = np.zeros_like(shared)
    frames = shared.shape[-2] - 1
    together = max(1, _SPAN // half)
    for start in range(0, frames, together):
        stop = min(start + together, frames)
        spectra = _spectra(shared, window, start, stop)
        energy = np.square(spectra.real)
        energy += np.square(spectra.imag)
        energy += np.float32(FAINT_BIN)
        energy /= energy.sum(axis=-4, keepdims=True)
        waves = np.fft.irfft(energy * _spectra(missing, window, start, stop)[..., None, :, :, :], 2 * half)
        waves *= window
        given[..., start:stop, :] += waves[..., :half]
        given[..., start + 1 : stop + 1, :] += waves[..., half:]
    shared += given
    return shared[..., 1:-1, :].reshape(*stems.shape[:-1], -1)[..., :time]


def sine_window(rate_hz: int) -> np.ndarray:
    """The float32 window of the spectra; the squares of windows half a length apart sum to 1."""
    half = max(1, round(WINDOW_S * rate_hz / 2))
    return np.sin(np.pi * (np.arange(2 * half, dtype=np.float32) + 0.5) / (2 * half))


def mute(mixture: np.ndarray, stems: np.ndarray, rate_hz: int) -> None:
    """Silences the stems, in place, where the mixture is silent; the network may leave noise there.

    They fade out between a quarter and three quarters of a window after the last sound of their channel, and likewise
    fade in before its first.

    Args:
        mixture: (..., channel, time) float32 of about unit variance.
        stems: (..., stem, channel, time) float32.
        rate_hz: their sample rate.
    """
    reach = max(1, round(WINDOW_S * rate_hz / 4))
    sounding = _mean_around(np.abs(mixture) >= _SILENT, 2 * reach) > 0
    if not sounding.all():
        stems *= _mean_around(sounding, reach)[..., None, :, :]


def _mean_around(flags: np.ndarray, reach: int) -> np.ndarray:
    """The fraction of true flags in (..., time) within `reach` samples to either side; the edge values are repeated."""
    padded = np.pad(flags, [(0, 0)] * (flags.ndim - 1) + [(reach + 1, reach)], mode="edge")
    sums = np.cumsum(padded, axis=-1, dtype=np.int32)
    return (sums[..., 2 * reach + 1 :] - sums[..., : -2 * reach - 1]).astype(np.float32) / np.float32(2 * reach + 1)


def _halves(wave: np.ndarray, half: int) -> np.ndarray:
    """(..., time) to (..., half, sample): halves of windows, the first before the start and the last beyond the end."""
    count = -(-wave.shape[-1] // half)
    beyond = (count + 1) * half - wave.shape[-1]
    return np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(half, beyond)]).reshape(*wave.shape[:-1], count + 2, half)


def _spectra(halves: np.ndarray, window: np.ndarray, start: int, stop: int) -> np.ndarray:
    """(..., half, sample) to (..., frame, bin) of the frames from `start` to `stop`, each made of two halves."""
    frames = np.concatenate([halves[..., start:stop, :], halves[..., start + 1 : stop + 1, :]], axis=-1)
    frames *= window
    return np.fft.rfft(frames)


class Shared(NamedTuple):
    """Finished samples."""

    mixture: np.ndarray
    """(channel, time) float32."""
    stems: np.ndarray
    """(stem, channel, time) float32; their sum is the mixture."""


class ResidualSharing:
    """Adds the residual to the stems block by block, so that they sum to the mixture.

    A stem's share is interpolated linearly between the borders of cells; at a border it is the stem's part of the
    energy of the two adjacent cells. The energy is that of the wave's third differences, in which an octave higher
    counts 18 dB more: the residual lies at high frequencies, and so belongs to the stems that have energy there.
    """

    def __init__(self, stems: int, channels: int) -> None:
        self._mixture = np.zeros((channels, 0), np.float32)
        self._stems = np.zeros((stems, channels, 0), np.float32)
        self._before = np.zeros((stems, channels, 1), np.float32)  # energy of the cell before the first one held
        self._ramp = ((np.arange(CELL, dtype=np.float32) + 0.5) / CELL)[None, None]

    def push(self, mixture: np.ndarray, stems: np.ndarray, last: bool = False) -> Shared:
        """Adds samples and returns those that are finished.

        Args:
            mixture: (channel, time) float32.
            stems: (stem, channel, time) float32 of the same length.
            last: no block follows; all remaining samples are returned.
        """
        mixture = np.concatenate([self._mixture, mixture], axis=-1)
        stems = np.concatenate([self._stems, stems], axis=-1)
        time = mixture.shape[-1]
        if last:
            spare = -time % CELL
            mixture = np.pad(mixture, [(0, 0), (0, spare)])
            stems = np.pad(stems, [(0, 0), (0, 0), (0, spare)])
        cells = mixture.shape[-1] // CELL
        done = cells if last else max(0, cells - 1)
        if done:
            self._share(mixture, stems, cells, done)
        end = done * CELL
        self._mixture, self._stems = mixture[..., end:], stems[..., end:]
        end = min(end, time)
        return Shared(mixture[..., :end], stems[..., :end])

    def _share(self, mixture: np.ndarray, stems: np.ndarray, cells: int, done: int) -> None:
        """Adds to `stems`, in place, their shares of the residual in the first `done` of `cells`."""
        grid = (*stems.shape[:-1], cells, CELL)
        stem_cells = stems[..., : cells * CELL].reshape(grid)  # (stem, channel, cell, sample)
        mixture_cells = mixture[..., : cells * CELL].reshape(grid[1:])
        if not np.shares_memory(stem_cells, stems):
            raise AssertionError("cells must be a view")
        raised = np.diff(stem_cells, n=3, axis=-1)
        energy = np.einsum("scnk,scnk->scn", raised, raised)
        shares = _border_shares(np.concatenate([self._before, energy, energy[..., -1:]], axis=-1))
        self._before = energy[..., done - 1 : done].copy()
        for at in range(0, done, _BATCH):
            batch = slice(at, min(at + _BATCH, done))
            missing = mixture_cells[:, batch] - stem_cells[:, :, batch].sum(axis=0)  # (channel, cell, sample)
            rising = missing * self._ramp
            for stem, share in zip(stem_cells, shares, strict=True):
                left, right = share[:, batch, None], share[:, batch.start + 1 : batch.stop + 1, None]
                stem[:, batch] += missing * left
                stem[:, batch] += rising * (right - left)


def _border_shares(energy: np.ndarray) -> np.ndarray:
    """(stem, channel, cell + 2) energies to (stem, channel, cell + 1) shares at the borders, adding up to 1."""
    border = energy[..., :-1] + energy[..., 1:] + np.float32(_TINY)
    return border / border.sum(axis=0)
