"""A song before any sound: its form, chords and tempo."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperstem.errors import ConfigError
from hyperstem.synth.compose.styles import SCALES, STYLES, Style


class Note(NamedTuple):
    """One note."""

    start_s: float
    duration_s: float
    pitch: float
    """MIDI pitch."""
    velocity: float
    """0 to 1."""


class Hit(NamedTuple):
    """One stroke on a piece of the drum kit."""

    start_s: float
    piece: str
    velocity: float


class Syllable(NamedTuple):
    """One sung syllable: a note with its consonant and vowel; `breath` marks the first of a phrase."""

    start_s: float
    duration_s: float
    pitch: float
    velocity: float
    consonant: str
    vowel: str
    breath: bool


class Chord(NamedTuple):
    """A chord: pitch classes of its root and tones, first beat and number of beats."""

    root: int
    tones: tuple[int, ...]
    start_beat: float
    beats: float


@dataclass(frozen=True)
class Section:
    """A section of the song's form."""

    kind: str
    """Intro, verse, chorus, bridge, break or outro."""
    start_bar: int
    bars: int
    """Number of bars."""
    chords: tuple[Chord, ...]
    """Chords, in beats from the start of the song."""
    energy: float
    """Intensity of the playing, 0 to 1."""
    drums: bool = True
    """Whether drums, bass and vocals play."""
    bass: bool = True
    vocals: bool = True


@dataclass(frozen=True)
class Song:
    """What all parts of a song share."""

    seed: int
    style: Style
    bpm: float
    key: int
    """Pitch class of the tonic."""
    mode: str
    """Name of the scale."""
    swing: float
    """Delay of off-beats as a fraction of a step."""
    duration_s: float
    sections: tuple[Section, ...]
    """The form: consecutive sections."""

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch classes of the key's scale, from the tonic."""
        return tuple((self.key + step) % 12 for step in SCALES[self.mode])

    def seconds(self, beat: float) -> float:
        """The time of a beat, with swing: the second half of every beat is delayed."""
        late = 0.5 * self.swing if self.style.steps == 4 else 0.0
        whole = np.floor(beat)
        inside = beat - whole
        inside = inside * (1 + late) if inside < 0.5 else 0.5 * (1 + late) + (inside - 0.5) * (1 - late)
        return float(whole + inside) * 60.0 / self.bpm

    def chord_at(self, beat: float) -> Chord:
        """The chord on a beat."""
        for section in self.sections:
            for chord in section.chords:
                if chord.start_beat <= beat < chord.start_beat + chord.beats:
                    return chord
        return self.sections[-1].chords[-1]


def stream(seed: int, *parts: int) -> np.random.Generator:
    """The random stream of one part, so that a change in one part does not change the others."""
    return np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, *parts])


def compose(seed: int, seconds: float, style: str | None = None) -> Song:
    """Draws style, key, tempo, form and harmony of a song.

    Args:
        seed: the same seed gives the same song.
        seconds: length; songs under 40 s have no intro and outro.
        style: name of a style; None draws one.

    Raises:
        ConfigError: the length is not a positive number, or there is no such style.
    """
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"the song's length is {seconds!r} s; it must be above 0")
    rng = stream(seed, 0)
    drawn = STYLES[int(rng.integers(len(STYLES)))]
    if style is not None:
        by_name = {candidate.name: candidate for candidate in STYLES}
        if style not in by_name:
            raise ConfigError(f"no style {style!r}; styles are {', '.join(by_name)}")
        drawn = by_name[style]
    bpm = float(rng.uniform(*drawn.bpm))
    mode = str(rng.choice(drawn.modes))
    bars = max(1, int(np.ceil(seconds * bpm / 60.0 / drawn.beats)))
    sections = _form(bars, drawn, mode, key := int(rng.integers(12)), rng, whole=seconds >= 40)
    return Song(seed, drawn, bpm, key, mode, float(rng.uniform(*drawn.swing)), seconds, sections)


def _form(bars: int, style: Style, mode: str, key: int, rng: np.random.Generator, whole: bool) -> tuple[Section, ...]:
    """Sections that fill `bars`, with an intro and an outro if `whole`."""
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
    """Two to eight chords as (root, tones): a random walk over scale degrees that favours cadences."""
    scale = SCALES["minor" if mode == "blues" else mode]
    successors = {  # from the most to the least likely
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
        choices = successors[degree]
        weights = np.linspace(2.0, 0.6, len(choices))
        degree = int(rng.choice(choices, p=weights / weights.sum()))
        degrees.append(degree)
    seventh = 0.7 if style.name in ("jazz", "funk", "latin", "disco", "hiphop") else 0.25
    triads = style.name in ("metal", "rock")
    result = []
    for degree in degrees:
        size = 4 if not triads and rng.random() < seventh else 3
        steps = [degree + 2 * i for i in range(size)]
        if not triads and rng.random() < seventh * 0.4:
            steps.append(degree + 8)
        if rng.random() < 0.08:
            steps[1] = degree + 3  # suspended
        tones = [key + scale[step % 7] + 12 * (step // 7) for step in steps]
        if mode == "minor" and degree == 4 and rng.random() < 0.5:
            tones[1] = tones[0] + 4  # the leading note
        result.append((tones[0] % 12, tuple(tone % 12 for tone in tones)))
    return result


def _chords(progression: list[tuple[int, tuple[int, ...]]], bar: int, bars: int, beats: int) -> tuple[Chord, ...]:
    """The chords of a section: one per bar, or two per bar of a progression of eight."""
    per_bar = 2 if len(progression) == 8 and beats == 4 else 1
    length = beats / per_bar
    return tuple(
        Chord(*progression[i % len(progression)], bar * beats + i * length, length) for i in range(bars * per_bar)
    )
