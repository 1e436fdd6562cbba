"""The box that makes an MP4 a Stem file for DJ programs: names and colours of the stems, and mastering settings.

Source: Native Instruments, Stem file format specification 1.0: JSON in ``moov/udta/stem``.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from hyperstem.errors import AudioError

_COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#0072B2", "#E69F00", "#999999")
_HEADER = 8
_LARGEST = 1 << 20
_MASTERING = {  # both off: the stems sum to the mixture unprocessed
    "compressor": {
        "enabled": False,
        "input_gain": 0.5,
        "output_gain": 0.5,
        "threshold": 0,
        "dry_wet": 50,
        "attack": 0.003,
        "release": 0.3,
        "ratio": 2,
        "hp_cutoff": 20,
    },
    "limiter": {"enabled": False, "threshold": 0, "ceiling": 0, "release": 0.05},
}


class Box(NamedTuple):
    """A box of an MP4 file."""

    name: bytes
    start: int
    """First byte of its header."""
    body: int
    """First byte after its header."""
    end: int


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets of a file."""
    while start + _HEADER <= end:
        file.seek(start)
        length, name, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        body = start + (16 if length == 1 else _HEADER)
        length = long if length == 1 else end - start if length == 0 else length
        if length < body - start:
            return
        yield Box(name, start, body, min(end, start + length))
        start += length


def find(file: BinaryIO, size: int, *names: bytes) -> list[Box]:
    """The boxes along a path of names: the first of the first name, in it the first of the second, and so on, as far as
    they exist."""
    found: list[Box] = []
    start, end = 0, size
    for name in names:
        box = next((each for each in boxes(file, start, end) if each.name == name), None)
        if box is None:
            break
        found.append(box)
        start, end = box.body, box.end
    return found


def read(path: Path) -> dict[str, Any] | None:
    """The contents of a Stem file's box; None if the file is not a Stem file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = find(file, path.stat().st_size, b"moov", b"udta", b"stem")
        if len(found) < 3 or found[-1].end - found[-1].body > _LARGEST:
            return None
        file.seek(found[-1].body)
        try:
            contents = json.loads(file.read(found[-1].end - found[-1].body))
        except ValueError:
            return None
    return contents if isinstance(contents, dict) else None


def stem_names(path: str | Path) -> tuple[str, ...]:
    """Names of the stems of a Stem file, in the order of its streams after the first; empty for other files."""
    stems = (read(Path(path)) or {}).get("stems")
    named = [stem.get("name") for stem in stems if isinstance(stem, dict)] if isinstance(stems, list) else []
    return tuple(name for name in named if isinstance(name, str))


def write(path: Path, stems: Sequence[str]) -> None:
    """Adds the box to an MP4 whose ``moov`` is its last box.

    Args:
        path: the file.
        stems: names of the stems, in the order of the streams after the mixture.

    Raises:
        AudioError: something follows ``moov``, whose offset must not change.
        OSError: the file cannot be written.
    """
    listed = [{"name": name.capitalize(), "color": _COLOURS[i % len(_COLOURS)]} for i, name in enumerate(stems)]
    text = json.dumps({"mastering_dsp": _MASTERING, "stems": listed, "version": 1}).encode()
    with path.open("r+b") as file:
        size = path.stat().st_size
        found = find(file, size, b"moov", b"udta")
        if not found or found[0].end != size:
            raise AudioError(f"{path}: no moov box at its end")
        stem = _box(b"stem", text)
        added = stem if len(found) == 2 else _box(b"udta", stem)
        at = found[-1].end
        file.seek(at)
        rest = file.read()
        file.seek(at)
        file.write(added + rest)
        for box in found:
            file.seek(box.start)
            file.write(struct.pack(">I", box.end - box.start + len(added)))


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", _HEADER + len(body), name) + body
