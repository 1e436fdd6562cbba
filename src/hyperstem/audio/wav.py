"""WAV headers, and an encoder: the same input gives the same bytes (no timestamps), and RF64 beyond 4 GiB.

Source: Microsoft's RIFF and WAVEFORMATEXTENSIBLE, EBU Tech 3306 (RF64).
"""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from hyperstem.audio.chunks import chunk, walk
from hyperstem.audio.samples import interleaved, interleaved_steps
from hyperstem.audio.tags import Tags, id3_bytes, info_entries
from hyperstem.errors import AudioError

_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_MASKS = {1: 0x4, 2: 0x3}
_UNKNOWN = 0xFFFFFFFF


class WavEncoder:
    """Writes WAV: pcm16, pcm24 or float."""

    def __init__(self, file: BinaryIO, rate_hz: int, channels: int, subtype: str, tags: Tags) -> None:
        self._file, self._subtype = file, subtype
        self._bits = {"pcm16": 16, "pcm24": 24, "float": 32}[subtype]
        self._frame_bytes = channels * self._bits // 8
        self._frames = 0
        file.write(b"RIFF" + bytes(4) + b"WAVE" + b"JUNK" + struct.pack("<I", 28) + bytes(28))
        file.write(self._format_chunk(rate_hz, channels))
        if subtype == "float":
            self._fact_at = file.tell() + 8
            file.write(b"fact" + struct.pack("<II", 4, 0))
        file.write(_tag_chunks(tags))
        file.write(b"data" + bytes(4))
        self._data_at = file.tell()

    def _format_chunk(self, rate_hz: int, channels: int) -> bytes:
        code = 3 if self._subtype == "float" else 1
        common = (channels, rate_hz, rate_hz * self._frame_bytes, self._frame_bytes, self._bits)
        if channels <= 2 and self._bits != 24:
            body = struct.pack("<HHIIHH", code, *common) + (b"" if code == 1 else bytes(2))
        else:
            extension = struct.pack("<HHIH", 22, self._bits, _MASKS.get(channels, 0), code) + _GUID_TAIL
            body = struct.pack("<HHIIHH", 0xFFFE, *common) + extension
        return b"fmt " + struct.pack("<I", len(body)) + body

    def write(self, *waves: np.ndarray) -> None:
        """Appends (channel, time): float with full scale 1, or whole steps as integers."""
        (wave,) = waves
        if self._subtype == "float":
            data = interleaved(wave).astype("<f4", copy=False)
        elif self._subtype == "pcm16":
            data = interleaved_steps(wave, 16).astype("<i2", copy=False)
        else:
            steps = interleaved_steps(wave, 24).astype("<i4", copy=False)
            data = np.ascontiguousarray(steps.view(np.uint8).reshape(*steps.shape, 4)[..., :3])
        self._file.write(data.data)
        self._frames += wave.shape[1]

    def abandon(self) -> None:
        """Does nothing: no samples are buffered."""

    def finish(self) -> None:
        """Writes the sizes into the header."""
        size = self._frames * self._frame_bytes
        if size & 1:
            self._file.write(b"\0")
        riff = self._file.tell() - 8
        large = riff > _UNKNOWN
        self._file.seek(0)
        if large:
            self._file.write(b"RF64" + struct.pack("<I", _UNKNOWN) + b"WAVEds64")
            self._file.write(struct.pack("<IQQQI", 28, riff, size, self._frames, 0))
        else:
            self._file.write(b"RIFF" + struct.pack("<I", riff))
        if self._subtype == "float":
            self._file.seek(self._fact_at)
            self._file.write(struct.pack("<I", min(self._frames, _UNKNOWN)))
        self._file.seek(self._data_at - 4)
        self._file.write(struct.pack("<I", _UNKNOWN if large else size))


def _tag_chunks(tags: Tags) -> bytes:
    entries = b"".join(chunk(name, text.encode() + b"\0") for name, text in info_entries(tags).items())
    id3 = id3_bytes(tags)
    return (
        tags.placement.chunks()
        + (chunk(b"LIST", b"INFO" + entries) if entries else b"")
        + (chunk(b"id3 ", id3) if id3 else b"")
    )


class Samples16(NamedTuple):
    """Where the samples of a 16-bit WAV file are."""

    offset: int
    channels: int
    frames: int


def find_samples(path: Path) -> Samples16:
    """The samples of a 16-bit WAV file.

    Raises:
        AudioError: it is not a 16-bit PCM WAV.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
            raise AudioError(f"{path.name} is no wav file")
        channels = bits = 0
        for name, at, length in walk(file, 12, size):
            if name == b"fmt ":
                file.seek(at)
                _, channels, _, _, _, bits = struct.unpack("<HHIIHH", file.read(16).ljust(16, b"\0"))
            elif name == b"data" and channels and bits == 16:
                return Samples16(at, channels, min(length, size - at) // (2 * channels))
    raise AudioError(f"{path.name} holds no 16-bit samples")


def header16(channels: int, rate_hz: int, frames: int) -> bytes:
    """The 44-byte header of a 16-bit WAV file.

    Raises:
        ValueError: there are more samples than a WAV file can hold.
    """
    size = frames * channels * 2
    if size > _UNKNOWN - 36:
        raise ValueError(f"a wav file holds 4 GiB at most; this mix has {size} bytes")
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + chunk(b"fmt ", form) + b"data" + struct.pack("<I", size)
