"""Short-time Fourier transforms of many waves at once, and back; float32, with a hop of a quarter window."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

_FRAMES = 32
"""Frames transformed at once: few enough to stay in the processor's cache."""


@lru_cache(maxsize=8)
def _window(n_fft: int) -> np.ndarray:
    """A periodic Hann window whose squares sum to 1."""
    window = np.sin(np.pi * np.arange(n_fft) / n_fft) ** 2
    return (window / np.sqrt(np.square(window).sum())).astype(np.float32)


def stft(wave: np.ndarray, n_fft: int) -> np.ndarray:
    """The spectra of a wave, scaled so that white noise of power 1 has power 1 in every bin.

    Args:
        wave: (..., time) float32, padded with silence at both ends.
        n_fft: samples of a window, a multiple of 4.

    Returns:
        (..., frame, n_fft // 2) complex64 with ``time // (n_fft // 4) + 1`` frames, each around a multiple of the hop;
        the bin at half the rate is left out.
    """
    padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(n_fft // 2, n_fft // 2)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., :: n_fft // 4, :]
    result = np.empty((*frames.shape[:-1], n_fft // 2), np.complex64)
    together = max(1, _FRAMES // max(1, math.prod(wave.shape[:-1])))
    for start in range(0, frames.shape[-2], together):
        some = slice(start, start + together)
        result[..., some, :] = np.fft.rfft(frames[..., some, :] * _window(n_fft))[..., :-1]
    return result


def istft(spectra: Callable[[int, int], np.ndarray], frames: int, n_fft: int, length: int) -> np.ndarray:
    """The inverse of `stft`, for spectra that are computed as they are needed.

    Args:
        spectra: called with start and stop, returns those frames, (..., frame, n_fft // 2) complex64.
        frames: how many there are in total.
        n_fft: samples of a window.
        length: samples of the wave.

    Returns:
        (..., length) float32.
    """
    hop, window = n_fft // 4, _window(n_fft)
    total, weight = np.zeros(0, np.float32), np.zeros((frames + 3, hop), np.float32)
    for start in range(0, frames, _FRAMES):
        stop = min(start + _FRAMES, frames)
        pieces = np.fft.irfft(spectra(start, stop), n_fft)
        pieces *= window
        if not start:
            total = np.zeros((*pieces.shape[:-2], frames + 3, hop), np.float32)
        for quarter in range(4):
            cut = slice(quarter * hop, (quarter + 1) * hop)
            total[..., start + quarter : stop + quarter, :] += pieces[..., cut]
            weight[start + quarter : stop + quarter] += np.square(window[cut])
    total /= np.maximum(weight, np.float32(1e-3 / hop))
    return total.reshape(*total.shape[:-2], -1)[..., n_fft // 2 : n_fft // 2 + length]
