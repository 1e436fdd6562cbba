"""The bass line and the accompaniment: notes from chords."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperstem.synth.compose.score import Chord, Note, Section, Song, stream

_CENTRES = {  # MIDI pitch around which an instrument plays
    **dict.fromkeys(("piano", "epiano", "banjo"), 55),
    **dict.fromkeys(("strings", "brass"), 58),
    **dict.fromkeys(("electric", "clavinet"), 50),
    **dict.fromkeys(("bell", "lead"), 67),
    "organ": 56,
    "pad": 54,
    "acoustic": 48,
    "power": 40,
    "pluck": 60,
    "saw": 52,
}


@dataclass(frozen=True)
class Part:
    """The part of one instrument of the accompaniment."""

    instrument: str
    notes: tuple[Note, ...]
    position: float
    """Panning, from -1 (left) to 1 (right)."""
    gain_db: float


class _BassPattern(NamedTuple):
    """What a bass line repeats in every bar."""

    rhythm: list[tuple[float, float]]
    """(beat, beats) of each note."""
    intervals: list[int]
    """Semitones above the root of each note."""
    centre: float
    """MIDI pitch around which the line moves."""


class _Pattern(NamedTuple):
    """What an accompaniment repeats in every bar."""

    rhythm: list[tuple[float, float]]
    """(beat, beats) of each stroke."""
    order: list[int]
    """Order of an arpeggio's notes."""
    gate: float
    """Length of short notes, 0 to 1."""


def near(pitch_class: int, around: float) -> int:
    """The MIDI pitch of a pitch class nearest to `around`."""
    return round((around - pitch_class) / 12.0) * 12 + pitch_class


def play_bass(song: Song) -> tuple[str, tuple[Note, ...]]:
    """The bass sound and its notes; overlapping notes glide."""
    rng = stream(song.seed, 2)
    sound = str(rng.choice(song.style.basses))
    figures = {kind: str(rng.choice(song.style.lines)) for kind in ("verse", "chorus", "bridge")}
    centre = float(rng.uniform(33, 40)) - (2 if sound in ("sub", "eightoheight") else 0)
    rhythm = _rhythm(song, rng, float(rng.uniform(0.3, 0.75)))
    pattern = _BassPattern(rhythm, [int(rng.choice([0, 0, 0, 7, 12, 10, 5, 3])) for _ in rhythm], centre)
    notes: list[Note] = []
    length = float(rng.choice([0.5, 0.8, 0.95, 1.0]))
    for section in song.sections:
        if not section.bass:
            continue
        figure = figures.get(section.kind, figures["verse"])
        for chord in section.chords:
            for beat, beats, pitch, velocity in _bass_figure(song, chord, figure, pattern, rng):
                start, end = song.seconds(beat), song.seconds(beat + beats * length)
                loud = velocity * (0.7 + 0.3 * section.energy)
                notes.append(Note(start, max(0.05, end - start), float(np.clip(pitch, 24, 60)), loud))
    loose_s = float(rng.uniform(0.0, 0.008))
    return sound, tuple(
        note._replace(
            start_s=max(0.0, note.start_s + float(rng.normal(0, loose_s))),
            velocity=float(np.clip(note.velocity * rng.uniform(0.85, 1.1), 0.1, 1)),
        )
        for note in notes
    )


def _rhythm(song: Song, rng: np.random.Generator, density: float) -> list[tuple[float, float]]:
    """The rhythm of a bar as (beat, beats); the first beat always has a note."""
    steps = song.style.beats * song.style.steps
    weight = [
        1.0 if i % song.style.steps == 0 else 0.75 if (2 * i) % song.style.steps == 0 else 0.4 for i in range(steps)
    ]
    onsets = [0] + [i for i in range(1, steps) if rng.random() < density * weight[i]]
    ends = [*onsets[1:], steps]
    return [(a / song.style.steps, (b - a) / song.style.steps) for a, b in zip(onsets, ends, strict=True)]


def _fifth(song: Song, chord: Chord, root: int) -> int:
    """The fifth above a root, diminished if the scale has no perfect one."""
    return root + (7 if (chord.root + 7) % 12 in song.scale else 6)


def _bass_figure(
    song: Song, chord: Chord, figure: str, pattern: _BassPattern, rng: np.random.Generator
) -> list[tuple[float, float, float, float]]:
    """The bass notes of one chord: (beat, beats, pitch, velocity)."""
    root = near(chord.root, pattern.centre)
    start, beats = chord.start_beat, chord.beats
    step = 0.5 if song.style.steps == 4 else 1.0
    fifth = _fifth(song, chord, root)
    grid = np.arange(0, beats, step)
    if figure == "held":
        split = beats / 2 if rng.random() < 0.3 else beats
        return [(start + at, split, root if not at else fifth, 0.85) for at in np.arange(0, beats, split)]
    if figure in ("roots", "unison"):
        fast = 0.25 if figure == "unison" and song.style.steps == 4 else step
        grid = np.arange(0, beats, fast)
        return [(start + at, fast, root, 0.9 if at % 1 == 0 else 0.7) for at in grid if rng.random() < 0.96]
    if figure == "fifths":
        half = max(1.0, beats / 2)
        low = fifth - 12 if fifth > pattern.centre + 4 else fifth
        return [
            (start + at, half * 0.8, root if i % 2 == 0 else low, 0.85)
            for i, at in enumerate(np.arange(0, beats, half))
        ]
    if figure == "octaves":
        return [(start + at, step * 0.8, root + 12 * (i % 2), 0.9 - 0.15 * (i % 2)) for i, at in enumerate(grid)]
    if figure == "offbeat":
        return [(start + at + 0.5, 0.45, root, 0.85) for at in np.arange(0, beats - 0.5, 1.0)]
    return _moving_bass(song, chord, figure, root, pattern, rng)


def _moving_bass(
    song: Song, chord: Chord, figure: str, root: int, pattern: _BassPattern, rng: np.random.Generator
) -> list[tuple[float, float, float, float]]:
    """Figures that leave the root: (beat, beats, pitch, velocity)."""
    start, beats = chord.start_beat, chord.beats
    if figure == "walking":
        goal = near(song.chord_at(start + beats).root, pattern.centre)
        tones = sorted({near(tone, root + 4) for tone in chord.tones} | {_fifth(song, chord, root)})
        walk: list[float] = [root, *[float(rng.choice(tones)) for _ in range(int(beats) - 1)]]
        if len(walk) > 1:
            walk[-1] = goal + float(rng.choice([-1, 1, 2, -2]))
        return [(start + i, 0.9, pitch, 0.85) for i, pitch in enumerate(walk)]
    if figure == "funk":
        jumps = [0, 12, 10, 7, 0, 0]
        return [
            (start + at, min(length, 0.4), root + (int(rng.choice(jumps)) if at else 0), 0.9 if at % 1 == 0 else 0.65)
            for at, length in pattern.rhythm
            if at < beats
        ]
    if figure == "melodic":
        scale = [pitch for pitch in range(root - 3, root + 13) if pitch % 12 in song.scale]
        at, result = root, []
        for beat, length in pattern.rhythm:
            if beat < beats:
                result.append((start + beat, length, float(at), 0.85))
                degree = np.searchsorted(scale, at) + rng.choice([-1, 1, 1, 2, -2, 0])
                at = scale[int(np.clip(degree, 0, len(scale) - 1))]
        return result
    return [
        (start + at, length, float(root + interval), 0.85)
        for (at, length), interval in zip(pattern.rhythm, pattern.intervals, strict=True)
        if at < beats
    ]


def play_others(song: Song) -> list[Part]:
    """The parts of one to five instruments of the accompaniment."""
    rng = stream(song.seed, 3)
    pool = list(song.style.comps)
    count = int(min(len(pool), rng.choice([1, 2, 2, 3, 3, 4, 5])))
    chosen = [pool[i] for i in rng.permutation(len(pool))[:count]]
    parts = []
    wide = float(rng.uniform(0.2, 0.9))
    for i, (instrument, figure) in enumerate(chosen):
        side = 0.0 if i == 0 and rng.random() < 0.4 else float(rng.uniform(0.2, wide + 0.2)) * (-1) ** i
        present = {
            kind
            for kind in ("intro", "verse", "chorus", "bridge", "break", "outro")
            if i == 0 or kind == "chorus" or rng.random() < 0.6
        }
        sections = [section for section in song.sections if section.kind in present]
        notes = _comp(song, sections, instrument, figure, rng)
        parts.append(Part(instrument, tuple(notes), side, -2.0 * i + float(rng.normal(0, 2))))
    return parts


def _voicing(chord: Chord, instrument: str, previous: list[int], centre: float) -> list[int]:
    """Pitches of a chord near the previous ones (voice leading)."""
    if instrument == "power":
        root = near(chord.root, centre)
        return [root, root + 7, root + 12]
    around = float(np.mean(previous)) * 0.6 + centre * 0.4 if previous else centre
    pitches = sorted({near(tone, around + 2 * i - 3) for i, tone in enumerate(chord.tones)})
    if instrument in ("acoustic", "electric", "banjo") and len(pitches) < 5:
        pitches = sorted({*pitches, pitches[0] + 12, near(chord.root, pitches[0] - 4)})
    return pitches


def _comp(song: Song, sections: list[Section], instrument: str, figure: str, rng: np.random.Generator) -> list[Note]:
    """The notes of an instrument that plays one figure over the chords of `sections`."""
    centre = _CENTRES[instrument] + float(rng.normal(0, 2.5))
    rhythm = _rhythm(song, rng, float(rng.uniform(0.25, 0.55)))
    pattern = _Pattern(rhythm, [int(rng.integers(8)) for _ in range(16)], float(rng.uniform(0.3, 0.95)))
    loose_s = float(rng.uniform(0.001, 0.01))
    voicing: list[int] = []
    notes: list[Note] = []
    for section in sections:
        for chord in section.chords:
            voicing = _voicing(chord, instrument, voicing, centre)
            for beat, beats, pitches, velocity in _figure(song, chord, voicing, figure, pattern, rng):
                spread_s = 0.012 if instrument in ("acoustic", "electric") and len(pitches) > 2 else 0.0
                for i, pitch in enumerate(pitches):
                    start = song.seconds(beat) + i * spread_s + float(rng.normal(0, loose_s))
                    length = max(0.06, song.seconds(beat + beats) - song.seconds(beat))
                    loud = float(np.clip(velocity * (0.65 + 0.35 * section.energy) * rng.uniform(0.8, 1.1), 0.1, 1))
                    high = pitch if pitch >= 36 else pitch + 12 * -(-(36 - pitch) // 12)
                    notes.append(Note(max(0.0, start), length, float(high), loud))
    return sorted(notes)


def _figure(
    song: Song, chord: Chord, pitches: list[int], figure: str, pattern: _Pattern, rng: np.random.Generator
) -> list[tuple[float, float, list[int], float]]:
    """One chord as an accompaniment figure: (beat, beats, pitches, velocity)."""
    start, beats = chord.start_beat, chord.beats
    rhythm, order, gate = pattern
    step = 0.5 if song.style.steps == 4 else 1 / 3
    if figure == "hold":
        return [(start, beats * 0.98, pitches, 0.7)]
    if figure in ("eighths", "triplets", "chug"):
        grid = np.arange(0, beats - 0.01, step)
        accent = {beat for beat, _ in rhythm}
        return [
            (start + at, step * (0.9 if at in accent else gate), pitches, 0.85 if at in accent or at % 1 == 0 else 0.5)
            for at in grid
            if rng.random() < 0.95
        ]
    if figure == "arpeggio":
        fast = step / 2 if song.bpm < 110 and song.style.steps == 4 else step
        ladder = [*pitches, *[pitch + 12 for pitch in pitches[:2]]]
        return [
            (start + at, fast * (1.5 + 2 * gate), [ladder[order[i % len(order)] % len(ladder)]], 0.75)
            for i, at in enumerate(np.arange(0, beats - 0.01, fast))
        ]
    if figure == "strum":
        return [
            (start + at, length * 0.95, pitches if i % 2 == 0 else pitches[1:], 0.8 if i % 2 == 0 else 0.55)
            for i, (at, length) in enumerate(rhythm)
            if at < beats
        ]
    if figure == "skank":
        return [(start + at + 0.5, 0.2 + 0.2 * gate, pitches, 0.8) for at in np.arange(0, beats - 0.5, 1.0)]
    if figure == "scratch":
        return [
            (start + at, 0.15 if rng.random() < 0.6 else 0.3, pitches[-3:], 0.75 if at % 0.5 == 0 else 0.4)
            for at in np.arange(0, beats - 0.01, 0.25)
            if rng.random() < 0.7
        ]
    return _style_figure(song, chord, pitches, figure, pattern, rng)


def _style_figure(
    song: Song, chord: Chord, pitches: list[int], figure: str, pattern: _Pattern, rng: np.random.Generator
) -> list[tuple[float, float, list[int], float]]:
    """Figures of single styles, melodies, and stabs: (beat, beats, pitches, velocity)."""
    start, beats = chord.start_beat, chord.beats
    rhythm, order, gate = pattern
    if figure == "funk":
        return [
            (start + at, min(length, 0.3), [pitches[order[i % 16] % len(pitches)] - (12 if i % 3 == 0 else 0)], 0.8)
            for i, (at, length) in enumerate(rhythm)
            if at < beats
        ]
    if figure == "bossa":
        return [
            *[(start + at, 0.35, pitches[1:], 0.65) for at in (0.0, 1.0, 1.5, 2.5, 3.5) if at < beats],
            *[(start + at, 0.9, pitches[:1], 0.7) for at in np.arange(0, beats, 2.0)],
        ]
    if figure == "waltz":
        return [
            (start, 0.95, pitches[:1], 0.8),
            *[(start + at, 0.5, pitches[1:], 0.6) for at in np.arange(1, beats, 1.0)],
        ]
    if figure == "melody":
        ladder = [pitch for pitch in range(pitches[0], pitches[0] + 16) if pitch % 12 in song.scale]
        at = int(rng.integers(len(ladder)))
        result = []
        for beat, length in rhythm:
            if beat < beats and rng.random() < 0.85:
                at = int(np.clip(at + rng.choice([-2, -1, -1, 0, 1, 1, 2, 3]), 0, len(ladder) - 1))
                result.append((start + beat, length * 0.95, [ladder[at] + 12], 0.8))
        return result
    return [(start + at, min(length, 0.2 + 0.6 * gate), pitches, 0.8) for at, length in rhythm if at < beats]
