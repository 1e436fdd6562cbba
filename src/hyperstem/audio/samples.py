"""Conversion to and from fixed-point samples: full scale 1 is 2**(bits - 1) steps."""

from pathlib import Path

import numpy as np
import soundfile


def to_steps(wave: np.ndarray, bits: int) -> np.ndarray:
    """Float with full scale 1 rounded to steps, clamped to the range of `bits`: int16 up to 16 bits, else int32."""
    full = float(1 << (bits - 1))
    steps = np.multiply(wave, full, dtype=np.float32 if wave.dtype == np.float32 else np.float64)
    np.rint(steps, out=steps)
    np.clip(steps, -full, full - 1, out=steps)
    return steps.astype(np.int16 if bits <= 16 else np.int32)


def interleaved(wave: np.ndarray) -> np.ndarray:
    """(channel, time) as (time, channel) in memory order."""
    if wave.T.flags.c_contiguous:
        return wave.T
    result = np.empty(wave.shape[::-1], wave.dtype)
    for channel in range(len(wave)):  # at once, numpy would loop over channels innermost: four times slower
        result[:, channel] = wave[channel]
    return result


def planar(block: np.ndarray) -> np.ndarray:
    """(time, channel) as (channel, time) in memory order."""
    result = np.empty(block.shape[::-1], block.dtype)
    for channel in range(len(result)):
        result[channel] = block[:, channel]
    return result


def interleaved_steps(wave: np.ndarray, bits: int) -> np.ndarray:
    """(channel, time) float, or steps already, as (time, channel) steps in memory order."""
    return interleaved(wave if wave.dtype.kind == "i" else to_steps(wave, bits))


def read_steps(path: Path, bits: int, start: int, count: int) -> np.ndarray:
    """(channel, count) int32 steps of a fixed-point file, from sample `start` on."""
    with path.open("rb") as opened, soundfile.SoundFile(opened) as file:  # libsndfile only opens UTF-8 names
        file.seek(start)
        steps = np.asarray(file.read(count, dtype="int32", always_2d=True), np.int32)  # (time, channel)
    return steps.T >> (32 - bits)  # libsndfile uses the most significant bits
