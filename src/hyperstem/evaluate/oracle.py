"""Baselines that need no network: the mixture itself, and an oracle that knows the stems' spectra."""

import numpy as np

WINDOW = 2048
HOP = 1024
_FRAMES = 128  # frames handled at a time


def mixture_as_stems(mixture: np.ndarray, stems: int) -> np.ndarray:
    """The mixture (channel, time) given out as every stem, (stem, channel, time): what no separation scores."""
    return np.broadcast_to(mixture, (stems, *mixture.shape))


def ideal_ratio_mask(stems: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Separates with masks made from the true stems: each stem's share of the sum of all magnitudes.

    Hann windows of 2048 samples, half overlapping, each channel apart: the mask called IRM1 in the 2018 Signal
    Separation Evaluation Campaign. It knows the answer, so it shows about what masking a spectrogram can reach.

    Args:
        stems: the true stems, all that the mixture is made of, (stem, channel, time).
        mixture: (channel, time).

    Returns:
        (stem, channel, time) float32; the stems add up to the mixture.
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
    """(…, time) -> (…, frame, WINDOW), zeros outside the song."""
    first, last = frames[0] * HOP, frames[-1] * HOP + WINDOW
    inside = waves[..., max(first, 0) : last]
    before = max(-first, 0)
    margins = [(0, 0)] * (waves.ndim - 1) + [(before, last - first - before - inside.shape[-1])]
    padded = np.pad(inside, margins).astype(np.float64)
    return np.stack([padded[..., i * HOP : i * HOP + WINDOW] for i in range(len(frames))], axis=-2)
