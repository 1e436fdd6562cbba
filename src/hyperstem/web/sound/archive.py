"""A zip archive streamed without compression, never complete in memory or on disk."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 18


class _Buffer(io.RawIOBase):
    """Collects writes until `take`; not seekable."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


def stream_zip(files: dict[str, Path]) -> Iterator[bytes]:
    """A zip archive of the files by their names in it, in chunks."""
    buffer = _Buffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo.from_file(path, name)
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=entry.file_size > 1 << 31) as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
                    yield buffer.take()
    yield buffer.take()
