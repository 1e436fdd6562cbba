"""A zip of files, made while it is sent: stored, never held in memory or on disk."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 18


class _Outbox(io.RawIOBase):
    """Collects what is written until it is taken; cannot seek."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def stream_zip(files: dict[str, Path]) -> Iterator[bytes]:
    """The zip archive that holds each path under its name, in pieces."""
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo.from_file(path, name)
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=entry.file_size > 1 << 31) as target:
                while piece := source.read(PIECE_BYTES):
                    target.write(piece)
                    yield outbox.take()
    yield outbox.take()
