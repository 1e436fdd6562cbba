"""Spectrograms with logarithmic frequency; pure."""

import numpy as np

FLOOR_DB = -96.0
LOWEST_HZ = 30.0
WINDOW = 2048


def spectrogram_levels(samples: np.ndarray, rate_hz: int, columns: int, rows: int) -> np.ndarray:
    """Levels over time and frequency.

    Args:
        samples: int16 (frame, channel), one frame or more; may be memory-mapped.
        rate_hz: their sample rate.
        columns: points in time, evenly spaced.
        rows: frequency bands from 30 Hz to half the rate or 20 kHz, equally wide in octaves.

    Returns:
        uint8 (row, column), the highest frequency first; 0 is -96 dB below a full-scale sine or less, 255 is 0 dB.
    """
    centres = ((np.arange(columns) + 0.5) * len(samples) / columns).astype(np.int64)
    levels = np.empty((columns, rows), np.float32)
    low, high = _row_bins(rate_hz, rows)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    for start in range(0, columns, 256):
        frames = _around(samples, centres[start : start + 256]) * window  # (column, sample)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2  # (column, bin)
        levels[start : start + 256] = _gather(power, low, high)
    full_scale = (window.sum() / 2) ** 2
    decibels = 10 * np.log10(np.maximum(levels / full_scale, 1e-12))
    scaled = np.clip((decibels - FLOOR_DB) / -FLOOR_DB, 0, 1) * 255
    return np.ascontiguousarray(scaled.astype(np.uint8).T[::-1])


def _around(samples: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """A window of the channels' mean around each centre, zero-padded; only those samples are read."""
    places = centres[:, None] + np.arange(-WINDOW // 2, WINDOW // 2)  # (column, sample)
    inside = (places >= 0) & (places < len(samples))
    sound = samples[np.clip(places, 0, len(samples) - 1)].astype(np.float32).mean(axis=2) / 32768
    return sound * inside


def _row_bins(rate_hz: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """First and end bin of each row, at least one bin each."""
    top = max(min(rate_hz / 2, 20_000.0), 2 * LOWEST_HZ)
    edges = LOWEST_HZ * (top / LOWEST_HZ) ** (np.arange(rows + 1) / rows)
    bins = np.clip(edges * WINDOW / rate_hz, 0, WINDOW // 2)
    low = np.floor(bins[:-1]).astype(np.int64)
    return low, np.maximum(np.ceil(bins[1:]).astype(np.int64), low + 1)


def _gather(power: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The strongest bin of each row: (column, bin) to (column, row)."""
    return np.stack([power[:, a:b].max(axis=1) for a, b in zip(low, high, strict=True)], axis=1)
