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


def wav_promises(path: Path) -> int | None:
    """Bytes of sound that a RIFF file's header says there are beyond the end of the file; None if none are missing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return None
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                missing = file.tell() + length - size
                return missing if missing > 0 and length < _UNKNOWN_SIZE else None
            file.seek(length + (length & 1), 1)
    return None
