"""Renders the page's mix, the sum of the lanes with volume and pan, in constant memory."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hyperstem.audio.wav import header16
from hyperstem.web.sound.takes import Sound

BLOCK_FRAMES = 1 << 17


class Lane(NamedTuple):
    """A stem in the mix: volume 0 and up, pan -1 (left) to 1 (right)."""

    sound: Sound
    volume: float = 1.0
    pan: float = 0.0


def pan_matrix(pan: float) -> np.ndarray:
    """Gains float64 (2 out, 2 in) of the Web Audio StereoPanner for stereo input.

    Source: Web Audio API 1.1, "StereoPanner algorithm".
    """
    angle = (pan + 1 if pan <= 0 else pan) * np.pi / 2
    if pan <= 0:
        return np.array([[1.0, np.cos(angle)], [0.0, np.sin(angle)]])
    return np.array([[np.cos(angle), 0.0], [np.sin(angle), 1.0]])


def out_channels(lanes: list[Lane], channels: int) -> int:
    """Channels of the mix: the song's, but two if a mono song is panned."""
    return 2 if channels == 1 and any(lane.pan for lane in lanes) else channels


def blocks(lanes: list[Lane], channels: int, frames: int, first: int = 0) -> Iterator[np.ndarray]:
    """The mix of `frames` frames from `first` on, in blocks of float32 (frame, channel), full scale 1."""
    out = out_channels(lanes, channels)
    gains = [_gains(lane, channels, out) for lane in lanes]
    for at in range(0, frames, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, frames - at)
        total = np.zeros((count, out), np.float32)
        for lane, gain in zip(lanes, gains, strict=True):
            samples = lane.sound.read(first + at, count)
            total[: len(samples)] += (samples.astype(np.float32) / 32768) @ gain
        yield total


def _gains(lane: Lane, channels: int, out: int) -> np.ndarray:
    """(channel in, channel out) float32; only mono and stereo are panned."""
    if channels == 1:
        matrix = np.ones((1, 1)) if out == 1 else pan_matrix(lane.pan).sum(axis=1)[None]
    elif channels == 2:
        matrix = pan_matrix(lane.pan).T
    else:
        matrix = np.eye(channels)
    return (lane.volume * matrix).astype(np.float32)


def render(lanes: list[Lane], channels: int, frames: int, rate_hz: int, first: int = 0) -> Iterator[bytes]:
    """A 16-bit wav file of `frames` frames of the mix, in chunks; the whole mix is scaled down if it would clip."""
    out = out_channels(lanes, channels)
    peak = max((float(np.abs(block).max(initial=0.0)) for block in blocks(lanes, channels, frames, first)), default=0.0)
    scale = 32767 / max(peak, 32767 / 32768)
    yield header16(out, rate_hz, frames)
    for block in blocks(lanes, channels, frames, first):
        yield np.rint(block * scale).astype("<i2").tobytes()


def wav_bytes(lanes: list[Lane], channels: int, frames: int) -> int:
    """The size of the file that `render` gives."""
    return 44 + frames * out_channels(lanes, channels) * 2
