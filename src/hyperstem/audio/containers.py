"""What the first bytes of a file tell."""

import struct
from pathlib import Path

_MAGIC = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")
_UNKNOWN_SIZE = 0x7FFF0000
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


def wav_missing(path: Path) -> float:
    """How many times more sound a RIFF file's header promises than the file has; 0 if all is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return 0
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                present = max(1, size - file.tell())
                return max(0, length - present) / present if length < _UNKNOWN_SIZE else 0
            file.seek(length + (length & 1), 1)
    return 0
