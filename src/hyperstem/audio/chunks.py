"""Chunks of WAV files: iterating over them, and those that place a sound in time.

Source: Microsoft's RIFF, EBU Tech 3285 (bext), EBU Tech 3306 (RF64).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

_LARGEST = 1 << 24
_REFERENCE = slice(338, 346)
_VERSION = slice(346, 348)
_UMID = slice(348, 412)
_LOUDNESS = slice(412, 422)
_BEXT_BYTES = 602
_ONCE = struct.Struct("<II4sIII")


class Marker(NamedTuple):
    """A named position in a sound."""

    at: int
    """In samples."""
    label: str = ""
    length: int = 0
    """In samples; 0 for a point."""


@dataclass(frozen=True)
class Placement:
    """The position of a sound in time, and its markers, in samples."""

    bext: bytes = b""
    """The raw broadcast extension (bext); empty if there is none."""
    markers: tuple[Marker, ...] = ()

    @property
    def reference(self) -> int:
        """Samples from midnight to the first sample."""
        return int.from_bytes(self.bext[_REFERENCE], "little")

    def of_part(self, start_s: float, from_hz: int, to_hz: int) -> Self:
        """The placement of the sound from `start_s` on, at another sample rate; loudness and identifier, which describe
        the whole recording, are dropped."""
        start = round(start_s * from_hz)
        markers = tuple(
            Marker(round((at - start) * to_hz / from_hz), label, round(length * to_hz / from_hz))
            for at, label, length in self.markers
            if at >= start
        )
        if not self.bext:
            return replace(self, markers=markers)
        bext = bytearray(self.bext)
        bext[_REFERENCE] = round((self.reference + start) * to_hz / from_hz).to_bytes(8, "little")
        bext[_UMID] = bytes(64)
        if int.from_bytes(bext[_VERSION], "little") >= 2:
            bext[_LOUDNESS] = b"\xff\x7f" * 5  # not specified
        return replace(self, bext=bytes(bext), markers=markers)

    def chunks(self) -> bytes:
        """As chunks of a WAV file."""
        result = chunk(b"bext", self.bext) if self.bext else b""
        if not self.markers:
            return result
        points = b"".join(_ONCE.pack(i, at, b"data", 0, 0, at) for i, (at, _, _) in enumerate(self.markers, 1))
        names = b""
        for i, (_, label, length) in enumerate(self.markers, 1):
            if label:
                names += chunk(b"labl", struct.pack("<I", i) + label.encode() + b"\0")
            if length:
                names += chunk(b"ltxt", struct.pack("<II4s8x", i, length, b"rgn "))
        result += chunk(b"cue ", struct.pack("<I", len(self.markers)) + points)
        return result + (chunk(b"LIST", b"adtl" + names) if names else b"")


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a RIFF file."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def walk(file: BinaryIO, at: int, size: int, form: str = "<4sI") -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of each chunk, up to a name of zeros.

    Where lengths have 32 bits, chunks begin at even offsets.
    """
    header = struct.calcsize(form)
    while at + header <= size:
        file.seek(at)
        name, length = struct.unpack(form, file.read(header))
        if not any(name):
            return  # sound or padding, in which every eight zeros would be a chunk
        yield name, at + header, length
        at += header + length + (length & 1 if header == struct.calcsize("<4sI") else 0)


def read_placement(path: Path) -> Placement:
    """The placement that a WAV file gives; an empty one for other files.

    Raises:
        OSError: it cannot be read.
    """
    bext, cues, labels, lengths = b"", {}, {}, {}
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return Placement()
        for name, at, length in walk(file, 12, size):
            if length > _LARGEST or name not in (b"bext", b"cue ", b"LIST"):
                continue
            file.seek(at)
            body = file.read(length)
            if name == b"bext" and len(body) >= _BEXT_BYTES:
                bext = body
            elif name == b"cue ":
                cues |= {each[0]: each[5] for each in _ONCE.iter_unpack(body[4 : 4 + (len(body) - 4) // 24 * 24])}
            elif body[:4] == b"adtl":
                _read_labels(body, labels, lengths)
    markers = sorted(Marker(at, labels.get(i, ""), lengths.get(i, 0)) for i, at in cues.items())
    return Placement(bext, tuple(markers))


def _read_labels(body: bytes, labels: dict[int, str], lengths: dict[int, int]) -> None:
    at = 4
    while at + 12 <= len(body):
        name, length, number = struct.unpack_from("<4sII", body, at)
        if name == b"labl":
            labels[number] = body[at + 12 : at + 8 + length].split(b"\0")[0].decode("utf-8", "replace")
        elif name == b"ltxt" and at + 16 <= len(body):
            lengths[number] = struct.unpack_from("<I", body, at + 12)[0]
        at += 8 + length + (length & 1)
