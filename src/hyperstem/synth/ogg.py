"""Ogg files that do not depend on the hour: encoders draw the stream's serial number by chance.

Source: RFC 3533 (the page header and its checksum).
"""

import zlib
from pathlib import Path

_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32, which runs from the high bit and starts at 0, by zlib's, which does neither."""
    mirrored = zlib.crc32(page.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def fix_serial(path: Path, serial: int) -> None:
    """Gives every page of a one-stream Ogg file the number `serial`, in place."""
    data = bytearray(path.read_bytes())
    at = 0
    while data[at : at + 4] == b"OggS":
        segments = data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        data[at + 14 : at + 18] = serial.to_bytes(4, "little")
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = _checksum(bytes(data[at:end])).to_bytes(4, "little")
        at = end
    path.write_bytes(data)
