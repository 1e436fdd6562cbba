"""Finds the parts of a file in its bytes, before any decoder reads them."""

from pathlib import Path
from typing import NamedTuple

from hyperstem.audio import containers, mpeg, ogg
from hyperstem.audio.damage import Findings
from hyperstem.audio.mpeg import Hole
from hyperstem.audio.view import FileView

_FRAMED = (b"ID3", b"\xff", b"\x0b\x77")


class Part(NamedTuple):
    """A file, or one of several that were concatenated."""

    stretches: tuple[tuple[int, int], ...] | None = None
    """Start and end offset of each; None for the whole file."""
    patches: dict[int, bytes] = {}  # noqa: RUF012 (never changed)
    """Offset to corrected bytes."""
    prefix: bytes = b""
    """Bytes to put before all others."""
    simple: bool = False
    """Whether soundfile may read it."""
    whole: bool = True
    """Whether its end is present."""
    format: str | None = None
    """FFmpeg's name of the format, if it is known."""
    holes: tuple[Hole, ...] = ()
    """Missing sound, on the clock of what is left."""
    length_s: float | None = None
    """Length of the sound, if it could be counted."""
    missing: float = 0.0
    """Missing sound relative to the sound present, according to its header."""
    counted: bool = False
    """Whether its header gives a reliable number of samples."""

    def open(self, path: Path) -> FileView | None:
        """Its bytes as a file; None if it is the whole file."""
        return None if self.stretches is None else FileView(path, self.stretches, self.patches, self.prefix)


def parts(path: Path, head: bytes, findings: Findings) -> list[Part]:
    """The parts of the file that begins with `head`: one, or several that were concatenated.

    Raises:
        AudioError: something is missing, and reading is strict.
    """
    if head.startswith(b"OggS"):
        return _ogg(path, findings)
    if head.startswith(_FRAMED) and (sounds := mpeg.survey(path)):
        return _framed(sounds, path.stat().st_size, findings)
    simple = containers.simple(head)
    extent = containers.extent(path)
    if extent is not None and extent.stale:
        promised = "how long it is" if extent.promised is None else "of all its sound"
        findings.note(f"has a header that does not tell {promised}; what is there is read")
        return [_corrected(path, extent)._replace(simple=simple)]
    found = containers.joined(path, head)
    if len(found) == 1:
        return [Part(simple=simple, missing=0.0 if extent is None else extent.missing)]
    _note_joined(len(found), findings)
    return [Part((each,), simple=simple) for each in found]


def with_true_header(path: Path) -> FileView | None:
    """A file whose header gives a wrong length, as it should be; None if the header is right or of another kind."""
    extent = containers.extent(path)
    return _corrected(path, extent).open(path) if extent is not None and extent.stale else None


def _corrected(path: Path, extent: containers.Extent) -> Part:
    return Part(((extent.begin, path.stat().st_size),), extent.patches, extent.prefix)


def _note_joined(count: int, findings: Findings) -> None:
    findings.fault(f"is made of {count} files joined end to end; all of them are read")


def _ogg(path: Path, findings: Findings) -> list[Part]:
    links = ogg.links(path)
    holes = sum(link.holes for link in links)
    if holes:
        findings.fault(f"has damaged or missing pages in {holes} place{'s' if holes > 1 else ''}")
    alone = len(links) == 1
    found = [
        Part(
            None if alone else ((link.start, link.end),),
            simple=link.closed and not link.holes,
            whole=link.whole,
            format="ogg",
        )
        for link in links
    ]
    return found or [Part()]


def _framed(sounds: tuple[mpeg.Sound, ...], size: int, findings: Findings) -> list[Part]:
    if len(sounds) > 1:
        _note_joined(len(sounds), findings)
    return [
        Part(
            None if len(sounds) == 1 and sound.clean and sound.stretches[0][1] == size else sound.stretches,
            format=sound.kind,
            holes=sound.holes,
            length_s=sound.length_s,
            counted=sound.counted,
        )
        for sound in sounds
    ]
