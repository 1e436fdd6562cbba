"""Splits a stream into overlapping segments, and crossfades the results back into one. Pure, in constant memory.

Every segment has the same length, because the network normalises over the whole of it. The last one is shifted back
until it ends with the stream; a stream shorter than one segment is extended by its own mirror image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperstem.errors import ConfigError

_EVEN = 1e-6
"""Weights this close to 1 differ from it only by rounding."""


@dataclass(frozen=True)
class Cut:
    """How a stream is split into segments, in samples."""

    length: int
    """Length of every segment."""
    hop: int
    """From one segment's start to the next."""

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.length:
            raise ConfigError(f"a hop of {self.hop} samples; allowed are 1 to the segment's {self.length}")

    @property
    def fade(self) -> int:
        """Samples of the crossfade at either end of a segment."""
        return min(self.length - self.hop, self.length // 2)

    def window(self) -> np.ndarray:
        """(length,) float32 weights, all positive: ramps at both ends, which add up to 1 where two segments overlap."""
        window = np.ones(self.length, np.float32)
        ramp = np.sin(np.pi / 2 * (np.arange(self.fade) + 0.5) / max(self.fade, 1)) ** 2
        window[: self.fade] = ramp
        window[self.length - self.fade :] *= ramp[::-1].astype(np.float32)
        return window


class Segment(NamedTuple):
    """One segment of a stream."""

    start: int
    """Its first sample in the stream."""
    wave: np.ndarray
    """(channel, length) float32; samples beyond `sound` are padding."""
    sound: int
    """How many of its samples come from the stream: all of them, unless the stream is shorter than a segment."""


class Segmenter:
    """Splits blocks of any length into segments."""

    def __init__(self, channels: int, cut: Cut) -> None:
        self._cut = cut
        self._held = np.zeros((channels, 0), np.float32)
        self._held_start = 0
        self._next = 0

    def push(self, block: np.ndarray) -> Iterator[Segment]:
        """Adds (channel, time) samples and yields the segments that are now complete."""
        self._held = np.concatenate([self._held, block], axis=1)
        while self._next + self._cut.length <= self._end:
            yield self._segment(self._next)
            self._next += self._cut.hop
            self._drop(self._next - self._cut.hop)

    def finish(self) -> Iterator[Segment]:
        """The last segment, unless the one before reached the end of the stream."""
        length, end = self._cut.length, self._end
        covered = self._next - self._cut.hop + length if self._next else 0
        if end <= covered:
            return
        if end >= length:
            yield self._segment(end - length)
        else:
            yield Segment(0, np.ascontiguousarray(mirrored(self._held, length)), end)

    @property
    def _end(self) -> int:
        return self._held_start + self._held.shape[1]

    def _segment(self, start: int) -> Segment:
        at = start - self._held_start
        return Segment(start, np.ascontiguousarray(self._held[:, at : at + self._cut.length]), self._cut.length)

    def _drop(self, before: int) -> None:
        """Drops samples before `before`; the last segment, shifted back, never begins before the one preceding it."""
        gone = before - self._held_start
        self._held, self._held_start = self._held[:, gone:], before


def mirrored(wave: np.ndarray, length: int) -> np.ndarray:
    """(channel, time) extended to (channel, length) by its mirror image, back and forth."""
    time = wave.shape[1]
    index = np.arange(length) % (2 * time)
    return wave[:, np.where(index < time, index, 2 * time - 1 - index)]


class OverlapAdd:
    """Overlap-add: sums windowed segments, in order of their starts, and divides by the sum of the windows."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._window = cut.window()
        self._sum: np.ndarray | None = None
        self._weight = np.zeros(0, np.float32)
        self._start = 0

    def push(self, start: int, wave: np.ndarray) -> np.ndarray:
        """Adds one segment.

        Args:
            start: its first sample in the stream, at or after the previous segment's.
            wave: (..., length or less) float32; it is modified, and kept until the next call.

        Returns:
            (..., ready) samples that later segments cannot change.
        """
        length, fade = self._cut.length, self._cut.fade
        window = self._window[: wave.shape[-1]].copy()
        wave[..., :fade] *= window[:fade]
        wave[..., length - fade :] *= window[length - fade :]
        ready = wave[..., :0]
        if self._sum is not None:
            ready, rest, weight = self._split(start - self._start)
            wave[..., : rest.shape[-1]] += rest
            window[: len(weight)] += weight
        self._sum, self._weight, self._start = wave, window, start
        return ready

    def finish(self) -> np.ndarray:
        """(..., rest): the samples still held, once all segments have been added."""
        if self._sum is None:
            raise ValueError("no segment came")
        return self._split(self._sum.shape[-1])[0]

    def _split(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first `count` samples, divided by their weights; then the remaining samples and their weights."""
        assert self._sum is not None
        ready, weight = self._sum[..., :count], self._weight[:count]
        uneven = np.flatnonzero(np.abs(weight - 1) > _EVEN)
        if len(uneven):
            part = slice(uneven[0], uneven[-1] + 1)
            ready[..., part] /= weight[part]
        return ready, self._sum[..., count:], self._weight[count:]
