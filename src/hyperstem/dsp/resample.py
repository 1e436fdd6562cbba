"""Resampling (soxr), and the network's input: the mixture at every stage's rate, each normalised."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soxr

from hyperstem.errors import AudioError

QUALITY = "HQ"
SILENCE = 1e-6
"""Smallest standard deviation (-120 dBFS) that `normalise` brings to 1; quieter waves stay below 1."""
DC_RATIO = 1e-3
"""Smallest standard deviation, relative to the DC offset, that `normalise` brings to 1."""


class Normalised(NamedTuple):
    """A pyramid of unit variance, and the scales that undo the normalisation."""

    waves: list[np.ndarray]
    """The wave at every rate, divided by its scale: float32 (..., channel, time_i)."""
    scales: list[np.ndarray]
    """What each wave was divided by: float32 (..., 1, 1), positive."""


def resample(wave: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """The wave at another sample rate, aligned to the sample.

    Args:
        wave: (..., time) float.
        from_hz: its sample rate.
        to_hz: the target rate.

    Returns:
        (..., ceil(time * to_hz / from_hz)) float32.
    """
    wave = np.asarray(wave, np.float32)
    if from_hz == to_hz:
        return wave
    _check_rates(from_hz, to_hz)
    length = resampled_length(wave.shape[-1], from_hz, to_hz)
    if wave.size == 0:
        return np.zeros((*wave.shape[:-1], length), np.float32)
    channels = np.ascontiguousarray(wave).reshape(-1, wave.shape[-1])  # (channel, time)
    result = soxr.resample(channels.T, from_hz, to_hz, quality=QUALITY).T  # (channel, about length)
    return fit(result, length).reshape(*wave.shape[:-1], length)


def resampled_length(length: int, from_hz: int, to_hz: int) -> int:
    """Samples at `to_hz` that cover `length` samples at `from_hz`."""
    return -(-length * to_hz // from_hz)


def fit(wave: np.ndarray, length: int) -> np.ndarray:
    """(..., time) trimmed, or padded with zeros at its end, to (..., length)."""
    missing = length - wave.shape[-1]
    if missing <= 0:
        return np.ascontiguousarray(wave[..., :length])
    return np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(0, missing)])


def crop(wave: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Samples [start, stop) of (..., time), with zeros where they lie outside the waveform."""
    inside, before = wave[..., max(start, 0) : max(stop, 0)], max(-start, 0)
    result = np.zeros((*wave.shape[:-1], stop - start), wave.dtype)
    result[..., before : before + inside.shape[-1]] = inside
    return result


def _check_rates(*rates_hz: int) -> None:
    for rate_hz in rates_hz:
        if rate_hz < 1:
            raise AudioError(f"sample rate {rate_hz} Hz; it must be positive")


class Resampler:
    """Resamples block by block; the result equals `resample` of the whole wave, whatever the sizes of the blocks."""

    def __init__(self, channels: int, from_hz: int, to_hz: int) -> None:
        _check_rates(from_hz, to_hz)
        self.channels, self.from_hz, self.to_hz = channels, from_hz, to_hz
        self._samples_in = self._samples_out = 0
        # One stream per channel: interleaving the channels and back takes a quarter more time.
        self._streams = (
            []
            if from_hz == to_hz
            else [soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=QUALITY) for _ in range(channels)]
        )

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Adds the next samples and returns those that are ready.

        Args:
            block: (channel, time) float32 of any length, also 0.
            last: no block follows; all remaining samples are returned, ceil(time * to / from) in total.

        Returns:
            (channel, ready) float32.
        """
        if not self._streams:
            return block
        self._samples_in += block.shape[-1]
        length = resampled_length(self._samples_in, self.from_hz, self.to_hz)
        block = np.asarray(block, np.float32)
        ready = np.stack(
            [
                stream.resample_chunk(np.ascontiguousarray(channel), last=last)
                for stream, channel in zip(self._streams, block, strict=True)
            ]
        )  # (channel, ready)
        ready = fit(ready, length - self._samples_out) if last else ready[:, : length - self._samples_out]
        self._samples_out += ready.shape[-1]
        return ready


def pyramid(wave: np.ndarray, rate_hz: int, rates_hz: Sequence[int]) -> list[np.ndarray]:
    """The wave at every stage's rate.

    Stage 0 covers the whole wave, and its length determines the others': they are padded with zeros to whole
    multiples, so that ``time_i == time_0 * rates_hz[i] // rates_hz[0]`` exactly.

    Args:
        wave: (..., time) float.
        rate_hz: its sample rate.
        rates_hz: rates of the stages, lowest first, each a multiple of the first.

    Returns:
        One float32 (..., time_i) per rate.
    """
    base_hz = rates_hz[0]
    _check_rates(rate_hz, *rates_hz)
    base_length = resampled_length(wave.shape[-1], rate_hz, base_hz)
    return [fit(resample(wave, rate_hz, hz), base_length * hz // base_hz) for hz in rates_hz]


def normalise(waves: Sequence[np.ndarray]) -> Normalised:
    """Divides each rate by its own standard deviation over channels and time; no mean is removed.

    Silence stays silence: the divisor is at least `SILENCE`, and at least `DC_RATIO` of a constant offset.

    Args:
        waves: a pyramid, (..., channel, time_i) each; each item of the leading axes is normalised on its own.
    """
    scales = [_scale(wave) for wave in waves]
    return Normalised([wave / scale for wave, scale in zip(waves, scales, strict=True)], scales)


def _scale(wave: np.ndarray) -> np.ndarray:
    """(..., channel, time) to (..., 1, 1): the standard deviation about the mean, kept away from zero."""
    mean = wave.mean(axis=(-2, -1), keepdims=True)
    squares = wave - mean  # subtracted first: a large mean would cost precision in float32
    np.square(squares, out=squares)
    deviation = np.sqrt(squares.mean(axis=(-2, -1), dtype=np.float64, keepdims=True))
    return np.maximum(np.maximum(deviation, SILENCE), DC_RATIO * np.abs(mean)).astype(np.float32)
