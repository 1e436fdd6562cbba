"""What a caller may pass as a sound: arrays of any numeric type, paths, bytes and open files."""

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hyperstem.audio.reading import LOUDEST
from hyperstem.errors import AudioError
from hyperstem.files import user_path

Sound = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A file's path, its contents, or the open file."""
_MOST_CHANNELS = 64
_WIDEST_INTEGER_BYTES = 4


def as_wave(wave: Any) -> np.ndarray:
    """An array as (channel, time) float32 with full scale 1.

    Integers of up to 32 bits are scaled by their range; unsigned ones are centred on half of it, as in WAV files.

    Args:
        wave: (channel, time), or (time,) for one channel; floats at any level, or integers.

    Raises:
        AudioError: another type, no samples, too many channels, or samples that are not finite.
    """
    try:
        wave = np.atleast_2d(np.asarray(wave))
    except (TypeError, ValueError) as error:
        raise AudioError(f"a wave of type {type(wave).__name__} is no array of numbers: {error}") from None
    if wave.ndim != 2 or wave.size == 0:
        raise AudioError(f"a wave of shape {wave.shape}; expected (channel, time) with at least one sample")
    if len(wave) > _MOST_CHANNELS:
        raise AudioError(
            f"a wave of shape {wave.shape} has {len(wave)} channels; at most {_MOST_CHANNELS} are "
            "allowed, and the axes are (channel, time)"
        )
    wave = _as_floats(wave)
    if not (wave.max() <= LOUDEST and wave.min() >= -LOUDEST):
        raise AudioError(
            f"the wave has samples that are NaN or infinite, or beyond {LOUDEST:g}; they must be finite, at most that"
        )
    return wave


def _as_floats(wave: np.ndarray) -> np.ndarray:
    kind = wave.dtype
    if np.issubdtype(kind, np.floating):
        with np.errstate(over="ignore"):  # values too large become infinite, and are refused
            return wave.astype(np.float32, copy=False)
    if not np.issubdtype(kind, np.integer) or kind.itemsize > _WIDEST_INTEGER_BYTES:
        raise AudioError(
            f"a wave of {kind}; allowed are floats with full scale 1, and integers of 8, 16 or 32 bits, whose range is "
            "full scale"
        )
    half = 1 << (8 * kind.itemsize - 1)
    middle = half if np.issubdtype(kind, np.unsignedinteger) else 0
    return ((wave.astype(np.float64) - middle) / half).astype(np.float32)


def as_rate(rate_hz: Any) -> int:
    """A sample rate as a whole number.

    Raises:
        AudioError: it is not a positive whole number.
    """
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        whole = int(rate_hz)
        if not isinstance(rate_hz, str | bytes | bool) and whole == rate_hz and whole > 0:
            return whole
    raise AudioError(f"sample rate {rate_hz!r} Hz; it must be a positive whole number, such as 44100")


@contextlib.contextmanager
def as_file(sound: Sound) -> Iterator[Path]:
    """The path of a sound; bytes and open files are copied to a temporary file while the block runs.

    Raises:
        AudioError: it is not a `Sound`; errors raised in the block name the sound instead of the temporary file.
    """
    if isinstance(sound, str | os.PathLike):
        yield user_path(sound)
        return
    with tempfile.TemporaryDirectory(prefix="hyperstem-") as folder:
        path = Path(folder) / "sound"
        name = _write(sound, path)
        try:
            yield path
        except AudioError as error:
            raise AudioError(str(error).replace(str(path), name)) from None


def _write(sound: Any, path: Path) -> str:
    """Writes a sound's bytes to `path`, and returns its name for messages."""
    if isinstance(sound, bytes | bytearray | memoryview):
        path.write_bytes(sound)
        return f"the {type(sound).__name__} given"
    if isinstance(sound, io.TextIOBase) or not callable(getattr(sound, "read", None)):
        hint = (
            "open it with mode 'rb'" if isinstance(sound, io.TextIOBase) else "expected a path, bytes or an open file"
        )
        raise AudioError(f"a sound of type {type(sound).__name__}; {hint}")
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sound, file, 1 << 20)
    except TypeError:
        raise AudioError(f"reading {type(sound).__name__} gives no bytes; open it with mode 'rb'") from None
    return f"the file {sound.name}" if isinstance(getattr(sound, "name", None), str) else "the file given"
