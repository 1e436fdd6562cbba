"""What a file consists of, found in its bytes before any decoder sees them."""

from pathlib import Path
from typing import NamedTuple

from hyperstem.audio import containers, mpeg, ogg
from hyperstem.audio.damage import Findings
from hyperstem.audio.mpeg import Hole
from hyperstem.audio.view import FileView

_FRAMED = (b"ID3", b"\xff", b"\x0b\x77")


class Part(NamedTuple):
    """A file, or one of those that were joined in it."""

    stretches: tuple[tuple[int, int], ...] | None = None
    """First byte of each and the one after its last; None for the file as it is."""
    patches: dict[int, bytes] = {}  # noqa: RUF012 (never changed)
    """Place, and the bytes that should stand there."""
    prefix: bytes = b""
    """What should stand before all."""
    simple: bool = False
    """soundfile may read it."""
    whole: bool = True
    """Its end is there."""
    format: str | None = None
    """FFmpeg's name of the format, where it is known."""
    holes: tuple[Hole, ...] = ()
    """Where, on the clock of what is left, sound is missing."""
    length_s: float | None = None
    """Of the sound, if it could be counted."""
    missing: float = 0.0
    """How many times more sound its header promises than is there."""
    counted: bool = False
    """Its header says how many samples it has, and may be believed."""

    def open(self, path: Path) -> FileView | None:
        """Its bytes as a file; None for the file as it is."""
        return None if self.stretches is None else FileView(path, self.stretches, self.patches, self.prefix)


def parts(path: Path, head: bytes, findings: Findings) -> list[Part]:
    """What the file that begins with `head` consists of: one part, or several that were joined.

    Raises:
        AudioError: something is missing, and `findings` are strict.
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
        return [Part(((extent.begin, path.stat().st_size),), extent.patches, extent.prefix, simple)]
    found = containers.joined(path, head)
    if len(found) == 1:
        return [Part(simple=simple, missing=0.0 if extent is None else extent.missing)]
    _told_joined(len(found), findings)
    return [Part((each,), simple=simple) for each in found]


def _told_joined(count: int, findings: Findings) -> None:
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
        _told_joined(len(sounds), findings)
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
