"""Key and chords of a song from its pitch classes; pure.

Source: chords are triads decoded over the beats (Sheh and Ellis, "Chord Segmentation and Recognition using EM-Trained
Hidden Markov Models", ISMIR 2003).
"""

from typing import NamedTuple

import numpy as np

RATE_HZ = 11025
HOP = 1024
WINDOW = 4096
FRAMES_HZ = RATE_HZ / HOP
LOWEST_NOTE, HIGHEST_NOTE = 33, 93
FINE = 3
"""Bins a semitone."""
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LEAST_LEVEL = 0.02
"""Of a song's loud parts: what is quieter has no chord."""
SHARPNESS, CHANGE, BASS = 30.0, 4.0, 0.2
SEVENTH, OUT_OF_KEY = 0.3, 1.0
"""What a chord with a seventh, and one that leaves the key, must fit better by."""
_KINDS = ((False, (0, 4, 7)), (True, (0, 3, 7)), (False, (0, 4, 7, 11)), (False, (0, 4, 7, 10)), (True, (0, 3, 7, 10)))
"""Minor or not, and the steps above the root; those with sevenths are named by their triads."""
_SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10, 11)}
FIRST, LOW = 0.1, 0.2
"""How much the first chord, and the bass that stays on a note, speak for a tonic."""
_TRIADS = {
    False: (
        ((0, False), 1.0),
        ((5, False), 0.7),
        ((7, False), 0.7),
        ((9, True), 0.6),
        ((2, True), 0.45),
        ((4, True), 0.3),
        ((10, False), 0.3),
    ),
    True: (
        ((0, True), 1.0),
        ((8, False), 0.6),
        ((10, False), 0.6),
        ((5, True), 0.55),
        ((3, False), 0.5),
        ((7, False), 0.5),
        ((7, True), 0.45),
        ((5, False), 0.3),
    ),
}
"""How usual a triad (steps above the tonic, minor or not) is in a major and in a minor key."""


class Key(NamedTuple):
    """Tonic as a pitch class (C is 0), and major or minor."""

    tonic: int
    minor: bool

    @property
    def name(self) -> str:
        """Such as "A minor"."""
        return f"{NAMES[self.tonic]} {'minor' if self.minor else 'major'}"


class Chord(NamedTuple):
    """A triad and when it sounds."""

    start_s: float
    end_s: float
    root: int
    minor: bool

    @property
    def name(self) -> str:
        """Such as "Am"."""
        return NAMES[self.root] + ("m" if self.minor else "")


class Notes:
    """How strong each note is in sound that comes in blocks, in thirds of a semitone."""

    def __init__(self) -> None:
        self._window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._folding = _folding()
        self._rest = np.zeros(WINDOW // 2, np.float32)
        self._levels: list[np.ndarray] = []

    def add(self, wave: np.ndarray) -> None:
        """Takes in float32 (time,) at `RATE_HZ`."""
        wave = np.concatenate([self._rest, wave])
        count = max(0, (len(wave) - WINDOW) // HOP + 1)
        self._rest = wave[count * HOP :]
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[: count * HOP : HOP]
            spectrum = np.fft.rfft(frames * self._window, axis=1)[:, : len(self._folding)]
            magnitude = np.abs(spectrum).astype(np.float32)
            self._levels.append(magnitude @ self._folding)

    def finish(self) -> np.ndarray:
        """float32 (frame, note), `FINE` values a note from `LOWEST_NOTE` on, `FRAMES_HZ` frames a second."""
        self.add(np.zeros(WINDOW // 2, np.float32))
        return np.concatenate(self._levels) if self._levels else np.zeros((0, self._folding.shape[1]), np.float32)


def _folding() -> np.ndarray:
    """From the spectrum's lower bins, as many as there are notes in, to thirds of a semitone: float32 (bin, note)."""
    notes = LOWEST_NOTE + np.arange((HIGHEST_NOTE - LOWEST_NOTE) * FINE) / FINE
    hertz = 440 * 2 ** ((notes - 69) / 12)
    bins = np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    width = np.maximum(hertz * (2 ** (1 / 36) - 1), RATE_HZ / WINDOW)  # a third of a semitone, or a bin
    folding = np.maximum(0, 1 - np.abs(bins[:, None] - hertz) / width).astype(np.float32)
    return folding[: np.flatnonzero(folding.any(axis=1))[-1] + 1]


def pitch_classes(levels: np.ndarray) -> np.ndarray:
    """Chroma of (frame, note): float64 (frame, 12), compressed, with the song's tuning taken out."""
    flat = np.sqrt(levels)
    weights = np.array([flat[:, third::FINE].sum() for third in range(FINE)])
    shift = int(np.argmax(weights))  # the third in which the song's notes lie: 0 in tune, 1 sharp, 2 flat
    shift = shift - FINE if shift > 1 else shift
    semitones = np.roll(flat, -shift, axis=1)[:, ::FINE]  # (frame, semitone)
    peaks = semitones - 0.5 * (np.roll(semitones, 1, axis=1) + np.roll(semitones, -1, axis=1))
    chroma = np.zeros((len(flat), 12), np.float32)
    for note in range(semitones.shape[1]):
        chroma[:, (LOWEST_NOTE + note) % 12] += np.maximum(0, peaks[:, note])
    return chroma.astype(np.float64)


def find_key(chords: list[Chord], bass: np.ndarray) -> Key | None:
    """The key in which the chords are most usual and whose tonic `bass`, (frame, 12), keeps to; None without chords."""
    if not chords:
        return None
    shares = np.zeros((2, 12))  # (minor, root)
    for chord in chords:
        shares[int(chord.minor), chord.root] += chord.end_s - chord.start_s
    shares /= shares.sum()
    low = bass.sum(axis=0) / max(float(bass.sum(axis=0).max(initial=0.0)), 1e-9)

    def fit(key: Key) -> float:
        opens = (chords[0].root, chords[0].minor) == key
        return _usual(key, shares) + FIRST * opens + LOW * float(low[key.tonic])

    return max((Key(tonic, minor) for minor in (False, True) for tonic in range(12)), key=fit)


def _usual(key: Key, shares: np.ndarray) -> float:
    triads = _TRIADS[key.minor]
    return float(sum(usual * shares[int(minor), (key.tonic + step) % 12] for (step, minor), usual in triads))


def find_chords(chroma: np.ndarray, bass: np.ndarray, borders_s: np.ndarray, key: Key | None) -> list[Chord]:
    """The chords between `borders_s`, neighbours that are the same put together.

    Args:
        chroma: float (frame, 12) of all that has pitch.
        bass: float (frame, 12) of the bass alone; zeros where there is none.
        borders_s: where a chord may change, rising.
        key: chords of its scale are a little more likely.
    """
    pieces, basses = _between(chroma, borders_s), _between(bass, borders_s)  # (piece, 12)
    if not len(pieces):
        return []
    loudness = np.linalg.norm(pieces, axis=1)
    path = _decode(_likelihoods(pieces, basses, key))
    sounding = loudness > LEAST_LEVEL * np.quantile(loudness, 0.9)
    chords: list[Chord] = []
    for place, state in enumerate(path):
        if not sounding[place]:
            continue
        start, end = float(borders_s[place]), float(borders_s[place + 1])
        chord = Chord(start, end, int(state) % 12, state >= 12)
        if chords and chords[-1][1:] == chord[:1] + chord[2:]:
            chord = chord._replace(start_s=chords.pop().start_s)
        chords.append(chord)
    return chords


def _between(chroma: np.ndarray, borders_s: np.ndarray) -> np.ndarray:
    """The mean of (frame, 12) between each border and the next: (piece, 12)."""
    sums = np.concatenate([np.zeros((1, 12)), np.cumsum(chroma, axis=0)])
    places = np.clip(np.round(borders_s * FRAMES_HZ).astype(int), 0, len(chroma))
    counts = np.maximum(1, np.diff(places))[:, None]
    return np.diff(sums[places], axis=0) / counts


def _likelihoods(pieces: np.ndarray, basses: np.ndarray, key: Key | None) -> np.ndarray:
    """Log-likelihoods of the 12 major and 12 minor triads: (piece, 24)."""
    unit, low = _unit(pieces), _unit(basses)
    scores = np.full((len(pieces), 24), -np.inf)
    for minor, steps in _KINDS:
        for root in range(12):
            shape = np.zeros(12)
            shape[[(root + step) % 12 for step in steps]] = len(steps) ** -0.5
            fit = SHARPNESS * (unit @ shape + BASS * low[:, root]) - SEVENTH * (len(steps) > 3)
            if key is not None and not _in_scale(key, root, steps[:3]):
                fit = fit - OUT_OF_KEY
            state = root + 12 * minor
            scores[:, state] = np.maximum(scores[:, state], fit)
    return scores


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)


def _in_scale(key: Key, root: int, steps: tuple[int, ...]) -> bool:
    return all((root + step - key.tonic) % 12 in _SCALES[key.minor] for step in steps)


def _decode(scores: np.ndarray) -> np.ndarray:
    """The most likely path through (piece, state), a change costing `CHANGE` (Viterbi)."""
    best, came = scores[0], np.zeros(scores.shape, int)
    for place in range(1, len(scores)):
        top = int(np.argmax(best))
        stays = best >= best[top] - CHANGE
        came[place] = np.where(stays, np.arange(len(best)), top)
        best = np.where(stays, best, best[top] - CHANGE) + scores[place]
    path = [int(np.argmax(best))]
    for place in range(len(scores) - 1, 0, -1):
        path.append(int(came[place, path[-1]]))
    return np.array(path[::-1])
