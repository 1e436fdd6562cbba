"""Ogg pages. Source: RFC 3533."""

import struct
from functools import cache
from pathlib import Path
from typing import BinaryIO

_HEADER = 27
_SERIAL_AT, _CRC_AT = 14, 22
_POLYNOMIAL = 0x04C11DB7
_LONGEST_PAGE = 65307
_END = 4
_GOES_ON = 255
"""Last length in the table of a page whose last packet goes on in the next."""


def ends(path: Path) -> bool:
    """Whether the file's last page is whole and says that it is the last, or nothing hints at another one.

    Some encoders, and whoever records a running stream, leave the last page unmarked. Then the file must stop right
    after it, and so must the page's last packet.
    """
    page = _last_page(_tail(path))
    if not _whole(page):
        return False
    return _marked(page) or (len(page) == _length(page) and page[_HEADER + page[26] - 1] < _GOES_ON)


def ends_as_marked(path: Path) -> bool:
    """Whether the last page, and no page of the same stream before it, says that it is the last.

    libsndfile stops at the first that says so, and takes Opus of which none does for damaged; players do not.
    """
    tail = _tail(path)
    at, ended = tail.find(b"OggS"), set()
    while at >= 0 and _whole(tail[at:]):
        serial = tail[at + _SERIAL_AT : at + _SERIAL_AT + 4]
        if serial in ended:
            return False
        if _marked(tail[at:]):
            ended.add(serial)
        at = tail.find(b"OggS", at + _length(tail[at:]))
    last = _last_page(tail)
    return _whole(last) and _marked(last)


def _tail(path: Path) -> bytes:
    """The last two pages at least."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _LONGEST_PAGE))
        return file.read()


def _last_page(tail: bytes) -> bytes:
    at = tail.rfind(b"OggS")
    return tail[at:] if at >= 0 else b""


def _marked(page: bytes) -> bool:
    return bool(page[5] & _END)


def _length(page: bytes) -> int:
    return _HEADER + page[26] + sum(page[_HEADER : _HEADER + page[26]])


def _whole(page: bytes) -> bool:
    if len(page) < _HEADER or len(page) < _HEADER + page[26]:
        return False
    return len(page) >= _length(page)


def set_serial(file: BinaryIO, serial: int) -> None:
    """Gives the one stream of an Ogg file another serial number.

    A page's CRC is linear in its bytes: what the changed bytes add to it is found without reading the others.
    """
    file.flush()
    at = 0
    while True:
        file.seek(at)
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return
        length = _HEADER + header[26] + sum(file.read(header[26]))
        (old,) = struct.unpack_from("<I", header, _SERIAL_AT)
        (crc,) = struct.unpack_from("<I", header, _CRC_AT)
        changed = struct.pack("<I", old ^ serial) + bytes(length - _SERIAL_AT - 4)
        file.seek(at + _SERIAL_AT)
        file.write(struct.pack("<I", serial))
        file.seek(at + _CRC_AT)
        file.write(struct.pack("<I", crc ^ _crc_of_start(changed[:4], len(changed) - 4)))
        at += length


@cache
def _crc_of_start(start: bytes, zeros: int) -> int:
    """CRC of a few bytes with many zeros after them."""
    crc = 0
    for byte in start:
        crc ^= byte << 24
        for _ in range(8):
            crc = _step(crc)
    power = 0
    while zeros >> power:
        if zeros >> power & 1:
            crc = _apply(_zeros_operator(power), crc)
        power += 1
    return crc


def _step(crc: int) -> int:
    return (crc << 1 ^ (_POLYNOMIAL if crc >> 31 else 0)) & 0xFFFFFFFF


def _apply(operator: tuple[int, ...], crc: int) -> int:
    result = 0
    for column in operator:
        if not crc:
            break
        if crc & 1:
            result ^= column
        crc >>= 1
    return result


@cache
def _zeros_operator(power: int) -> tuple[int, ...]:
    """What 2**power zero bytes do to each bit of a CRC."""
    if power == 0:
        columns = []
        for bit in range(32):
            crc = 1 << bit
            for _ in range(8):
                crc = _step(crc)
            columns.append(crc)
        return tuple(columns)
    half = _zeros_operator(power - 1)
    return tuple(_apply(half, column) for column in half)
