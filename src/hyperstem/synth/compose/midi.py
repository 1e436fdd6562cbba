"""Standard MIDI files, as far as notes go: read what an accompaniment program wrote, write what a sampler plays.

Source: the Standard MIDI Files 1.0 specification.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hyperstem.errors import DataError
from hyperstem.synth.compose.score import Note

DRUM_CHANNEL = 9
_TICKS = 480


class Track(NamedTuple):
    """One player: the track's name, its General MIDI program, its channel and its notes."""

    name: str
    program: int
    channel: int
    notes: tuple[Note, ...]


def _varying(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length number and the place behind it."""
    value = 0
    while True:
        value = value << 7 | data[at] & 127
        at += 1
        if data[at - 1] < 128:
            return value, at


def read_midi(data: bytes, bpm: float) -> list[Track]:
    """The tracks that hold notes.

    Args:
        data: the file; its tempo is taken to be `bpm` throughout.
        bpm: quarter notes a minute.

    Raises:
        DataError: this is no MIDI file, or it is cut short.
    """
    try:
        ticks = int.from_bytes(data[12:14], "big")
        if data[:4] != b"MThd" or not ticks:
            raise DataError("not a MIDI file, or one that is cut short")
        second = 60.0 / bpm / ticks
        tracks, at = [], 14
        while at + 8 <= len(data):
            length = int.from_bytes(data[at + 4 : at + 8], "big")
            if data[at : at + 4] == b"MTrk":
                track = _read_track(data[at + 8 : at + 8 + length], second)
                if track.notes:
                    tracks.append(track)
            at += 8 + length
    except IndexError:
        raise DataError("a MIDI file is cut short") from None
    return tracks


def _read_track(data: bytes, second: float) -> Track:
    """One track's events; notes that never end are left out."""
    name, program, channel, at, now, status = "", 0, 0, 0, 0, 0
    sounding: dict[tuple[int, int], tuple[int, int]] = {}
    notes = []
    while at < len(data):
        delta, at = _varying(data, at)
        now += delta
        if data[at] >= 128:
            status, at = data[at], at + 1
        if status == 255:
            kind = data[at]
            length, at = _varying(data, at + 1)
            if kind == 3:
                name = data[at : at + length].decode("latin-1")
            at += length
        elif status in (240, 247):
            length, at = _varying(data, at)
            at += length
        else:
            kind, here = status & 240, status & 15
            if kind in (192, 208):
                program, channel = (data[at], here) if kind == 192 else (program, channel)
                at += 1
                continue
            pitch, value = data[at], data[at + 1]
            at += 2
            if kind == 144 and value:
                sounding[here, pitch] = (now, value)
            elif kind in (128, 144) and (here, pitch) in sounding:
                start, velocity = sounding.pop((here, pitch))
                channel = here
                notes.append(Note(start * second, (now - start) * second, float(pitch), velocity / 127))
    return Track(name, program, channel, tuple(sorted(notes)))


def write_midi(tracks: Sequence[Track]) -> bytes:
    """A MIDI file (format 1) at 120 quarter notes a minute, one track a player; pitches are rounded."""
    head = b"MThd" + (6).to_bytes(4, "big") + b"\x00\x01"
    chunks = [head + len(tracks).to_bytes(2, "big") + _TICKS.to_bytes(2, "big")]
    for track in tracks:
        events: list[tuple[int, int, bytes]] = [(0, 0, bytes([192 | track.channel, track.program]))]
        for note in track.notes:
            pitch = min(127, max(0, round(note.pitch)))
            start, end = round(note.start_s * 2 * _TICKS), round((note.start_s + note.duration_s) * 2 * _TICKS)
            velocity = min(127, max(1, round(note.velocity * 127)))
            events.append((start, 2, bytes([144 | track.channel, pitch, velocity])))
            events.append((max(end, start + 1), 1, bytes([128 | track.channel, pitch, 0])))
        parts, now = [], 0
        for tick, _, message in sorted(events):
            parts.append(_variable(tick - now) + message)
            now = tick
        body = b"".join(parts) + b"\x00\xff\x2f\x00"
        chunks.append(b"MTrk" + len(body).to_bytes(4, "big") + body)
    return b"".join(chunks)


def _variable(value: int) -> bytes:
    """A variable-length number."""
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127 | 128)
    return bytes(reversed(digits))
