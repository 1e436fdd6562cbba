"""Bass and accompaniment sounds: every note is a time-varying spectrum, played by `dsp.scan`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyperstem.synth import dsp
from hyperstem.synth.compose.score import Note, stream

HOP = 512


class Timbre(NamedTuple):
    """How an instrument's notes sound."""

    wave: str
    """Source spectrum: saw, square, pulse, triangle, sine, string (plucked), organ, bell or reed."""
    attack_s: float = 0.003
    release_s: float = 0.05
    life_s: float = 0.0
    """Decay time of the fundamental to -60 dB at 110 Hz; 0 sustains the tone."""
    damping: float = 0.2
    """How much faster high harmonics decay."""
    cutoff: float = 40.0
    """Final cut-off of the low-pass, in multiples of the fundamental."""
    sweep: float = 0.0
    """Octaves by which the cut-off is higher at the start; it falls in about `sweep_s`."""
    sweep_s: float = 0.15
    resonance: float = 0.0
    """Height of the resonance at the cut-off."""
    pluck: float = 0.2
    """Where the string is plucked, as a fraction of its length, or the width of the pulse."""
    detune: float = 0.0
    """Detuning of two oscillators in cents; 0 for a single one."""
    vibrato: float = 0.0
    """Cents."""
    drive: float = 0.0
    """Saturation of the whole part; 0 for none."""
    knock: float = 0.0
    """Level of the noise of the attack."""
    body_hz: float = 12000.0
    """Cut-off of a low-pass over the whole part (pick-up, loudspeaker)."""


TIMBRES = {
    "fingered": Timbre("string", 0.006, 0.06, 5.0, 0.35, 14, pluck=0.22, knock=0.05, drive=0.8, body_hz=2600),
    "picked": Timbre("string", 0.002, 0.04, 4.0, 0.22, 30, pluck=0.12, knock=0.18, drive=1.6, body_hz=4500),
    "driven": Timbre("string", 0.002, 0.05, 5.0, 0.2, 40, pluck=0.15, knock=0.12, drive=7.0, body_hz=3800),
    "muted": Timbre("string", 0.004, 0.04, 0.9, 0.7, 10, pluck=0.2, knock=0.08, drive=1.0, body_hz=1800),
    "slap": Timbre("string", 0.001, 0.03, 3.0, 0.18, 60, pluck=0.07, knock=0.45, drive=1.5, body_hz=7000),
    "upright": Timbre("string", 0.01, 0.09, 1.8, 0.5, 9, pluck=0.3, knock=0.16, body_hz=1800),
    "fretless": Timbre("string", 0.015, 0.08, 4.0, 0.4, 9, pluck=0.3, vibrato=14, drive=0.7, body_hz=1900),
    "sub": Timbre("sine", 0.008, 0.06, 0.0, drive=1.2, body_hz=900),
    "eightoheight": Timbre("sine", 0.002, 0.12, 2.6, 0.1, drive=3.0, knock=0.15, body_hz=2200),
    "synth": Timbre("saw", 0.003, 0.04, 0.0, cutoff=5, sweep=2.2, sweep_s=0.12, resonance=1.5, detune=5, body_hz=9000),
    "reese": Timbre("saw", 0.01, 0.06, 0.0, cutoff=9, detune=22, resonance=0.4, drive=1.5, body_hz=3500),
    "fm": Timbre("reed", 0.002, 0.05, 2.5, 0.5, cutoff=8, sweep=2.0, sweep_s=0.2, body_hz=8000),
    "piano": Timbre("string", 0.002, 0.12, 9.0, 0.16, 34, pluck=0.13, detune=1.5, knock=0.05, body_hz=9000),
    "epiano": Timbre("bell", 0.002, 0.1, 6.0, 0.5, 12, sweep=1.0, sweep_s=0.25, drive=1.0, body_hz=7000),
    "organ": Timbre("organ", 0.006, 0.03, vibrato=6, detune=3, knock=0.02, drive=1.2, body_hz=7000),
    "pad": Timbre("saw", 0.25, 0.5, cutoff=5, sweep=0.7, sweep_s=1.2, detune=14, body_hz=9000),
    "strings": Timbre("saw", 0.12, 0.25, cutoff=9, detune=11, vibrato=9, body_hz=8000),
    "saw": Timbre("saw", 0.01, 0.08, cutoff=14, detune=16, sweep=0.8, body_hz=12000),
    "pluck": Timbre("square", 0.002, 0.06, 0.9, 0.3, cutoff=4, sweep=2.5, sweep_s=0.1, resonance=0.8, detune=6),
    "bell": Timbre("bell", 0.001, 0.3, 3.0, 0.25, 30, detune=2, body_hz=14000),
    "acoustic": Timbre("string", 0.002, 0.06, 3.5, 0.22, 40, pluck=0.18, detune=0.8, knock=0.2, body_hz=9000),
    "electric": Timbre("string", 0.002, 0.05, 5.0, 0.25, 26, pluck=0.14, drive=1.8, knock=0.06, body_hz=5000),
    "power": Timbre("string", 0.002, 0.03, 6.0, 0.12, 50, pluck=0.12, drive=35.0, knock=0.1, body_hz=4200),
    "banjo": Timbre("string", 0.001, 0.03, 0.8, 0.12, 60, pluck=0.08, knock=0.3, body_hz=9000),
    "clavinet": Timbre("string", 0.001, 0.015, 2.2, 0.18, 40, pluck=0.07, knock=0.1, drive=2.0, body_hz=6500),
    "brass": Timbre("saw", 0.04, 0.06, cutoff=7, sweep=-1.2, sweep_s=0.06, detune=7, vibrato=8, body_hz=9000),
    "lead": Timbre("pulse", 0.008, 0.06, cutoff=14, resonance=0.6, detune=7, vibrato=16, drive=1.5, body_hz=11000),
}


def source(wave: str, harmonics: int, pluck: float) -> np.ndarray:
    """Signed amplitudes of the harmonics of a source: float64 (harmonics,)."""
    number = np.arange(1, harmonics + 1)
    if wave == "sine":
        return np.where(number == 1, 1.0, np.where(number <= 3, 0.02, 0.0))
    if wave == "square":
        return np.where(number % 2 == 1, 1.0 / number, 0.0)
    if wave == "pulse":
        return np.sin(np.pi * number * (0.15 + pluck)) / number
    if wave == "string":
        return np.sin(np.pi * number * pluck) / number**1.15 / np.sin(np.pi * pluck)
    if wave == "organ":
        bars = {1: 0.8, 2: 1.0, 3: 0.7, 4: 0.8, 6: 0.4, 8: 0.5}
        return np.array([bars.get(int(n), 0.0) for n in number])
    if wave == "bell":
        humps = 0.3 * np.exp(-((number - 4.0) ** 2)) + 0.25 * np.exp(-((number - 2.0) ** 2))
        return np.where(number == 1, 1.0, 0.0) + humps + 0.12 * np.exp(-((number - 9.0) ** 2) / 2)
    if wave == "reed":
        return (1.0 + 0.6 * (number % 3 == 0)) / number**0.7
    return 1.0 / number


def _note(
    timbre: Timbre, note: Note, rate_hz: int, rng: np.random.Generator, glide_from: float | None, knock: np.ndarray
) -> np.ndarray:
    """One note, float32 (time,)."""
    held_s = min(note.duration_s, 20.0)
    frequency = float(dsp.hz(note.pitch)) * 2.0 ** (rng.normal(0, 2) / 1200)
    decay_s = timbre.life_s * (110.0 / frequency) ** 0.35 if timbre.life_s else 0.0
    total = max(64, int((held_s + timbre.release_s) * rate_hz))
    if decay_s:
        total = min(total, int(decay_s * 1.1 * rate_hz) + 64)
    count = int(np.clip(0.42 * rate_hz / frequency, 1, 240))
    number = np.arange(1, count + 1)
    frames = total // HOP + 2
    time_s = np.arange(frames)[:, None] * (HOP / rate_hz)
    cutoff = timbre.cutoff * (0.45 + 0.75 * note.velocity) * (frequency / 110.0) ** -0.25
    octaves = timbre.sweep * (0.5 + 0.5 * note.velocity) * np.exp(-time_s / timbre.sweep_s)
    ratio = number / np.maximum(cutoff * 2.0**octaves, 1.2)
    gain = 1.0 / (1.0 + ratio**4)
    if timbre.resonance:
        gain = gain + timbre.resonance * np.exp(-((np.log2(ratio) / 0.3) ** 2))
    if decay_s:
        gain = gain * np.exp(-6.9 * time_s / decay_s * (1.0 + timbre.damping * (number - 1)))
    amplitudes = source(timbre.wave, count, timbre.pluck) * np.exp(0.3j * rng.standard_normal(count))
    spectra = (amplitudes * gain).astype(np.complex64)
    phase = _phase(timbre, note, frequency, total, rate_hz, rng, glide_from)
    cents = (-timbre.detune, timbre.detune * rng.uniform(0.7, 1.0)) if timbre.detune else (0.0,)
    wave = np.zeros(total, np.float32)
    for offset in cents:
        wave += dsp.scan(phase * 2.0 ** (offset / 1200) + rng.random(), spectra, HOP)
    wave *= dsp.envelope(total, min(timbre.attack_s, 0.4 * held_s), timbre.release_s, rate_hz)
    wave *= np.float32(1 / len(cents))
    if len(knock):
        wave[: len(knock)] += knock[: len(wave)] * np.float32(note.velocity * rng.uniform(0.7, 1.2))
    return wave * np.float32(note.velocity)


def _phase(
    timbre: Timbre,
    note: Note,
    frequency: float,
    total: int,
    rate_hz: int,
    rng: np.random.Generator,
    glide_from: float | None,
) -> np.ndarray:
    """Phase of the note in cycles, with glide and vibrato: float64 (total,)."""
    if glide_from is None and not timbre.vibrato:
        return np.arange(total) * (frequency / rate_hz)
    octaves = np.zeros(total)
    seconds = np.arange(total) / rate_hz
    if glide_from is not None:
        octaves += (glide_from - note.pitch) / 12 * np.exp(-seconds / 0.045)
    if timbre.vibrato:
        depth = timbre.vibrato / 1200 * np.minimum(seconds / 0.4, 1.0)
        octaves += depth * np.sin(2 * np.pi * rng.uniform(4.6, 6.2) * seconds + rng.uniform(0, 6))
    return dsp.phase_of(frequency * np.exp2(octaves), rate_hz)


def _knocks(timbre: Timbre, rate_hz: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Several takes of the noise with which a finger, pick or hammer hits the string."""
    if not timbre.knock:
        return [np.zeros(0, np.float32)]
    centre_hz = float(2.0 ** rng.uniform(np.log2(1500), np.log2(4000)))
    takes = [dsp.noise_burst(int(0.04 * rate_hz), dsp.band(centre_hz, 3.0), rate_hz, rng) for _ in range(5)]
    return [take * dsp.decay(len(take), 0.03, rate_hz) * np.float32(2 * timbre.knock) for take in takes]


def vary(timbre: Timbre, rng: np.random.Generator) -> Timbre:
    """The timbre with small random changes, so that no two instruments are the same."""

    def varied(name: str, spread: float = 0.4) -> float:
        return float(getattr(timbre, name) * 2.0 ** rng.normal(0, spread))

    return timbre._replace(
        attack_s=varied("attack_s"),
        release_s=varied("release_s"),
        life_s=varied("life_s"),
        damping=varied("damping"),
        cutoff=varied("cutoff"),
        sweep=timbre.sweep * float(rng.uniform(0.6, 1.3)),
        resonance=varied("resonance"),
        pluck=float(np.clip(varied("pluck", 0.3), 0.04, 0.45)),
        detune=varied("detune"),
        vibrato=varied("vibrato"),
        drive=varied("drive", 0.5),
        knock=varied("knock", 0.5),
        body_hz=varied("body_hz", 0.35),
    )


def render_notes(
    notes: Sequence[Note], timbre: Timbre, seed: int, part: int, samples: int, rate_hz: int, glide: bool = False
) -> np.ndarray:
    """All notes of a part, through an amplifier: mono float32 (samples,), near unit level while it plays."""
    rng = stream(seed, 20, part)
    dry = np.zeros(samples, np.float32)
    previous: Note | None = None
    knocks = _knocks(timbre, rate_hz, rng)
    for i, note in enumerate(notes):
        start = int(note.start_s * rate_hz)
        if start < samples:
            legato = previous and glide and note.start_s - previous.start_s - previous.duration_s < 0.03
            glide_from = previous.pitch if previous and legato else None
            dsp.add_at(dry, _note(timbre, note, rate_hz, rng, glide_from, knocks[i % len(knocks)]), start)
        previous = note
    level = float(np.sqrt(np.mean(dry[np.abs(dry) > 1e-4] ** 2))) if np.any(np.abs(dry) > 1e-4) else 0.0
    if level < 1e-6:
        return dry
    dry *= np.float32(1 / level)
    speaker = [dsp.low_pass(min(timbre.body_hz, 0.45 * rate_hz), 3.0), dsp.random_equaliser(rng, 2.5)]
    if timbre.drive:
        tighten = dsp.impulse_of(dsp.peaks((700.0, 2.5, 5.0 if timbre.drive > 5 else 0.0)), rate_hz)
        dry = dsp.saturate(dsp.convolve(dry, tighten), 0.35 * timbre.drive) * np.float32(max(1.0, 0.3 * timbre.drive))
    return dsp.convolve(dry, dsp.impulse_of(dsp.product(*speaker), rate_hz, 2048))
