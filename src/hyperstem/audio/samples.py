"""Fixed-point samples: full scale 1 is 2**(bits - 1) steps, both ways."""

from pathlib import Path

import numpy as np
import soundfile


def to_steps(wave: np.ndarray, bits: int) -> np.ndarray:
    """Float with full scale 1 as the nearest steps, clamped to what `bits` hold: int16 up to 16 bits, else int32."""
    full = float(1 << (bits - 1))
    steps = np.multiply(wave, full, dtype=np.float32 if wave.dtype == np.float32 else np.float64)
    np.rint(steps, out=steps)
    np.clip(steps, -full, full - 1, out=steps)
    return steps.astype(np.int16 if bits <= 16 else np.int32)


def interleaved_steps(wave: np.ndarray, bits: int) -> np.ndarray:
    """(channel, time) float, or steps already, as (time, channel) steps in memory order."""
    return np.ascontiguousarray(wave.T if wave.dtype.kind == "i" else to_steps(wave.T, bits))


def read_steps(path: Path, bits: int, start: int, count: int) -> np.ndarray:
    """(channel, count) int32 steps of a fixed-point file, from sample `start` on."""
    with soundfile.SoundFile(str(path)) as file:
        file.seek(start)
        steps = np.asarray(file.read(count, dtype="int32", always_2d=True), np.int32)  # (time, channel)
    return steps.T >> (32 - bits)  # libsndfile puts them into the top bits
