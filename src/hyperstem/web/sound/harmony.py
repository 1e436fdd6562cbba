"""Key and chords of a song from its chroma; pure.

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
BINS_PER_NOTE = 3
"""Bins per semitone."""
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MIN_LEVEL = 0.02
"""Relative to the song's loud parts; quieter segments have no chord."""
SHARPNESS, CHANGE, BASS = 30.0, 4.0, 0.2
SEVENTH, OUT_OF_KEY = 0.3, 1.0
"""Penalties for seventh chords and for chords outside the key."""
_CHORDS = ((False, (0, 4, 7)), (True, (0, 3, 7)), (False, (0, 4, 7, 11)), (False, (0, 4, 7, 10)), (True, (0, 3, 7, 10)))
"""Minor or not, and semitones above the root; seventh chords are named by their triads."""
_SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10, 11)}
FIRST_CHORD, BASS_NOTE = 0.1, 0.2
"""Weights of the first chord and of the bass note as evidence for a tonic."""
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
"""Typicality of triads (semitones above the tonic, minor or not) in a major and in a minor key."""


class Key(NamedTuple):
    """Tonic as a pitch class (C is 0), and major or minor."""

    tonic: int
    minor: bool

    @property
    def name(self) -> str:
        """Such as "A minor"."""
        return f"{NAMES[self.tonic]} {'minor' if self.minor else 'major'}"


class Chord(NamedTuple):
    """A triad and its time."""

    start_s: float
    end_s: float
    root: int
    minor: bool

    @property
    def name(self) -> str:
        """Such as "Am"."""
        return NAMES[self.root] + ("m" if self.minor else "")


class NoteLevels:
    """Magnitude of each note, in thirds of a semitone, computed block by block."""

    def __init__(self) -> None:
        self._window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._filters = _filters()
        self._rest = np.zeros(WINDOW // 2, np.float32)
        self._levels: list[np.ndarray] = []

    def add(self, wave: np.ndarray) -> None:
        """Appends float32 (time,) at `RATE_HZ`."""
        wave = np.concatenate([self._rest, wave])
        count = max(0, (len(wave) - WINDOW) // HOP + 1)
        self._rest = wave[count * HOP :]
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[: count * HOP : HOP]
            spectrum = np.fft.rfft(frames * self._window, axis=1)[:, : len(self._filters)]
            magnitude = np.abs(spectrum).astype(np.float32)
            self._levels.append(magnitude @ self._filters)

    def finish(self) -> np.ndarray:
        """float32 (frame, note), `BINS_PER_NOTE` values per note from `LOWEST_NOTE` on, `FRAMES_HZ` per second."""
        self.add(np.zeros(WINDOW // 2, np.float32))
        return np.concatenate(self._levels) if self._levels else np.zeros((0, self._filters.shape[1]), np.float32)


def _filters() -> np.ndarray:
    """Triangular filters from the spectrum's lower bins to thirds of a semitone: float32 (bin, note)."""
    notes = LOWEST_NOTE + np.arange((HIGHEST_NOTE - LOWEST_NOTE) * BINS_PER_NOTE) / BINS_PER_NOTE
    hertz = 440 * 2 ** ((notes - 69) / 12)
    bins = np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    width = np.maximum(hertz * (2 ** (1 / 36) - 1), RATE_HZ / WINDOW)  # a third of a semitone, or a bin
    filters = np.maximum(0, 1 - np.abs(bins[:, None] - hertz) / width).astype(np.float32)
    return filters[: np.flatnonzero(filters.any(axis=1))[-1] + 1]


def chroma_of(levels: np.ndarray) -> np.ndarray:
    """Compressed chroma of note levels (frame, note), corrected for tuning: float64 (frame, 12)."""
    flat = np.sqrt(levels)
    weights = np.array([flat[:, third::BINS_PER_NOTE].sum() for third in range(BINS_PER_NOTE)])
    shift = int(np.argmax(weights))  # tuning in thirds of a semitone: 0 in tune, 1 sharp, 2 flat
    shift = shift - BINS_PER_NOTE if shift > 1 else shift
    semitones = np.roll(flat, -shift, axis=1)[:, ::BINS_PER_NOTE]  # (frame, semitone)
    peaks = semitones - 0.5 * (np.roll(semitones, 1, axis=1) + np.roll(semitones, -1, axis=1))
    chroma = np.zeros((len(flat), 12), np.float32)
    for note in range(semitones.shape[1]):
        chroma[:, (LOWEST_NOTE + note) % 12] += np.maximum(0, peaks[:, note])
    return chroma.astype(np.float64)


def find_key(chords: list[Chord], bass: np.ndarray) -> Key | None:
    """The key that fits the chords and the bass chroma, (frame, 12), best; None without chords."""
    if not chords:
        return None
    shares = np.zeros((2, 12))  # (minor, root)
    for chord in chords:
        shares[int(chord.minor), chord.root] += chord.end_s - chord.start_s
    shares /= shares.sum()
    bass_shares = bass.sum(axis=0) / max(float(bass.sum(axis=0).max(initial=0.0)), 1e-9)

    def fit(key: Key) -> float:
        is_first = (chords[0].root, chords[0].minor) == key
        return _typicality(key, shares) + FIRST_CHORD * is_first + BASS_NOTE * float(bass_shares[key.tonic])

    return max((Key(tonic, minor) for minor in (False, True) for tonic in range(12)), key=fit)


def _typicality(key: Key, shares: np.ndarray) -> float:
    triads = _TRIADS[key.minor]
    return float(sum(weight * shares[int(minor), (key.tonic + step) % 12] for (step, minor), weight in triads))


def find_chords(chroma: np.ndarray, bass: np.ndarray, boundaries_s: np.ndarray, key: Key | None) -> list[Chord]:
    """The chords between `boundaries_s`, equal neighbours merged.

    Args:
        chroma: float (frame, 12) of all pitched stems.
        bass: float (frame, 12) of the bass alone; zeros without a bass.
        boundaries_s: possible chord changes in seconds, increasing.
        key: chords outside its scale get a penalty.
    """
    segments, basses = _segment_means(chroma, boundaries_s), _segment_means(bass, boundaries_s)  # (segment, 12)
    if not len(segments):
        return []
    loudness = np.linalg.norm(segments, axis=1)
    path = _decode(_likelihoods(segments, basses, key))
    sounding = loudness > MIN_LEVEL * np.quantile(loudness, 0.9)
    chords: list[Chord] = []
    for index, state in enumerate(path):
        if not sounding[index]:
            continue
        start, end = float(boundaries_s[index]), float(boundaries_s[index + 1])
        chord = Chord(start, end, int(state) % 12, state >= 12)
        if chords and chords[-1][1:] == chord[:1] + chord[2:]:
            chord = chord._replace(start_s=chords.pop().start_s)
        chords.append(chord)
    return chords


def _segment_means(chroma: np.ndarray, boundaries_s: np.ndarray) -> np.ndarray:
    """The mean of (frame, 12) in each segment: (segment, 12)."""
    sums = np.concatenate([np.zeros((1, 12)), np.cumsum(chroma, axis=0)])
    indices = np.clip(np.round(boundaries_s * FRAMES_HZ).astype(int), 0, len(chroma))
    counts = np.maximum(1, np.diff(indices))[:, None]
    return np.diff(sums[indices], axis=0) / counts


def _likelihoods(segments: np.ndarray, basses: np.ndarray, key: Key | None) -> np.ndarray:
    """Log-likelihoods of the 12 major and 12 minor triads: (segment, 24)."""
    unit, low = _unit(segments), _unit(basses)
    scores = np.full((len(segments), 24), -np.inf)
    for minor, steps in _CHORDS:
        for root in range(12):
            template = np.zeros(12)
            template[[(root + step) % 12 for step in steps]] = len(steps) ** -0.5
            fit = SHARPNESS * (unit @ template + BASS * low[:, root]) - SEVENTH * (len(steps) > 3)
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
    """The most likely path through (segment, state) with the penalty `CHANGE` per change (Viterbi)."""
    best, previous = scores[0], np.zeros(scores.shape, int)
    for index in range(1, len(scores)):
        top = int(np.argmax(best))
        stays = best >= best[top] - CHANGE
        previous[index] = np.where(stays, np.arange(len(best)), top)
        best = np.where(stays, best, best[top] - CHANGE) + scores[index]
    path = [int(np.argmax(best))]
    for index in range(len(scores) - 1, 0, -1):
        path.append(int(previous[index, path[-1]]))
    return np.array(path[::-1])
