"""Chooses which of a file's sound streams to read."""

from pathlib import Path
from typing import Any

import av

from hyperstem.errors import AudioError

Choice = int | str | None
"""A number, counted from 0; a language or a stream's title; None for the one that the file marks as its default."""

_LANGUAGES = {
    "ar": "ara", "cs": "ces cze", "da": "dan", "de": "deu ger", "el": "ell gre", "en": "eng", "es": "spa", "fi": "fin",
    "fr": "fra fre", "he": "heb", "hi": "hin", "hu": "hun", "it": "ita", "ja": "jpn", "ko": "kor", "nl": "nld dut",
    "no": "nor nob nno", "pl": "pol", "pt": "por", "ro": "ron rum", "ru": "rus", "sv": "swe", "tr": "tur", "uk": "ukr",
    "zh": "zho chi",
}  # fmt: skip
"""Short language codes (ISO 639-1), and those that containers use (ISO 639-2)."""


def chosen(container: Any, wanted: Choice, path: Path) -> av.AudioStream:
    """The requested stream.

    Raises:
        AudioError: there is no such stream, or no sound at all.
    """
    streams = container.streams.audio
    if not streams:
        raise AudioError(f"{path} has no sound")
    if wanted is None:
        return next((stream for stream in streams if stream.disposition & av.stream.Disposition.default), streams[0])
    if isinstance(wanted, int):
        if not 0 <= wanted < len(streams):
            raise AudioError(f"{path} has no sound stream {wanted}; it has {len(streams)}, counted from 0")
        return streams[wanted]
    name = wanted.casefold()
    names = {name}.union(*(codes for codes in _codes() if name in codes))
    found = next((stream for stream in streams if names & _names(stream)), None)
    if found is None:
        listed = ", ".join(f"{i} ({', '.join(sorted(_names(each))) or 'no name'})" for i, each in enumerate(streams))
        raise AudioError(f"{path} has no sound stream {wanted!r}; it has {listed}")
    return found


def _codes() -> list[set[str]]:
    """Every code of each language."""
    return [{short, *long.split()} for short, long in _LANGUAGES.items()]


def _names(stream: av.AudioStream) -> set[str]:
    """Language and titles, normalised for comparison."""
    given = (stream.metadata.get(key, "") for key in ("language", "title", "handler_name"))
    return {name.casefold() for name in given if name and name != "und"}
