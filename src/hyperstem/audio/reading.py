"""Reading: soundfile for the simple formats, PyAV for all others, in constant memory."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from hyperstem.audio.damage import Findings, Warn
from hyperstem.audio.joined import JoinedSource
from hyperstem.audio.parts import Part, parts
from hyperstem.audio.pyav import AvSource
from hyperstem.audio.sndfile import SoundFileSource, UnreadableError
from hyperstem.audio.source import AudioInfo, Source
from hyperstem.audio.streams import Choice
from hyperstem.audio.tags import read_tags
from hyperstem.errors import AudioError

BLOCK_FRAMES = 1 << 16
LOUDEST = 1e15
"""Largest valid sample (300 dBFS); the squares of much larger ones overflow float32."""


class AudioWarning(UserWarning):
    """A file is damaged, or its header is out of date; what can be decoded was read."""


def _open(path: str | Path, stream: Choice, strict: bool = False) -> Source:
    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path} is a folder, not an audio file")
    if path.exists() and not path.is_file():
        raise AudioError(f"{path} is a pipe or a device; a file is needed, for it is read more than once")
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise AudioError(f"{path} is empty")
    findings = Findings(path, strict)
    openers = [partial(_open_part, path, stream, findings, part) for part in parts(path, head, findings)]
    return openers[0]() if len(openers) == 1 else JoinedSource(openers, findings)


def _open_part(path: Path, stream: Choice, findings: Findings, part: Part) -> Source:
    if part.simple and stream in (None, 0):
        try:
            source = SoundFileSource(path, findings, part)
        except UnreadableError:
            pass  # PyAV supports more codecs
        else:
            if source.info.format != "ogg" or source.info.channels <= 2:  # more are in Vorbis order
                return source
            source.close()
    return AvSource(path, stream, findings, part)


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """A list that, when the block ends, holds every `AudioWarning` issued in it; not thread-safe."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        yield texts
    for warning in caught:
        if issubclass(warning.category, AudioWarning):
            texts.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def probe(path: str | Path, stream: Choice = None) -> AudioInfo:
    """Rate, channels, length and tags of a file, without decoding it.

    Args:
        path: any file that soundfile or PyAV reads.
        stream: which sound stream: a number from 0, a language or title; None for the default one.

    Raises:
        AudioError: it has no sound that can be decoded.
        OSError: it cannot be opened.
    """
    with _open(path, stream) as source:
        info = source.info
    return info._replace(tags=dict(read_tags(path).texts))


def sound_streams(path: str | Path) -> int:
    """Number of sound streams: 5 in a stem.mp4 (mixture, drums, bass, other, vocals), 1 in most files.

    Raises:
        AudioError: the file has none that can be decoded.
    """
    with _open(path, None) as source:
        return getattr(source, "streams", 1)


def read(
    path: str | Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stream: Choice = None,
    strict: bool = False,
    warn: Warn | None = None,
) -> tuple[np.ndarray, int]:
    """Decodes the file, or a part of it, into memory.

    Args:
        path: any file that soundfile or PyAV reads.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most; None reads to the end.
        stream: which sound stream: a number from 0, a language or title; None for the default one.
        strict: refuse files that have lost sound; otherwise silence replaces it, and `warn` is called.
        warn: called with each problem found in the file; None issues an `AudioWarning` for each.

    Returns:
        The wave, (channel, time) float32 with full scale 1, and its sample rate.

    Raises:
        AudioError: nothing can be decoded, or a sample is NaN or infinite.
        OSError: the file cannot be opened.
    """
    with Sound(path, start_s, duration_s, stream, strict, warn) as sound:
        return np.ascontiguousarray(np.concatenate([*sound.blocks(BLOCK_FRAMES)], axis=1)), sound.info.rate_hz


def stream(
    path: str | Path,
    *,
    block_frames: int = BLOCK_FRAMES,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stream: Choice = None,
    strict: bool = False,
    warn: Warn | None = None,
) -> Iterator[np.ndarray]:
    """Decodes the file block by block, in bounded memory.

    Args:
        path: any file that soundfile or PyAV reads.
        block_frames: approximate samples per block; the last may have fewer.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most; None reads to the end.
        stream: which sound stream: a number from 0, a language or title; None for the default one.
        strict: refuse files that have lost sound; otherwise silence replaces it, and `warn` is called.
        warn: called, at the end, with each problem found in the file; None issues an `AudioWarning` for each.

    Yields:
        (channel, time) float32 with full scale 1, never empty; there is at least one.

    Raises:
        AudioError: nothing can be decoded, or a sample is NaN or infinite.
        OSError: the file cannot be opened.
    """
    with Sound(path, start_s, duration_s, stream, strict, warn) as sound:
        yield from sound.blocks(block_frames)


class Sound:
    """A file that is being read; see `stream` for the arguments."""

    def __init__(
        self,
        path: str | Path,
        start_s: float = 0.0,
        duration_s: float | None = None,
        stream: Choice = None,
        strict: bool = False,
        warn: Warn | None = None,
    ) -> None:
        if not (math.isfinite(start_s) and start_s >= 0):
            raise AudioError(f"{path}: start is {start_s} s; it must be 0 or later")
        if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
            raise AudioError(f"{path}: duration is {duration_s} s; it must be positive")
        self._path, self._start_s, self._duration_s, self._warn = path, start_s, duration_s, warn
        self._source = _open(path, stream, strict)
        self.info = self._source.info

    def blocks(self, block_frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks; may be called once."""
        rate_hz, path = self.info.rate_hz, self._path
        start = round(self._start_s * rate_hz)
        left = None if self._duration_s is None else max(1, round(self._duration_s * rate_hz))
        if start:
            if self.info.frames is not None and start >= self.info.frames:
                raise AudioError(f"{path}: start is {self._start_s:g} s; the file has {self.info.duration_s:.2f} s")
            self._source.findings.from_s = self._start_s
            self._source.seek(start)
        position = start
        for block in self._source.blocks(block_frames):
            block = block if left is None else block[:, :left]
            if block.shape[1]:
                _check_finite(block, path, position, rate_hz)
                position += block.shape[1]
                yield block
            if left is not None:
                left -= block.shape[1]
                if left == 0:
                    break
        if position == start:
            past = f" from {self._start_s:g} s on" if start else ""
            raise AudioError(f"{path} holds no samples{past}")
        self._issue_warnings()

    def _issue_warnings(self) -> None:
        for text in self._source.findings.texts():
            if self._warn is not None:
                self._warn(text)
            else:
                warnings.warn(f"{self._path} {text}", AudioWarning, stacklevel=4)

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()


def _check_finite(block: np.ndarray, path: str | Path, position: int, rate_hz: int) -> None:
    if block.max() <= LOUDEST and block.min() >= -LOUDEST:  # NaN is neither
        return
    channel, index = np.argwhere(~(np.abs(block) <= LOUDEST))[0]
    at, value = position + index, block[channel, index]
    must = f"be at most {LOUDEST:g}" if np.isfinite(value) else "be finite"
    raise AudioError(f"{path}: sample {at} ({at / rate_hz:.3f} s) of channel {channel} is {value}; it must {must}")
