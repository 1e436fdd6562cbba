"""SoundFonts, played by the installed program fluidsynth; each stem is rendered apart."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperstem.errors import DataError
from hyperstem.synth.compose.midi import DRUM_CHANNEL, Track, write_midi
from hyperstem.synth.compose.score import METAL, Hit, Note

FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"), Path("/usr/share/soundfonts"))
BASSES = (32, 33, 33, 33, 34, 34, 35, 36, 37, 38, 39, 39, 87, 43)
DRUM_PROGRAMS = (0, 0, 0, 8, 16, 24, 25, 32, 40)
RELATED = {  # programs that can stand for one another, by group of eight
    0: (0, 1, 2, 3, 4, 5, 6, 7),
    1: (8, 9, 10, 11, 12, 13, 14),
    2: (16, 17, 18, 19, 20, 21, 22),
    3: (24, 25, 26, 27, 28, 29, 30),
    4: (32, 33),
    5: (40, 41, 42, 44, 45, 46, 48),
    6: (48, 49, 50, 51, 61, 89),
    7: (56, 57, 58, 60, 61, 62, 63),
    8: (64, 65, 66, 67, 68, 71),
    9: (72, 73, 74, 75),
    10: (80, 81, 82, 84, 87),
    11: (88, 89, 90, 91, 92, 94, 95),
    12: (88, 96, 98, 99, 102),
    13: (104, 105, 107, 108),
    14: (12, 114),
    15: (88, 91),
}
INSTRUMENTS = {  # programs for the built-in accompaniment's instruments
    "piano": (0, 1, 2, 3),
    "epiano": (4, 5),
    "organ": (16, 17, 18, 19),
    "pad": (88, 89, 90, 91, 94, 95, 50),
    "strings": (48, 49, 50, 44),
    "acoustic": (24, 25),
    "electric": (26, 27, 28),
    "power": (29, 30),
    "brass": (61, 62, 56),
    "bell": (9, 10, 11, 14, 98),
    "pluck": (45, 80, 46, 12),
    "saw": (81, 90, 62),
    "clavinet": (7, 6),
    "banjo": (105, 106, 104),
    "lead": (80, 81, 82, 84, 66, 73, 22),
}
_GM = {
    "kick": (35, 36),
    "rim": (37,),
    "snare": (38, 40),
    "clap": (39,),
    "hat": (42, 44),
    "open": (46,),
    "ride": (51, 59, 53),
    "crash": (49, 57, 55),
    "china": (52,),
    "floor": (41, 43),
    "mid": (45, 47),
    "tom": (48, 50),
    "tambourine": (54,),
    "cowbell": (56, 67, 68),
    "conga": (63, 64, 62, 60, 61),
    "shaker": (70, 69, 82),
}
_PIECES = {key: piece for piece, keys in _GM.items() for key in keys}


def find_soundfonts(folders: Sequence[Path] = FOLDERS) -> list[Path]:
    """The SoundFonts in some folders, taken to hold the General MIDI programs, links followed once; none for LV2."""
    found = {
        path.resolve()
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix.lower() in (".sf2", ".sf3")
    }
    return sorted(path for path in found if "LV2" not in path.name)


def hits_of(tracks: Sequence[Track]) -> list[Hit]:
    """Strokes of General MIDI drum tracks, for the built-in or a sampled kit."""
    return sorted(
        Hit(note.start_s, _PIECES.get(int(note.pitch), "shaker"), note.velocity)
        for track in tracks
        for note in track.notes
    )


def drum_track(hits: Sequence[Hit], program: int, rng: np.random.Generator) -> Track:
    """Strokes as a General MIDI drum track; each piece keeps one key all song long."""
    keys = {piece: int(rng.choice(options[:2])) for piece, options in _GM.items()}
    softer = {piece: float(rng.uniform(0.55, 0.85)) for piece in METAL}
    notes = tuple(
        Note(hit.start_s, 0.1, float(keys[hit.piece]), hit.velocity * softer.get(hit.piece, 1.0)) for hit in hits
    )
    return Track("Drum", program, DRUM_CHANNEL, notes)


def render_tracks(
    tracks: Sequence[Track], soundfont: Path, samples: int, rate_hz: int, room: bool = False
) -> np.ndarray:
    """Plays tracks through fluidsynth.

    Args:
        tracks: at most fifteen with pitch; drums are on channel 9.
        soundfont: file of the instruments.
        samples: length of the result.
        rate_hz: sampling rate, 8000 to 96000.
        room: whether fluidsynth adds its reverb and chorus.

    Returns:
        float32 (2, samples).

    Raises:
        DataError: fluidsynth is missing or fails.
    """
    spread, channel = [], 0
    for track in tracks:
        if track.channel != DRUM_CHANNEL:
            track = track._replace(channel=channel % 16)
            channel += 2 if channel + 1 == DRUM_CHANNEL else 1
        spread.append(track)
    with tempfile.TemporaryDirectory(prefix="hyperstem-") as folder:
        source, target = Path(folder, "song.mid"), Path(folder, "song.raw")
        source.write_bytes(write_midi(spread))
        command = [
            "fluidsynth",
            "-ni",
            "-q",
            "-F",
            str(target),
            "-r",
            str(rate_hz),
            "-T",
            "raw",
            "-O",
            "float",
            "-g",
            "0.4",
            "-R",
            str(int(room)),
            "-C",
            str(int(room)),
            str(soundfont),
            str(source),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise DataError(f"fluidsynth cannot be run: {error}") from None
        if not target.exists() or "fluidsynth: error" in done.stderr:
            raise DataError(f"fluidsynth cannot play {soundfont}: {done.stderr.strip()[:200]}")
        wave = np.fromfile(target, "<f4").reshape(-1, 2).T[:, :samples]
    return np.nan_to_num(np.pad(wave, ((0, 0), (0, samples - wave.shape[1])))).astype(np.float32)
