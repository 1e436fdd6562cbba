"""A song of known tempo and chords, made of clicks and tones."""

import numpy as np

RATE_HZ = 22050
NOTES_HZ = {"C": 261.63, "D": 293.66, "E": 329.63, "F": 349.23, "G": 392.0, "A": 440.0}
CHORDS = {"C": "CEG", "F": "FAC", "G": "GBD", "Am": "ACE", "Dm": "DFA", "Em": "EGB"}


def tone(hertz: float, seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Six harmonics that fade: float32 (time,)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = sum(np.sin(2 * np.pi * hertz * n * time_s) / n**1.5 for n in range(1, 7))
    return (wave * np.exp(-1.5 * time_s) * np.minimum(1, time_s * 200)).astype(np.float32)


def drums(bpm: float, seconds: float, start_s: float = 0.0, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """A thump on every beat and a tick between: float32 (time,)."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(round(seconds * rate_hz), np.float32)
    for half in range(round((seconds - start_s) * bpm / 30)):
        at = round((start_s + half * 30 / bpm) * rate_hz)
        length = min(round(0.08 * rate_hz), len(wave) - at)
        fade = np.exp(-np.arange(max(0, length)) / rate_hz * (30 if half % 2 == 0 else 120))
        level = 0.5 if half % 2 == 0 else 0.12
        wave[at : at + len(fade)] += level * fade * rng.standard_normal(len(fade))
    return wave


def chords(names: list[str], each_s: float, rate_hz: int = RATE_HZ) -> tuple[np.ndarray, np.ndarray]:
    """Triads one after the other, and their roots two octaves lower: float32 (time,) each."""
    hertz = NOTES_HZ | {"B": 493.88}
    treble = [sum(tone(hertz[note], each_s, rate_hz) for note in CHORDS[name]) for name in names]
    bass = [tone(hertz[name[0]] / 4, each_s, rate_hz) for name in names]
    return 0.15 * np.concatenate(treble), 0.3 * np.concatenate(bass)
