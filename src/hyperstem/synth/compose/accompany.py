"""Accompaniment by MMA (Musical MIDI Accompaniment), an installed program with some two thousand grooves."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperstem.errors import DataError
from hyperstem.synth.compose.midi import Track, read_midi
from hyperstem.synth.compose.score import Chord, Song

LIBRARIES = (Path("/usr/share/mma/lib"), Path("/usr/local/share/mma/lib"))
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_KINDS = {
    (0, 4, 7): "",
    (0, 3, 7): "m",
    (0, 3, 6): "dim",
    (0, 4, 8): "aug",
    (0, 5, 7): "sus4",
    (0, 2, 7): "sus2",
    (0, 4, 7, 11): "M7",
    (0, 4, 7, 10): "7",
    (0, 3, 7, 10): "m7",
    (0, 3, 6, 10): "m7b5",
    (0, 3, 7, 11): "mM7",
}


class Family(NamedTuple):
    """The grooves of one library file: they belong together."""

    file: Path
    beats: int
    mains: tuple[str, ...]
    fills: tuple[str, ...]
    intros: tuple[str, ...]


def find_families(library: Path) -> list[Family]:
    """Every library file with grooves in three or four beats, sorted by path."""
    families = []
    for path in sorted(library.rglob("*.mma")):
        text = path.read_text(encoding="latin-1")
        names = re.findall(r"^\s*DefGroove\s+(\S+)", text, re.MULTILINE | re.IGNORECASE)
        beats = {int(beat) for beat in re.findall(r"^\s*Time\s+(\d+)", text, re.MULTILINE | re.IGNORECASE)}
        if not names or beats not in ({3}, {4}) or path.stem.startswith(("metronome", "none")):
            continue
        fills = tuple(name for name in names if "fill" in name.lower() or "break" in name.lower())
        intros = tuple(name for name in names if "intro" in name.lower())
        mains = tuple(name for name in names if not re.search("fill|break|intro|end", name, re.IGNORECASE))
        if mains:
            families.append(Family(path, beats.pop(), mains, fills, intros))
    return families


def chord_name(chord: Chord) -> str:
    """The chord as MMA spells it; tones beyond the seventh are dropped."""
    steps = tuple(sorted({(tone - chord.root) % 12 for tone in chord.tones}))
    for kind in (steps, tuple(step for step in steps if step not in (1, 2, 9))):
        if kind in _KINDS:
            return _NAMES[chord.root] + _KINDS[kind]
    return _NAMES[chord.root] + ("m" if 3 in steps else "")


def chart(song: Song, family: Family, rng: np.random.Generator) -> str:
    """The song as MMA input: a groove per section, fills before new ones, a bar of chords a line."""
    picked = [str(name) for name in rng.permutation(family.mains)[:2]]
    lines = [f"RndSeed {int(rng.integers(1, 1_000_000))}", f"Tempo {song.bpm:.4f}"]
    number = 1
    for section in song.sections:
        groove = picked[-1] if section.kind in ("chorus", "bridge") else picked[0]
        lines.append(f"Groove {groove}")
        for bar in range(section.bars):
            if bar == section.bars - 1 and bar and family.fills and rng.random() < 0.7:
                lines.append(f"Groove {rng.choice(family.fills)}")
            start = (section.start_bar + bar) * song.style.beats
            cells = ["/"] * song.style.beats
            for chord in section.chords:
                if start <= chord.start_beat < start + song.style.beats:
                    cells[int(chord.start_beat - start)] = chord_name(chord)
            lines.append(f"{number} {' '.join(cells)}")
            number += 1
    return "\n".join(lines) + "\n"


def play(song: Song, family: Family, rng: np.random.Generator) -> dict[str, list[Track]]:
    """Runs MMA on the song.

    Returns:
        drums, bass and other, each a list of tracks; a section's flags silence its drums and bass.

    Raises:
        DataError: MMA is missing or cannot play the groove.
    """
    with tempfile.TemporaryDirectory(prefix="hyperstem-") as folder:
        source, target = Path(folder, "song.mma"), Path(folder, "song.mid")
        source.write_text(chart(song, family, rng), encoding="ascii")
        command = ["mma", "-f", str(target), str(source)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise DataError(f"mma cannot be run: {error}") from None
        if done.returncode or not target.exists():
            reason = " ".join(line for line in done.stdout.split("\n") if "Warning" not in line).split()
            raise DataError(f"mma cannot play {family.file.stem}: {' '.join(reason)[:200]}")
        tracks = read_midi(target.read_bytes(), song.bpm)
    parts: dict[str, list[Track]] = {"drums": [], "bass": [], "other": []}
    for track in tracks:
        kind = track.name.split("-")[0].lower()
        stem = "drums" if kind in ("drum", "percussion") else "bass" if kind in ("bass", "walk") else "other"
        parts[stem].append(track._replace(notes=tuple(n for n in track.notes if _plays(song, stem, n.start_s))))
    return parts


def _plays(song: Song, stem: str, start_s: float) -> bool:
    """Whether a stem plays in the section around a time."""
    beat = (start_s + 0.05) * song.bpm / 60.0
    for section in song.sections:
        if section.start_bar * song.style.beats <= beat < (section.start_bar + section.bars) * song.style.beats:
            return section.drums if stem == "drums" else section.bass if stem == "bass" else True
    return True
