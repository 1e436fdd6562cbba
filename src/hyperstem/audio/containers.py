"""What the first bytes of a file tell."""

import struct
from pathlib import Path
from typing import BinaryIO

_MAGIC = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")
_CHUNKS = {b"RIFF": ("<", b"data"), b"RF64": ("<", b"data"), b"FORM": (">", b"SSND")}
"""Byte order of the files that are made of chunks, and the name of the one with the sound."""
_UNKNOWN_SIZE = 0x7EFF0000
"""Writers that cannot seek leave sizes from here up in the header."""


def simple(head: bytes) -> bool:
    """Whether soundfile may know the file that begins with `head`; the rest goes to PyAV at once."""
    return head.startswith(_MAGIC)


def mp3_counted(path: Path) -> bool:
    """Whether an MP3's first frame says how many there are (Xing, LAME), so that its duration is no guess."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            file.seek(10 + size)
            head = b""
        head += file.read(4096)
    return b"Xing" in head or b"Info" in head


def missing(path: Path) -> float:
    """How many times more sound the header of a WAV or AIFF file promises than the file has; 0 if all is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if magic not in _CHUNKS:
            return 0
        order, sound = _CHUNKS[magic]
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack(order + "4sI", chunk)
            if name == sound:
                present = max(1, size - file.tell())
                length = _long_length(file) if magic == b"RF64" else length if length < _UNKNOWN_SIZE else 0
                return max(0, length - present) / present
            file.seek(length + (length & 1), 1)
    return 0


def _long_length(file: BinaryIO) -> int:
    """Bytes of sound in an RF64 file, which has a chunk for the lengths that need 64 bits. Source: EBU Tech 3306."""
    file.seek(28)
    return int.from_bytes(file.read(8), "little")
