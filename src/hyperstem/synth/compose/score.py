"""What the band plays, before any sound: the form, the chords and the clock of one song."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperstem.errors import ConfigError
from hyperstem.synth.compose.styles import SCALES, STYLES, Style

METAL = ("hat", "open", "ride", "crash", "china", "tambourine", "shaker")
"""Pieces of the drum kit that mixes keep low."""


class Note(NamedTuple):
    """One note: start and length in seconds, MIDI pitch, velocity from 0 to 1."""

    start_s: float
    duration_s: float
    pitch: float
    velocity: float


class Hit(NamedTuple):
    """One stroke on a piece of the drum kit."""

    start_s: float
    piece: str
    velocity: float


class Syllable(NamedTuple):
    """One sung syllable: a note with its consonant and vowel; `breath` marks the first after a pause."""

    start_s: float
    duration_s: float
    pitch: float
    velocity: float
    consonant: str
    vowel: str
    breath: bool


class Chord(NamedTuple):
    """A harmony: pitch classes of its bass and tones, first beat and number of beats."""

    root: int
    tones: tuple[int, ...]
    start_beat: float
    beats: float


@dataclass(frozen=True)
class Section:
    """A stretch of bars with one feel."""

    kind: str
    """Intro, verse, chorus, bridge, break or outro."""
    start_bar: int
    """Where it lies, with `bars`."""
    bars: int
    chords: tuple[Chord, ...]
    """In beats from the song's start."""
    energy: float
    """0 (bare) to 1 (everything)."""
    drums: bool = True
    """Whether drums, bass and vocals play."""
    bass: bool = True
    vocals: bool = True


@dataclass(frozen=True)
class Song:
    """The frame that every player follows."""

    seed: int
    """Decides everything else."""
    style: Style
    """How it is played."""
    bpm: float
    """Tempo; `key` is the pitch class of the tonic, `mode` the name of the scale."""
    key: int
    mode: str
    swing: float
    """Delay of off-beats as a share of a step."""
    duration_s: float
    """Length."""
    sections: tuple[Section, ...]
    """The form, without gaps."""

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch classes of the key's scale, from the tonic."""
        return tuple((self.key + step) % 12 for step in SCALES[self.mode])

    def seconds(self, beat: float) -> float:
        """When a beat falls, swing included: the second half of a beat comes late."""
        late = 0.5 * self.swing if self.style.steps == 4 else 0.0
        whole = np.floor(beat)
        inside = beat - whole
        inside = inside * (1 + late) if inside < 0.5 else 0.5 * (1 + late) + (inside - 0.5) * (1 - late)
        beat = whole + inside
        return float(beat) * 60.0 / self.bpm

    def chord_at(self, beat: float) -> Chord:
        """The harmony that sounds on a beat."""
        for section in self.sections:
            for chord in section.chords:
                if chord.start_beat <= beat < chord.start_beat + chord.beats:
                    return chord
        return self.sections[-1].chords[-1]


def stream(seed: int, *parts: int) -> np.random.Generator:
    """An own source of chance for every player, so that a change in one leaves the others as they were."""
    return np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, *parts])


def compose(seed: int, seconds: float, style: str | None = None) -> Song:
    """Draws style, key, tempo, form and harmony of a song.

    Args:
        seed: the same seed gives the same song.
        seconds: length; short songs skip the intro and the breaks.
        style: name of a style; drawn if not given.

    Raises:
        ConfigError: the length is not a positive number, or there is no such style.
    """
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"the song's length is {seconds!r} s; it must be above 0")
    rng = stream(seed, 0)
    drawn = STYLES[int(rng.integers(len(STYLES)))]
    if style is not None:
        found = [candidate for candidate in STYLES if candidate.name == style]
        if not found:
            raise ConfigError(f"no style {style!r}; styles are {', '.join(candidate.name for candidate in STYLES)}")
        drawn = found[0]
    bpm = float(rng.uniform(*drawn.bpm))
    mode = str(rng.choice(drawn.modes))
    bars = max(1, int(np.ceil(seconds * bpm / 60.0 / drawn.beats)))
    sections = _form(bars, drawn, mode, key := int(rng.integers(12)), rng, whole=seconds >= 40)
    return Song(seed, drawn, bpm, key, mode, float(rng.uniform(*drawn.swing)), seconds, sections)


def _form(bars: int, style: Style, mode: str, key: int, rng: np.random.Generator, whole: bool) -> tuple[Section, ...]:
    """Sections that fill `bars`; without `whole` everybody plays from the first bar."""
    progressions = {kind: _progression(style, mode, key, rng) for kind in ("verse", "chorus", "bridge")}
    unit = int(rng.choice([4, 8])) if bars >= 24 else 4
    order = ["verse", "verse", "chorus", "verse", "chorus", "bridge", "chorus", "chorus"]
    if whole:
        order = ["intro", *order]
    sections: list[Section] = []
    at, turn = 0, 0
    while at < bars:
        kind = order[turn] if turn < len(order) else str(rng.choice(["verse", "chorus", "break", "bridge"]))
        length = min(4 if kind in ("intro", "break") else unit, bars - at)
        last = whole and at + length >= bars
        chords = _chords(progressions.get(kind, progressions["verse"]), at, length, style.beats)
        energy = {"intro": 0.4, "verse": 0.6, "chorus": 0.95, "bridge": 0.7, "break": 0.3, "outro": 0.5}[kind]
        sections.append(
            Section(
                "outro" if last else kind,
                at,
                length,
                chords,
                float(np.clip(energy + rng.normal(0, 0.08), 0.1, 1.0)),
                drums=kind not in ("intro", "break") or rng.random() < 0.5,
                bass=kind not in ("intro", "break") or rng.random() < 0.5,
                vocals=kind in ("verse", "chorus")
                or (kind == "break" and rng.random() < 0.6)
                or (kind == "bridge" and rng.random() < 0.5),
            )
        )
        at, turn = at + length, turn + 1
    return tuple(sections)


def _progression(style: Style, mode: str, key: int, rng: np.random.Generator) -> list[tuple[int, tuple[int, ...]]]:
    """Four or eight chords as (root, tones), found by a walk over scale degrees that likes to come home."""
    scale = SCALES["minor" if mode == "blues" else mode]
    pulls = {
        0: (3, 4, 5, 1, 2, 6),
        1: (4, 3, 6, 0),
        2: (5, 3, 1),
        3: (4, 0, 1, 5),
        4: (0, 5, 3, 0),
        5: (3, 1, 4, 2),
        6: (0, 3, 5, 2),
    }
    count = int(rng.choice([2, 4, 4, 4, 8]))
    degree = int(rng.choice([0, 0, 0, 5, 3, 1]))
    degrees = [degree]
    for _ in range(count - 1):
        choices = pulls[degree]
        weights = np.linspace(2.0, 0.6, len(choices))
        degree = int(rng.choice(choices, p=weights / weights.sum()))
        degrees.append(degree)
    rich = 0.7 if style.name in ("jazz", "funk", "latin", "disco", "hiphop") else 0.25
    plain = style.name in ("metal", "rock")
    result = []
    for degree in degrees:
        size = 4 if not plain and rng.random() < rich else 3
        steps = [degree + 2 * i for i in range(size)]
        if not plain and rng.random() < rich * 0.4:
            steps.append(degree + 8)
        if rng.random() < 0.08:
            steps[1] = degree + 3  # suspended
        tones = [key + scale[step % 7] + 12 * (step // 7) for step in steps]
        if mode == "minor" and degree == 4 and rng.random() < 0.5:
            tones[1] = tones[0] + 4  # the leading note
        result.append((tones[0] % 12, tuple(tone % 12 for tone in tones)))
    return result


def _chords(progression: list[tuple[int, tuple[int, ...]]], bar: int, bars: int, beats: int) -> tuple[Chord, ...]:
    """The progression laid over a section, a chord a bar, or two a bar where there are eight."""
    per_bar = 2 if len(progression) == 8 and beats == 4 else 1
    length = beats / per_bar
    return tuple(
        Chord(*progression[i % len(progression)], bar * beats + i * length, length) for i in range(bars * per_bar)
    )
