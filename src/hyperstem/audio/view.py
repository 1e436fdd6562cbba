"""Presents parts of a file as a file of their own, with corrected header bytes."""

import io
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class FileView(io.RawIOBase):
    """A read-only file made of stretches of another, one after the other.

    Args:
        path: the file.
        stretches: start and end offset of each.
        patches: offset from the view's start to the bytes that replace those there.
        prefix: bytes to put before all others.
    """

    def __init__(
        self,
        path: Path,
        stretches: Sequence[tuple[int, int]],
        patches: Mapping[int, bytes] | None = None,
        prefix: bytes = b"",
    ) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._stretches = [(0, len(prefix)), *stretches]
        self._prefix = prefix
        self._patches = dict(patches or {})
        self._starts = [0]
        for start, end in self._stretches:
            self._starts.append(self._starts[-1] + end - start)
        self._at = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Offset of the next byte to read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to an offset."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` with as many bytes as there are."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (data := self._bytes(len(view) - filled)):
            view[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def _bytes(self, count: int) -> bytes:
        """Up to `count` bytes, from one stretch."""
        begin = self._at
        if begin >= self._starts[-1]:
            return b""
        index = bisect_right(self._starts, begin) - 1
        start, end = self._stretches[index]
        at = start + begin - self._starts[index]
        if index == 0:
            data = self._prefix[at : at + count]
        else:
            self._file.seek(at)
            data = self._file.read(min(count, end - at))
        for place, patch in self._patches.items():
            first, last = max(place, begin), min(place + len(patch), begin + len(data))
            if first < last:
                data = data[: first - begin] + patch[first - place : last - place] + data[last - begin :]
        self._at += len(data)
        return data

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
        super().close()
