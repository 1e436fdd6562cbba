"""What the bytes of a file show but decoders do not report: concatenated files, and headers that are out of date."""

import re
import struct
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hyperstem.audio.chunks import walk

_MAGIC = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")
_UNKNOWN_SIZE = 0x7EFF0000
"""Writers that cannot seek leave sizes of at least this in the header."""
_MOST = 0xFFFFFFFF
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS", b"3DI")
_PADDING = 4096
"""Up to this many unexplained bytes after the sound count as padding, not as sound."""
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_FLAC_START_BYTES = 8
_BLOCK_BYTES = 1 << 20
"""Read at once where a whole file is searched."""
_SHORT = 8
"""Bytes before a chunk's contents where lengths have 32 bits; such chunks begin at even offsets."""


def simple(head: bytes) -> bool:
    """Whether soundfile may support the file that begins with `head`; others go straight to PyAV."""
    return head.startswith(_MAGIC)


class Extent(NamedTuple):
    """How much sound a WAV, AIFF, AU or CAF file claims to have, and how much it has."""

    present: int
    """Bytes from the start of the sound to the end of the file."""
    promised: int | None
    """Bytes of sound according to the header; None if it does not say."""
    stale: bool = False
    """Whether the sound continues beyond what the header says."""
    end: int = 0
    """Offset of the end of the sound, according to the header."""
    patches: dict[int, bytes] = {}  # noqa: RUF012 (a constant)
    """Bytes to write at these offsets, so that the header covers all of the sound."""
    prefix: bytes = b""
    """Bytes to put before all others, for the same purpose."""
    begin: int = 0
    """Offset of the first byte to keep, for the same purpose."""

    @property
    def missing(self) -> float:
        """Missing sound relative to the sound present; 0 if the file is complete."""
        return 0.0 if self.promised is None else max(0, self.promised - self.present) / max(1, self.present)


def joined(path: Path, head: bytes) -> list[tuple[int, int]]:
    """Start and end offset of each of the files that were concatenated; most files are just one.

    Ogg and MP3 frames have rules of their own for that (`ogg.links`, `mpeg.survey`).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if head.startswith((b"RIFF", b"RF64", b"FORM", b".snd", b"caff", b"riff")):
            starts = _after_extents(file, size)
        elif head[4:8] == b"ftyp":
            starts = _film_starts(file, size)
        elif head.startswith(b"fLaC"):
            starts = _flac_starts(file)
        else:
            starts = []
    edges = [0, *sorted({start for start in starts if start}), size]
    return list(pairwise(edges))


def _flac_starts(file: BinaryIO) -> list[int]:
    """Where FLAC streams begin, found block by block: a mapped file would count as memory."""
    starts, at, before = [], 0, b""
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        data = before + block
        starts += [at - len(before) + match.start() for match in _FLAC_START.finditer(data)]
        at, before = at + len(block), data[-(_FLAC_START_BYTES - 1) :]
    return starts


def _after_extents(file: BinaryIO, size: int) -> list[int]:
    """Offsets of files that directly follow a file made of chunks."""
    starts, at = [], 0
    while (end := _file_end(file, at, size)) is not None and end < size and _begins(file, end):
        starts.append(end)
        at = end
    return starts


def _file_end(file: BinaryIO, at: int, size: int) -> int | None:
    """The end of a chunked file according to its header; None if that does not say."""
    file.seek(at)
    head = file.read(24).ljust(24, b"\0")
    if head.startswith(b"riff"):
        return at + int.from_bytes(head[16:], "little")
    extent = _extent(file, at, size)
    if extent is None or extent.stale:
        return None
    end = extent.end
    if head.startswith((b"RIFF", b"FORM")):
        end = max(end, at + 8 + int.from_bytes(head[4:8], "big" if head[:1] == b"F" else "little"))
    return end + (end & 1 if head.startswith((b"RIFF", b"RF64", b"FORM")) else 0)


def _begins(file: BinaryIO, at: int) -> bool:
    """Whether a chunked file begins here."""
    file.seek(at)
    head = file.read(12)
    kinds = {b"RIFF": b"WAVE", b"RF64": b"WAVE", b"FORM": b"AIF"}
    chunked = head[:4] in kinds and head[8:].startswith(kinds[head[:4]])
    return chunked or head.startswith((b".snd", b"caff\0\1", b"riff\x2e\x91\xcf\x11"))


def _film_starts(file: BinaryIO, size: int) -> list[int]:
    """Offsets, among the boxes of an MP4, at which further files begin."""
    starts, seen, at = [], set(), 0
    while at + 8 <= size:
        file.seek(at)
        length, name, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        length = long if length == 1 else size - at if length == 0 else length
        if name == b"ftyp" and {b"moov", b"mdat"} <= seen:
            starts.append(at)
            seen = set()
        seen.add(name)
        at += max(8, length)
    return starts


def extent(path: Path) -> Extent | None:
    """How much sound a WAV, AIFF, AU, CAF or W64 file claims to have, and how much it has; None for other files."""
    with path.open("rb") as file:
        return _extent(file, 0, path.stat().st_size)


def _extent(file: BinaryIO, at: int, size: int) -> Extent | None:
    file.seek(at)
    magic = file.read(4)
    if magic == b".snd":
        begin, promised = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        return _judged(file, at + begin, promised, size, ">4sI", {at + 8: b"\xff" * 4})
    if magic == b"caff":
        return _chunk_extent(file, at + 8, size, ">4sQ", b"data")
    if magic == b"riff":
        return _w64_extent(file, at + 40, size)
    if magic in (b"RIFF", b"RF64"):
        return _chunk_extent(file, at + 12, size, "<4sI", b"data", long=magic == b"RF64")
    return _chunk_extent(file, at + 12, size, ">4sI", b"SSND") if magic == b"FORM" else None


def _chunk_extent(file: BinaryIO, at: int, size: int, form: str, sound: bytes, long: bool = False) -> Extent | None:
    length_at, length_bytes, sizes_at = 4, struct.calcsize(form) - 4, None
    for name, begin, length in walk(file, at, size, form):
        if name == b"ds64":
            sizes_at = begin + 8
        if name != sound:
            continue
        place = begin - struct.calcsize(form) + length_at
        present = size - begin
        if long and sizes_at is not None:
            file.seek(sizes_at)
            length, place, length_bytes = int.from_bytes(file.read(8), "little"), sizes_at, 8
        order = "big" if form[0] == ">" else "little"
        patch = present.to_bytes(8, order) if length_bytes == 8 else b"\xff" * 4
        found = _judged(file, begin, length, size, form, {place: patch})
        return _beyond_32_bits(found, place, size) if sound == b"data" and length_bytes == 4 else found
    return None


def _beyond_32_bits(extent: Extent, place: int, size: int) -> Extent:
    """Corrects a WAV of more than 4 GiB, which needs an RF64 header. Source: EBU Tech 3306."""
    if not extent.stale or extent.present <= _MOST:
        return extent
    head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, size, extent.present, 0, 0)
    return extent._replace(patches={place - 12 + len(head): b"\xff" * 4}, prefix=head, begin=12)


def _w64_extent(file: BinaryIO, at: int, size: int) -> Extent | None:
    """The same for Sony Wave64, whose chunk headers have 24 bytes and begin at multiples of 8."""
    while at + 24 <= size:
        file.seek(at)
        name, length = struct.unpack("<4s12xQ", file.read(24))
        if name == b"data":
            promised = length - 24 if 24 <= length < 1 << 62 else None
            return Extent(size - at - 24, promised, end=min(size, at + length))
        at += max(24, length + (-length & 7))
    return None


def _judged(file: BinaryIO, begin: int, promised: int, size: int, form: str, patches: dict[int, bytes]) -> Extent:
    """The extent, depending on whether the promised size is plausible."""
    present = max(0, size - begin)
    end = begin + promised
    wide = max(map(len, patches.values())) == 8
    unknown = promised > present and promised >= (1 << 63 if wide else _UNKNOWN_SIZE)
    if unknown or (promised == 0 and present and not _chunk_follows(file, begin, size, form)):
        return Extent(present, None, True, size, patches)
    stale = end < size and not _explained(file, end, size, form)
    return Extent(present, promised, stale, min(end, size), patches if stale else {})


def _explained(file: BinaryIO, at: int, size: int, form: str) -> bool:
    """Whether the rest of the file is something other than sound: chunks, tags or padding."""
    file.seek(at)
    rest = file.read(_PADDING + 1)
    if len(rest) <= _PADDING or rest.startswith(_TAGS) or _begins(file, at):
        return True
    return _chunk_follows(file, at, size, form) or _only_zeros(file, at)


def _chunk_follows(file: BinaryIO, at: int, size: int, form: str) -> bool:
    """Whether a complete chunk with a readable name begins here or, after padding, a byte later."""
    firsts = {at, at + (at & 1 if struct.calcsize(form) == _SHORT else 0)}
    found = [first for start in firsts if (first := next(walk(file, start, size, form), None)) is not None]
    return any(all(32 <= byte < 127 for byte in name) and begin + length <= size for name, begin, length in found)


def _only_zeros(file: BinaryIO, at: int) -> bool:
    zeros = bytes(1 << 20)
    file.seek(at)
    while block := file.read(len(zeros)):
        if not zeros.startswith(block):
            return False
    return True
