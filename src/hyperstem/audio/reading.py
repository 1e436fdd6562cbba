"""Reading: soundfile for the simple formats, PyAV for all others, in flat memory."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hyperstem.audio import containers
from hyperstem.audio.pyav import AvSource
from hyperstem.audio.sndfile import SoundFileSource, UnreadableError
from hyperstem.audio.source import AudioInfo, Source
from hyperstem.errors import AudioError

BLOCK_FRAMES = 1 << 16
LOUDEST = 1e15
"""Largest sample (300 dBFS) that is taken for sound; the squares of what lies far above do not fit into float32."""


def _open(path: str | Path, stream: int) -> Source:
    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path} is a folder, not an audio file")
    if path.exists() and not path.is_file():
        raise AudioError(f"{path} is a pipe or a device; a file is needed, for it is read more than once")
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise AudioError(f"{path} is empty")
    if stream == 0 and containers.simple(head):
        try:
            return SoundFileSource(path, head)
        except UnreadableError:
            pass  # PyAV knows more codecs
    return AvSource(path, stream)


def probe(path: str | Path, stream: int = 0) -> AudioInfo:
    """What the file says of itself, without decoding it.

    Raises:
        AudioError: it holds no sound that can be decoded.
        OSError: it cannot be opened.
    """
    with _open(path, stream) as source:
        return source.info


def sound_streams(path: str | Path) -> int:
    """Number of sound streams: 5 in a stem.mp4 (mixture, drums, bass, other, vocals), 1 in most files.

    Raises:
        AudioError: the file holds none that can be decoded.
    """
    with _open(path, 0) as source:
        return getattr(source, "streams", 1)


def read(
    path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None, stream: int = 0
) -> tuple[np.ndarray, int]:
    """Decodes the file, or a part of it, into memory.

    Args:
        path: any file that soundfile or PyAV reads.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most; None reads to the end.
        stream: which sound stream.

    Returns:
        The wave, (channel, time) float32 with full scale 1, and its sample rate.

    Raises:
        AudioError: nothing can be decoded, the file ends too early, or a sample is NaN or infinite.
        OSError: the file cannot be opened.
    """
    blocks = list(_stream(path, BLOCK_FRAMES, start_s, duration_s, stream))
    rate_hz = blocks.pop(0)
    return np.ascontiguousarray(np.concatenate(blocks, axis=1)), rate_hz


def stream(
    path: str | Path,
    *,
    block_frames: int = BLOCK_FRAMES,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stream: int = 0,
) -> Iterator[np.ndarray]:
    """Decodes the file block by block, in bounded memory.

    Args:
        path: any file that soundfile or PyAV reads.
        block_frames: about how many samples a block has; the last has fewer.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most; None reads to the end.
        stream: which sound stream.

    Yields:
        (channel, time) float32 with full scale 1, never empty; there is at least one.

    Raises:
        AudioError: nothing can be decoded, the file ends too early, or a sample is NaN or infinite.
        OSError: the file cannot be opened.
    """
    blocks = _stream(path, block_frames, start_s, duration_s, stream)
    next(blocks)
    yield from blocks


def _stream(path: str | Path, block_frames: int, start_s: float, duration_s: float | None, stream: int) -> Iterator:
    """First the sample rate, then the blocks."""
    if not (math.isfinite(start_s) and start_s >= 0):
        raise AudioError(f"{path}: start is {start_s} s; it must be 0 or later")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise AudioError(f"{path}: duration is {duration_s} s; it must be positive")
    with _open(path, stream) as source:
        info = source.info
        rate_hz = info.rate_hz
        yield rate_hz
        start = round(start_s * rate_hz)
        left = None if duration_s is None else max(1, round(duration_s * rate_hz))
        if start:
            if info.frames is not None and start >= info.frames:
                raise AudioError(f"{path}: start is {start_s:g} s; the file has {info.duration_s:.2f} s")
            source.seek(start)
        position = start
        for block in source.blocks(block_frames):
            block = block if left is None else block[:, :left]
            _check_finite(block, path, position, rate_hz)
            position += block.shape[1]
            yield block
            if left is not None:
                left -= block.shape[1]
                if left == 0:
                    return
        if position == start:
            past = f" from {start_s:g} s on" if start else ""
            raise AudioError(f"{path} holds no samples{past}")


def _check_finite(block: np.ndarray, path: str | Path, position: int, rate_hz: int) -> None:
    if block.max() <= LOUDEST and block.min() >= -LOUDEST:  # NaN is neither
        return
    channel, index = np.argwhere(~(np.abs(block) <= LOUDEST))[0]
    at, value = position + index, block[channel, index]
    must = f"be at most {LOUDEST:g}" if np.isfinite(value) else "be finite"
    raise AudioError(f"{path}: sample {at} ({at / rate_hz:.3f} s) of channel {channel} is {value}; it must {must}")
