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
    count = -(-time // HOP) + 1
    margins = [(0, 0), (HOP, count * HOP - time)]
    mixed = np.pad(mixture, margins)
    parts = np.pad(stems, [(0, 0), *margins])
    window = np.hanning(WINDOW + 1)[:-1]
    out = np.zeros(parts.shape)
    for first in range(0, count, _FRAMES):
        frames = np.arange(first, min(first + _FRAMES, count))
        masks = np.abs(np.fft.rfft(_frames(parts, frames) * window))  # (stem, channel, frame, bin)
        total = masks.sum(axis=0)
        masks /= np.where(total > 0, total, 1)
        masks[:, total == 0] = 1 / len(stems)
        pieces = np.fft.irfft(masks * np.fft.rfft(_frames(mixed, frames) * window), WINDOW) * window
        for i, frame in enumerate(frames):
            out[..., frame * HOP : frame * HOP + WINDOW] += pieces[..., i, :]
    weight = np.square(window[:HOP]) + np.square(window[HOP:])  # every sample lies in two windows
    return (out[..., HOP : HOP + time] / np.resize(weight, time)).astype(np.float32)


def _frames(waves: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(…, time) -> (…, frame, WINDOW)."""
    return np.stack([waves[..., frame * HOP : frame * HOP + WINDOW] for frame in frames], axis=-2)
