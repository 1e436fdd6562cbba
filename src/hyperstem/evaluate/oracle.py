"""The oracle baseline: masks computed from the true stems."""

import numpy as np

from hyperstem.dsp.resample import crop

WINDOW = 2048
HOP = 1024
_FRAMES = 128  # frames processed at a time


def ideal_ratio_mask(stems: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Separates with masks computed from the true stems: each stem's share of the sum of all magnitudes.

    Half-overlapping Hann windows of 2048 samples, channels processed separately: the mask IRM1 of the 2018 Signal
    Separation Evaluation Campaign. It shows roughly how well masking a spectrogram can separate.

    Args:
        stems: all true stems of the mixture, (stem, channel, time).
        mixture: (channel, time).

    Returns:
        (stem, channel, time) float32; the stems sum to the mixture.
    """
    time = mixture.shape[-1]
    window = np.hanning(WINDOW + 1)[:-1]
    weight = np.square(window[:HOP]) + np.square(window[HOP:])  # every sample lies in two windows
    out = np.zeros(stems.shape, np.float32)
    for first in range(-1, -(-time // HOP), _FRAMES):  # frame f covers samples from f * HOP
        frames = range(first, min(first + _FRAMES, -(-time // HOP)))
        parts = _frames(stems, frames) * window
        masked = np.fft.irfft(_shares(np.fft.rfft(parts)) * np.fft.rfft(_frames(mixture, frames) * window), WINDOW)
        for i, frame in enumerate(frames):
            start, stop = max(frame * HOP, 0), min(frame * HOP + WINDOW, time)
            inside = slice(start - frame * HOP, stop - frame * HOP)
            out[..., start:stop] += (masked[..., i, :] * window / np.tile(weight, 2))[..., inside]
    return out


def _shares(spectra: np.ndarray) -> np.ndarray:
    """Magnitudes (stem, …) divided by their sum over stems; equal shares where all are zero."""
    masks = np.abs(spectra)
    total = masks.sum(axis=0)
    masks /= np.where(total > 0, total, 1)
    masks[:, total == 0] = 1 / len(masks)
    return masks


def _frames(waves: np.ndarray, frames: range) -> np.ndarray:
    """(…, time) to (…, frame, WINDOW) float64, with zeros outside the song."""
    part = crop(waves, frames[0] * HOP, frames[-1] * HOP + WINDOW).astype(np.float64)
    return np.lib.stride_tricks.sliding_window_view(part, WINDOW, axis=-1)[..., ::HOP, :]
