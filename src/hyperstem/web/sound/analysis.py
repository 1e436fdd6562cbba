"""Tempo, beats, bars, key and chords of a song, from its stems."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from hyperstem.web.sound import harmony, rhythm
from hyperstem.web.sound.takes import ORIGINAL, Sound

DRUMS, BASS, VOCALS = "drums", "bass", "vocals"
BLOCK_FRAMES = 1 << 18
WITHOUT_BEATS_S = 0.5
"""Interval of possible chord changes without a beat."""


@dataclass(frozen=True)
class ChordSpan:
    """A chord and its time."""

    start_s: float
    end_s: float
    name: str
    """Root, and m for minor: "C", "F#m"."""


@dataclass(frozen=True)
class Analysis:
    """Tempo, beats, key and chords; unknown values are None or empty."""

    tempo_bpm: float | None
    beats: list[float]
    """Seconds, rising."""
    beats_per_bar: int
    first_downbeat: int
    """Index of the first beat that begins a bar."""
    key: str | None
    """Such as "A minor"."""
    chords: list[ChordSpan]


def analyse(lanes: Mapping[str, Sound], rate_hz: int) -> Analysis:
    """Analyses a separated song.

    Args:
        lanes: the original and every stem by its name; drums and bass improve the result.
        rate_hz: their sample rate.
    """
    original = lanes[ORIGINAL]
    pulse = rhythm.find_beats(_onsets(lanes, rate_hz))
    tonal = [lane for name, lane in lanes.items() if name not in (ORIGINAL, DRUMS, VOCALS)]
    chroma = _chroma(tonal or [original], rate_hz)
    bass = _chroma([lanes[BASS]], rate_hz) if BASS in lanes else np.zeros_like(chroma)
    length_s = original.frames / rate_hz
    beats = pulse.times_s if pulse else np.arange(WITHOUT_BEATS_S, length_s, WITHOUT_BEATS_S)
    boundaries = np.unique(np.concatenate([[0.0], beats[(beats > 0) & (beats < length_s)], [length_s]]))
    key = harmony.find_key(harmony.find_chords(chroma, bass, boundaries, None), bass)
    chords = harmony.find_chords(chroma, bass, boundaries, key)
    beats_per_bar, first = _bars(pulse.times_s, chords) if pulse else (4, 0)
    return Analysis(
        tempo_bpm=round(pulse.tempo_bpm, 2) if pulse else None,
        beats=[round(float(beat), 3) for beat in pulse.times_s] if pulse else [],
        beats_per_bar=beats_per_bar,
        first_downbeat=first,
        key=key.name if key else None,
        chords=[ChordSpan(round(chord.start_s, 3), round(chord.end_s, 3), chord.name) for chord in chords],
    )


def _onsets(lanes: Mapping[str, Sound], rate_hz: int) -> np.ndarray:
    """Onset strength (frame,) of the drums, plus half that of the whole song."""
    whole = _flux(lanes[ORIGINAL], rate_hz)
    if DRUMS not in lanes:
        return rhythm.envelope(whole)
    return rhythm.envelope(_flux(lanes[DRUMS], rate_hz)) + 0.5 * rhythm.envelope(whole)


def _flux(lane: Sound, rate_hz: int) -> np.ndarray:
    onsets = rhythm.SpectralFlux()
    for wave in _mono([lane], rate_hz, rhythm.RATE_HZ):
        onsets.add(wave)
    return onsets.finish()


def _chroma(lanes: Sequence[Sound], rate_hz: int) -> np.ndarray:
    notes = harmony.NoteLevels()
    for wave in _mono(lanes, rate_hz, harmony.RATE_HZ):
        notes.add(wave)
    return harmony.chroma_of(notes.finish())


def _mono(lanes: Sequence[Sound], rate_hz: int, target_hz: int) -> Iterator[np.ndarray]:
    """The lanes' sum, mono, in blocks of float32 (time,) at `target_hz`."""
    resampler = soxr.ResampleStream(rate_hz, target_hz, 1, dtype="float32")
    frames = max(lane.frames for lane in lanes)
    for start in range(0, frames, BLOCK_FRAMES):
        total = np.zeros(min(BLOCK_FRAMES, frames - start), np.float32)
        for lane in lanes:
            samples = lane.read(start, len(total))
            total[: len(samples)] += samples.astype(np.float32).mean(axis=1) / 32768
        yield resampler.resample_chunk(total, last=start + BLOCK_FRAMES >= frames)


def _bars(beats: np.ndarray, chords: Sequence[harmony.Chord]) -> tuple[int, int]:
    """Beats per bar and the first downbeat, assuming that chords change at bar lines."""
    starts = np.array([chord.start_s for chord in chords[1:]])
    changes = np.zeros(len(beats))
    if len(starts):
        changes = (np.abs(beats[:, None] - starts).min(axis=1) < 0.05).astype(float)
    return rhythm.find_bars(changes)
