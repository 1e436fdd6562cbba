"""Metadata of sound files: tags, a cover, and, in WAV, the position in time that DAWs use."""

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import av

from hyperstem.audio.chunks import Placement, read_placement
from hyperstem.audio.parts import with_true_header


class _Names(NamedTuple):
    """The name of one tag in each kind of file; empty where there is none."""

    vorbis: str
    id3: str
    mp4: str
    info: bytes = b""
    others: tuple[str, ...] = ()
    """Other names, in lower case, that programs and FFmpeg use."""


_ITUNES = "----:com.apple.iTunes:"
_TABLE = {
    "title": _Names("title", "TIT2", "\xa9nam", b"INAM"),
    "artist": _Names("artist", "TPE1", "\xa9ART", b"IART", ("author",)),
    "album": _Names("album", "TALB", "\xa9alb", b"IPRD", ("wm/albumtitle",)),
    "album_artist": _Names("albumartist", "TPE2", "aART", others=("album artist", "album_artist", "wm/albumartist")),
    "date": _Names("date", "TDRC", "\xa9day", b"ICRD", ("year", "tyer", "wm/year")),
    "track": _Names("tracknumber", "TRCK", "trkn", b"ITRK", ("track", "wm/tracknumber")),
    "disc": _Names("discnumber", "TPOS", "disk", others=("disc", "wm/partofset")),
    "genre": _Names("genre", "TCON", "\xa9gen", b"IGNR", ("wm/genre",)),
    "composer": _Names("composer", "TCOM", "\xa9wrt", others=("wm/composer",)),
    "comment": _Names("comment", "COMM", "\xa9cmt", b"ICMT"),
    "copyright": _Names("copyright", "TCOP", "cprt", b"ICOP"),
    "bpm": _Names("bpm", "TBPM", "tmpo", others=("wm/beatsperminute",)),
    "key": _Names("initialkey", "TKEY", _ITUNES + "initialkey", others=("initial_key", "key", "wm/initialkey")),
    "isrc": _Names("isrc", "TSRC", _ITUNES + "ISRC", others=("wm/isrc",)),
}
NAMES = tuple(_TABLE)
"""The tags that are kept; others are dropped, such as the loudness, which is not that of a stem."""
_BY_NAME = {
    name.lower(): tag for tag, names in _TABLE.items() for name in (tag, names.vorbis, names.id3, *names.others)
}
_PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}
_LARGEST_COVER = 16 << 20
_LONGEST_TEXT = 1 << 16
_FRONT = 3
_UTF8 = 3


@dataclass(frozen=True)
class Tags:
    """Metadata of a sound."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Tag, one of `NAMES`, to text."""
    cover: bytes = b""
    """A JPEG or PNG."""
    placement: Placement = field(default_factory=Placement)

    @classmethod
    def of(cls, tags: "Mapping[str, str] | Tags | None") -> "Tags":
        """Tags from texts alone or from nothing; `Tags` are returned unchanged."""
        return tags if isinstance(tags, Tags) else cls(dict(tags or {}))

    def of_stem(self, stem: str) -> Self:
        """The tags of a stem: its name is added to the title."""
        title = self.texts.get("title")
        return replace(self, texts={**self.texts, "title": f"{title} ({stem})"}) if title else self

    def of_part(self, start_s: float, from_hz: int, to_hz: int) -> Self:
        """The tags of the sound from `start_s` on, at another sample rate."""
        return replace(self, placement=self.placement.of_part(start_s, from_hz, to_hz))


def from_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Tags from metadata with the names that any program uses."""
    found = {}
    for key, value in metadata.items():
        tag = _BY_NAME.get(re.sub(r"-[a-z]{3}$", "", key.lower()))
        if tag is not None and value.strip():
            found.setdefault(tag, value.strip()[:_LONGEST_TEXT])
    return {tag: found[tag] for tag in NAMES if tag in found}


def read_tags(path: str | Path) -> Tags:
    """Tags, cover and placement of any file; empty if there are none or they cannot be read."""
    path = Path(path)
    try:
        # With a length that is too short, FFmpeg would look for further chunks in the sound, gigabytes of it.
        with with_true_header(path) or path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
            sounds = container.streams.audio
            own = sounds[0].metadata if len(sounds) == 1 else {}
            texts = from_metadata({**own, **container.metadata})
            cover = _cover(container)
            film = container.format.name.startswith("mov")
    except (av.error.FFmpegError, OSError):
        texts, cover, film = {}, b"", False
    if film and (bpm := _mp4_bpm(path)):
        texts["bpm"] = bpm
    with contextlib.suppress(OSError):
        return Tags(texts, cover, read_placement(path))
    return Tags(texts, cover)


def _mp4_bpm(path: str | Path) -> str:
    """The beats per minute of an MP4, which FFmpeg ignores."""
    from mutagen import MutagenError, mp4

    with contextlib.suppress(MutagenError, OSError, ValueError, KeyError, IndexError):
        values = mp4.MP4(path).get("tmpo")
        return str(values[0]) if values else ""
    return ""


def _cover(container: Any) -> bytes:
    pictures = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
    with contextlib.suppress(av.error.FFmpegError, StopIteration):
        if pictures:
            data = bytes(next(packet for packet in container.demux(pictures[0]) if packet.size))
            return data if _picture_type(data) and len(data) <= _LARGEST_COVER else b""
    return b""


def _picture_type(data: bytes) -> str:
    return next((kind for begin, kind in _PICTURES.items() if data.startswith(begin)), "")


def info_entries(tags: Tags) -> dict[bytes, str]:
    """The entries of a WAV's INFO list."""
    return {names.info: tags.texts[tag] for tag, names in _TABLE.items() if names.info and tags.texts.get(tag)}


def id3_bytes(tags: Tags) -> bytes:
    """An ID3 tag, if there is something that a WAV's INFO list cannot hold; otherwise empty."""
    if not tags.cover and not any(tags.texts.get(tag) for tag, names in _TABLE.items() if not names.info):
        return b""
    file = io.BytesIO()
    _id3(tags).save(file, padding=lambda _: 0)
    return file.getvalue()


def _id3(tags: Tags) -> Any:
    from mutagen import id3

    result = id3.ID3()
    for tag, names in _TABLE.items():
        if not (text := tags.texts.get(tag)):
            continue
        frame = getattr(id3, names.id3)
        result.add(frame(_UTF8, "eng", "", [text]) if tag == "comment" else frame(_UTF8, [text]))
    if tags.cover:
        result.add(id3.APIC(_UTF8, _picture_type(tags.cover), _FRONT, "", tags.cover))
    return result


def write_tags(path: Path, format: str, tags: Tags) -> None:
    """Writes tags and cover into a finished file, as far as its format supports them; WAV files have theirs already.

    Raises:
        OSError: the disk is full, ...
    """
    if not (tags.texts or tags.cover) or format == "wav":
        return
    import mutagen

    writers = {"mp3": _write_id3, "m4a": _write_mp4, "stem.mp4": _write_mp4}
    try:
        writers.get(format, _write_vorbis)(path, format, tags)
    except mutagen.MutagenError as error:
        raise OSError(*getattr(error.args[0], "args", (str(error),))) from None


def _write_id3(path: Path, _: str, tags: Tags) -> None:
    _id3(tags).save(path)


def _write_vorbis(path: Path, format: str, tags: Tags) -> None:
    from base64 import b64encode

    from mutagen import flac, oggopus, oggvorbis

    kinds: dict[str, Any] = {"flac": flac.FLAC, "ogg": oggvorbis.OggVorbis, "opus": oggopus.OggOpus}
    file = kinds[format](path)
    for tag, names in _TABLE.items():
        if text := tags.texts.get(tag):
            file[names.vorbis] = text
    if tags.cover:
        picture = flac.Picture()
        picture.type, picture.mime, picture.data = _FRONT, _picture_type(tags.cover), tags.cover
        if format == "flac":
            file.add_picture(picture)
        else:
            file["metadata_block_picture"] = b64encode(picture.write()).decode()
    file.save()


def _write_mp4(path: Path, _: str, tags: Tags) -> None:
    from mutagen import mp4

    file = mp4.MP4(path)
    if file.tags is None:
        file.add_tags()
    for tag, names in _TABLE.items():
        if text := tags.texts.get(tag):
            value = _mp4_value(names.mp4, text)
            if value is not None:
                file[names.mp4] = [value]
    if tags.cover:
        jpeg = _picture_type(tags.cover) == "image/jpeg"
        kind = mp4.MP4Cover.FORMAT_JPEG if jpeg else mp4.MP4Cover.FORMAT_PNG
        file["covr"] = [mp4.MP4Cover(tags.cover, kind)]
    file.save()


def _mp4_value(name: str, text: str) -> Any:
    """The value as MP4 stores it: numeric tags as numbers, or None if they are not numeric."""
    numbers = [int(float(number)) for number in re.findall(r"\d+(?:\.\d+)?", text)[:2]]
    numbers = [number for number in numbers if number < 1 << 16]
    if name in ("trkn", "disk"):
        return tuple([*numbers, 0][:2]) if numbers else None
    if name == "tmpo":
        return numbers[0] if numbers else None
    return text.encode() if name.startswith(_ITUNES) else text
