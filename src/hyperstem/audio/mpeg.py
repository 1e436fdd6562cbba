"""Frames of raw MP3 (and layers I and II), ADTS AAC and AC-3 files: where they are, and what lies between them.

Source: ISO 11172-3, ISO 13818-3 and -7, ETSI TS 102 366.
"""

import mmap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_KBPS = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of MPEG-1 (3), and of MPEG-2 and 2.5 (2), by the layer field of the header: 3 is layer I."""
_MPEG_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_ADTS_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_AC3_HZ = (48_000, 44_100, 32_000)
_AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_HEADER_BYTES = 7
_RELEASE_BYTES = 1 << 24
"""Of a mapped file, what has been read counts as memory until it is given back; done in steps of so many bytes."""
_IN_A_ROW = 3
"""This many consecutive frames are no coincidence."""
_SEARCH_BYTES = 1 << 16
"""How far into a file to search for its first frame."""
_AAC, _AC3 = 32, 64
"""Families of AAC and AC-3; those of the MPEG layers are smaller numbers."""
_COUNTERS = (b"Xing", b"Info", b"VBRI")


class Frame(NamedTuple):
    """Contents of a frame's header."""

    length: int
    """In bytes, header included."""
    samples: int
    rate_hz: int
    kind: str
    """FFmpeg's name of the format: mp3, aac or ac3."""
    family: int
    """Version and layer; the same for all frames of a sound."""


class Hole(NamedTuple):
    """Bytes between frames that are not frames."""

    at_s: float
    """Position on the clock of the frames present."""
    lost_s: float
    """How much sound is missing; 0 if the bytes are too few for a frame."""
    size: int


class Sound(NamedTuple):
    """The frames of one sound; concatenated files have several."""

    kind: str
    stretches: tuple[tuple[int, int], ...]
    """Start and end offsets of runs of contiguous frames."""
    holes: tuple[Hole, ...]
    frames_s: float
    """Length of all frames."""
    counted: bool
    """Whether a first frame says how many follow."""

    @property
    def length_s(self) -> float:
        """Length of all frames, including the missing ones."""
        return self.frames_s + sum(hole.lost_s for hole in self.holes)

    @property
    def clean(self) -> bool:
        """Whether there is nothing but contiguous frames."""
        return len(self.stretches) == 1 and not self.holes


class _Item(NamedTuple):
    """What `_walk` finds."""

    start: int
    end: int
    frame: Frame | None
    """None for bytes that are not a frame."""
    broken: bool = False
    """Whether an incomplete frame begins here."""


def survey(path: Path) -> tuple[Sound, ...]:
    """The sounds in a file; empty if it is of another kind, or has too few frames to be sure."""
    status = path.stat()
    return _survey(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _survey(path: Path, size: int, changed_ns: int) -> tuple[Sound, ...]:
    if size < _HEADER_BYTES:
        return ()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 0
        while (end := tag_end(data, start)) > start:
            start = end
        frame = parse(data, start)
        counter = frame is not None and counts(data, start, start + frame.length)
        first = start if counter else _next_frame(data, start, min(size, start + _SEARCH_BYTES))
        return () if first is None else tuple(_sounds(data, first))


def _sounds(data: mmap.mmap, start: int) -> Iterator[Sound]:
    """The sounds in order; a new one begins with a frame that counts those that follow."""
    sound = _Collected()
    for item in _walk(data, start):
        counter = item.frame is not None and counts(data, item.start, item.end)
        if counter and sound.frames:
            yield sound.finished()
            sound = _Collected()
        if counter:
            sound.counted = _counted(data, item.start)
        sound.add(item, counter)
    if sound.frames:
        yield sound.finished()


class _Collected:
    """Collects the frames of one sound, in constant memory."""

    def __init__(self) -> None:
        self.frames = self._bytes = 0
        self.counted = False
        self._clock_s = 0.0
        self._kind = ""
        self._stretches: list[list[int]] = []
        self._gaps: list[tuple[float, int, bool]] = []
        """Position, number of bytes, and whether a frame begins there."""

    def add(self, item: _Item, counter: bool) -> None:
        """Adds the next item; a counter frame holds no sound."""
        if item.frame is None:
            self._gaps.append((self._clock_s, item.end - item.start, item.broken))
            return
        if not counter:
            self.frames += 1
            self._bytes += item.frame.length
            self._clock_s += item.frame.samples / item.frame.rate_hz
        self._kind = self._kind or item.frame.kind
        if self._stretches and self._stretches[-1][1] == item.start:
            self._stretches[-1][1] = item.end
        else:
            self._stretches.append([item.start, item.end])

    def finished(self) -> Sound:
        """The sound; missing sound is estimated from the size of its average frame."""
        usual_bytes, usual_s = self._bytes / self.frames, self._clock_s / self.frames
        holes = [
            Hole(at_s, max(int(broken), round(size / usual_bytes)) * usual_s, size) for at_s, size, broken in self._gaps
        ]
        stretches = tuple((start, end) for start, end in self._stretches)
        return Sound(self._kind, stretches, tuple(holes), self._clock_s, self.counted)


def _walk(data: mmap.mmap, start: int) -> Iterator[_Item]:
    """Frames, and what lies between them except tags; after the last one, only a truncated frame."""
    size, at = len(data), start
    frame = parse(data, at)
    family, released = -1, 0
    while at < size:
        if at - released >= _RELEASE_BYTES:
            released = _release(data, released, at)
        if frame is not None and frame.family != family and not _in_a_row(data, at) and family >= 0:
            frame = None  # coincidence
        end = size + 1 if frame is None else at + frame.length
        following = parse(data, end) if end < size else None
        if frame is not None and (end == size or (following is not None and following.family == frame.family)):
            yield _Item(at, end, frame)
            family = frame.family
        elif (tag := tag_end(data, at)) > at:
            end, following = tag, None
        elif frame is not None and end < size and _in_a_row(data, end):  # the last before another kind
            yield _Item(at, end, frame)
        else:
            after = _next_frame(data, at + 1, size)
            if frame is not None and end <= (size if after is None else after):
                yield _Item(at, end, frame)
            elif after is None:
                if frame is not None and frame.family == family:
                    yield _Item(at, size, None, broken=True)
                return
            else:
                end = after
                yield _Item(at, end, None, broken=frame is not None)
        at, frame = end, following or parse(data, end)


def _release(data: mmap.mmap, start: int, end: int) -> int:
    """Gives back the memory of a stretch that has been read, as far as whole pages go; where the next one begins."""
    end -= end % mmap.PAGESIZE
    if hasattr(data, "madvise"):  # not on Windows
        data.madvise(mmap.MADV_DONTNEED, start, end - start)
    return end


def _next_frame(data: mmap.mmap, at: int, limit: int) -> int | None:
    """Offset of the next frame that is followed by others; None if there is none before `limit`."""
    places = dict.fromkeys((b"\xff", b"\x0bw"), -1)
    while at < limit:
        for sync, place in places.items():
            if place is not None and place < at:
                place = data.find(sync, at, limit)
                places[sync] = limit if place < 0 else place
        at = min(places.values())
        if at < limit and _in_a_row(data, at):
            return at
        at += 1
    return None


def _in_a_row(data: mmap.mmap, at: int) -> bool:
    """Whether consecutive frames of one family begin here; fewer will do near the end."""
    family = None
    for number in range(_IN_A_ROW):
        if number and (at == len(data) or tag_end(data, at) > at):
            return True
        frame = parse(data, at)
        if frame is None or frame.family != (family or frame.family):
            return False
        family = frame.family
        at += frame.length
    return at <= len(data)


def tag_end(data: mmap.mmap | bytes, at: int) -> int:
    """The end of a tag (ID3, APE, Lyrics3) that begins here; `at` if none does."""
    head = data[at : at + 32]
    if head[:3] == b"ID3" and len(head) >= 10 and not any(byte & 0x80 for byte in head[6:10]):
        return at + 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    if head[:3] == b"TAG":
        return at + 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return at + 32 + int.from_bytes(head[12:16], "little")
    if head[:11] == b"LYRICSBEGIN":
        end = data.find(b"LYRICS200", at, at + (1 << 20))
        return at if end < 0 else end + 9
    return at


def _counted(data: mmap.mmap, at: int) -> bool:
    """Whether a counter frame holds the number of frames, not only of bytes."""
    for place in (at + 36, at + 21, at + 13):
        if data[place : place + 4] in _COUNTERS:
            return data[place : place + 4] == b"VBRI" or bool(data[place + 7] & 1)
    return False


def counts(data: mmap.mmap | bytes, at: int, end: int) -> bool:
    """Whether this is a counter frame: it holds no sound, but says how many frames follow."""
    return any(data[place : place + 4] in _COUNTERS for place in (at + 36, at + 21, at + 13) if place + 4 <= end)


def parse(data: mmap.mmap | bytes, at: int) -> Frame | None:
    """The frame that begins here; None if this is not a valid header."""
    head = data[at : at + _HEADER_BYTES]
    if len(head) < _HEADER_BYTES:
        return None
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _adts(head[1:6]) if head[1] & 0xF6 == 0xF0 else _mpeg(head[1:3])
    return _ac3(head[4:6]) if head[:2] == b"\x0b\x77" else None


@lru_cache(maxsize=4096)
def _mpeg(head: bytes) -> Frame | None:
    version, layer = head[0] >> 3 & 3, head[0] >> 1 & 3
    bits, rate, padding = head[1] >> 4, head[1] >> 2 & 3, head[1] >> 1 & 1
    if version == 1 or layer == 0 or rate == 3 or bits in (0, 15):
        return None
    kbps, rate_hz = _KBPS[(3 if version == 3 else 2), layer][bits], _MPEG_HZ[version][rate]
    if layer == 3:
        length, samples = (12_000 * kbps // rate_hz + padding) * 4, 384
    else:
        samples = 576 if layer == 1 and version != 3 else 1152
        length = samples // 8 * 1000 * kbps // rate_hz + padding
    return Frame(length, samples, rate_hz, "mp3", version << 2 | layer)


@lru_cache(maxsize=4096)
def _adts(head: bytes) -> Frame | None:
    rate, length = head[1] >> 2 & 15, (head[2] & 3) << 11 | head[3] << 3 | head[4] >> 5
    if rate >= len(_ADTS_HZ) or length <= _HEADER_BYTES:
        return None
    return Frame(length, 1024, _ADTS_HZ[rate], "aac", _AAC | head[0] >> 3 & 1)


@lru_cache(maxsize=4096)
def _ac3(head: bytes) -> Frame | None:
    rate, size, version = head[0] >> 6, head[0] & 63, head[1] >> 3
    if rate == 3 or size >> 1 >= len(_AC3_KBPS) or version > 8:
        return None
    words = _AC3_KBPS[size >> 1] * 96_000 // _AC3_HZ[rate] + (size & 1 if rate == 1 else 0)
    return Frame(2 * words, 1536, _AC3_HZ[rate], "ac3", _AC3)
