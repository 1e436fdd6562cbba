"""Ogg pages: the links of a chained file, and pages that are missing. Source: RFC 3533."""

import os
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

_HEADER = 27
_MAGIC = b"OggS"
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_GOES_ON = 255
"""Last entry of the segment table of a page whose last packet continues on the next page."""
_READ = 1 << 16
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """A complete page."""

    start: int
    end: int
    """Offset after its last byte."""
    flags: int
    position: int
    """Granule position: samples up to the end of its last complete packet; -1 if none ends here."""
    serial: int
    number: int
    goes_on: bool
    """Whether its last packet continues on the next page of the stream."""

    @property
    def first(self) -> bool:
        """Whether it is the first page of its stream."""
        return bool(self.flags & _FIRST)

    @property
    def last(self) -> bool:
        """Whether it is marked as the last page of its stream."""
        return bool(self.flags & _LAST)


class Link(NamedTuple):
    """One of the files in a chained file."""

    start: int
    end: int
    """Offset after its last page."""
    closed: bool
    """Whether every stream's last page, and no other, is marked as last; libsndfile stops at the first such mark."""
    whole: bool
    """Whether it ends with a page marked as last, or at least with a complete packet at the very end of the file."""
    holes: int
    """Places where pages are missing or damaged."""


@lru_cache(maxsize=16)
def _links(path: Path, size: int, changed_ns: int) -> tuple[Link, ...]:
    gathered: list[_Gathered] = []
    end = 0
    with path.open("rb") as file:
        for page in _pages(file, size):
            if not gathered or (page.first and not gathered[-1].final.first):
                gathered.append(_Gathered(page))
            gathered[-1].add(page)
            end = page.end
        if not gathered:
            return ()
        cut = _find(file, end) < size  # one more page, incomplete
    ends = [each.start for each in gathered[1:]] + [size]
    found = [each.link(until) for each, until in zip(gathered, ends, strict=True)]
    if cut:
        found[-1] = found[-1]._replace(end=size, closed=False, whole=False)
    return tuple(found)


class _Gathered:
    """Collects the pages of one link, in constant memory."""

    def __init__(self, first: Page) -> None:
        self.start, self.final = first.start, first
        self._at, self._last = first.start, dict[int, Page]()
        self._holes, self._closed = 0, True

    def add(self, page: Page) -> None:
        """Adds the next page."""
        before = self._last.get(page.serial)
        if page.start != self._at or (before is not None and page.number != before.number + 1):
            self._holes += 1
        if before is not None and before.last:
            self._closed = False
        self._last[page.serial] = self.final = page
        self._at = page.end

    def link(self, end: int) -> Link:
        """The link, which ends at `end` at the latest."""
        whole = self.final.last or (self._at == end and not self.final.goes_on)
        closed = self._closed and all(page.last for page in self._last.values())
        return Link(self.start, self._at if whole else end, closed, whole, self._holes)


def links(path: Path) -> tuple[Link, ...]:
    """The links of an Ogg file: one in most files, several in recordings of radio streams.

    A new link begins where, after pages with sound, a page is marked as the first of a stream.
    """
    status = path.stat()
    return _links(path, status.st_size, status.st_mtime_ns)


def _pages(file: BinaryIO, size: int) -> Iterator[Page]:
    """The complete pages with a valid checksum; anything between them is skipped."""
    at = 0
    while at < size:
        page = _page_at(file, at)
        if page is None:
            at = _find(file, at + 1)
        else:
            yield page
            at = page.end


def _page_at(file: BinaryIO, at: int) -> Page | None:
    file.seek(at)
    header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        return None
    table = file.read(header[26])
    body = file.read(sum(table))
    if len(table) < header[26] or len(body) < sum(table):
        return None
    flags, position, serial, number, checksum = struct.unpack_from("<xBqIII", header, 4)
    if _checksum(header[:22] + bytes(4) + header[26:] + table + body) != checksum:
        return None
    goes_on = bool(table) and table[-1] == _GOES_ON
    return Page(at, file.tell(), flags, position, serial, number, goes_on)


def _checksum(data: bytes) -> int:
    """CRC-32 with the most significant bit first, as in Ogg; zlib's is the same with all bits reversed."""
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")


def _find(file: BinaryIO, at: int) -> int:
    """Offset at which the next page may begin; the end of the file if there is none."""
    file.seek(at)
    before = b""
    while block := file.read(_READ):
        found = (before + block).find(_MAGIC)
        if found >= 0:
            return file.tell() - len(before) - len(block) + found
        before = block[-3:]
    return file.seek(0, os.SEEK_END)
