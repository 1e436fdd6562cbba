"""Sample rates: one resampler (soxr), and the network's input made with it: every rate of a mixture, normalised."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soxr

from hyperstem.errors import AudioError

QUALITY = "HQ"
SILENCE = 1e-6
"""Smallest level (-120 dBFS) that is still brought up to 1 by `normalise`; anything below stays below."""
DC_RATIO = 1e-3
"""Smallest level beside a constant offset that is still brought up to 1."""


class Normalised(NamedTuple):
    """A pyramid at level 1, and what undoes it."""

    waves: list[np.ndarray]
    """Every rate's wave divided by its scale: float32 (..., channel, time_i)."""
    scales: list[np.ndarray]
    """What each wave was divided by: float32 (..., 1, 1), positive."""


def resample(wave: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """The wave at another sample rate, aligned to the sample.

    Args:
        wave: (..., time) float.
        from_hz: its sample rate.
        to_hz: the rate wanted.

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
    """(..., time) cut, or padded with zeros at its end, to (..., length)."""
    missing = length - wave.shape[-1]
    if missing <= 0:
        return np.ascontiguousarray(wave[..., :length])
    return np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(0, missing)])


def _check_rates(*rates_hz: int) -> None:
    for rate_hz in rates_hz:
        if rate_hz < 1:
            raise AudioError(f"sample rate {rate_hz} Hz; it must be positive")


class Resampler:
    """Resamples block by block; the blocks joined equal `resample` of the whole, whatever their sizes."""

    def __init__(self, channels: int, from_hz: int, to_hz: int) -> None:
        _check_rates(from_hz, to_hz)
        self.channels, self.from_hz, self.to_hz = channels, from_hz, to_hz
        self._taken = self._given = 0
        # One stream a channel: interleaving several into one and back takes a quarter more time.
        self._streams = (
            []
            if from_hz == to_hz
            else [soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=QUALITY) for _ in range(channels)]
        )

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes the next samples and gives those that are ready.

        Args:
            block: (channel, time) float32, any length, none included.
            last: nothing follows; what is held back comes out, so that ceil(time * to / from) samples have come in all.

        Returns:
            (channel, ready) float32.
        """
        if not self._streams:
            return block
        self._taken += block.shape[-1]
        length = resampled_length(self._taken, self.from_hz, self.to_hz)
        block = np.asarray(block, np.float32)
        ready = np.stack(
            [
                stream.resample_chunk(np.ascontiguousarray(channel), last=last)
                for stream, channel in zip(self._streams, block, strict=True)
            ]
        )  # (channel, ready)
        ready = fit(ready, length - self._given) if last else ready[:, : length - self._given]
        self._given += ready.shape[-1]
        return ready


def pyramid(wave: np.ndarray, rate_hz: int, rates_hz: Sequence[int]) -> list[np.ndarray]:
    """The wave at every stage's rate.

    Stage 0 covers the whole wave with its samples, and its length decides the others': they are padded with zeros to
    whole multiples, so that ``time_i == time_0 * rates_hz[i] // rates_hz[0]`` exactly.

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
        waves: a pyramid, (..., channel, time_i) each; leading axes are apart from each other.
    """
    scales = [_scale(wave) for wave in waves]
    return Normalised([wave / scale for wave, scale in zip(waves, scales, strict=True)], scales)


def _scale(wave: np.ndarray) -> np.ndarray:
    """(..., channel, time) to (..., 1, 1): the standard deviation about the mean, kept away from zero."""
    mean = wave.mean(axis=(-2, -1), keepdims=True)
    squares = wave - mean  # the mean is taken away first: in float32, nothing is lost where it is large
    np.square(squares, out=squares)
    deviation = np.sqrt(squares.mean(axis=(-2, -1), dtype=np.float64, keepdims=True))
    return np.maximum(np.maximum(deviation, SILENCE), DC_RATIO * np.abs(mean)).astype(np.float32)
