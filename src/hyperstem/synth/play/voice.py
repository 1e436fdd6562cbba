"""Singing synthesis: a glottal source and breath noise through a moving vocal tract, from phrases of syllables.

The source follows the causal-anticausal model of glottal flow (a glottal formant and a spectral tilt; Doval,
d'Alessandro, Henrich 2003); the tract is a cascade of five resonances (Fant 1960). Both are computed for each harmonic.
"""

from typing import NamedTuple

import numpy as np

from hyperstem.synth import dsp
from hyperstem.synth.compose.score import Syllable, stream
from hyperstem.synth.play.singer import Singer, contour, smooth

_TRACTS = {  # first three formants of a man's voice in Hz, rounded from textbook ranges
    "a": (740, 1180, 2500),
    "e": (520, 1850, 2500),
    "i": (290, 2250, 2950),
    "o": (480, 850, 2450),
    "u": (320, 760, 2300),
    "ae": (670, 1720, 2420),
    "uh": (610, 1200, 2420),
    "er": (480, 1340, 1700),
    "oo": (420, 1020, 2250),
    "aw": (590, 870, 2450),
    "m": (260, 1050, 2200),
    "n": (270, 1450, 2400),
    "l": (360, 1150, 2700),
    "r": (380, 1200, 1600),
    "w": (310, 700, 2200),
    "y": (280, 2200, 2900),
}
_FRICATION = {  # centre in Hz, width in octaves, level
    "s": (6800, 0.9, 0.5),
    "z": (6500, 0.9, 0.3),
    "sh": (3400, 1.2, 0.5),
    "ch": (3600, 1.2, 0.5),
    "f": (7000, 3.0, 0.16),
    "v": (6000, 3.0, 0.08),
    "th": (7500, 2.5, 0.13),
    "t": (5200, 1.6, 0.55),
    "d": (4200, 1.6, 0.3),
    "k": (2100, 1.3, 0.5),
    "g": (1900, 1.3, 0.3),
    "p": (1100, 2.5, 0.35),
    "b": (800, 2.5, 0.2),
    "h": (1700, 3.5, 0.2),
}
_STOPS = ("t", "d", "k", "g", "p", "b", "ch")
_VOICED = ("m", "n", "l", "r", "w", "y", "v", "z", "d", "g", "b")
_HARMONICS = 180


class _Track(NamedTuple):
    """Control curves of a phrase."""

    voiced: np.ndarray
    """(frame,) level of the glottal source."""
    effort: np.ndarray
    """(frame,) 0 to 1; more effort is brighter."""
    formants: np.ndarray
    """(frame, 5) Hz."""
    nasal: np.ndarray
    """(frame,) nasality, 0 to 1."""
    breath: np.ndarray
    """(frame,) level of aspiration noise."""
    hiss: np.ndarray
    """(frame, bin) magnitudes of the noise of consonants."""


def _formants(name: str, singer: Singer) -> np.ndarray:
    """Formants of a vowel or voiced consonant in Hz (5,)."""
    formants_hz = np.array([*_TRACTS[name], 3500.0, 4500.0])
    formants_hz[3:] -= 500 * min(singer.ring, 0.7) * np.array([1.0, 1.9])  # trained singers cluster them
    return formants_hz * singer.tract


def _plan(
    phrase: list[Syllable],
    start_s: float,
    frames: int,
    frame_hz: float,
    rate_hz: int,
    singer: Singer,
    rng: np.random.Generator,
) -> _Track:
    """Control curves of a phrase from `start_s` on, still with steps, at `frame_hz` frames per second."""
    bins = np.linspace(0, rate_hz / 2, 129)
    voiced, effort, nasal, breath = (np.zeros(frames) for _ in range(4))
    formants = np.tile(_formants(phrase[0].vowel, singer), (frames, 1))
    hiss = np.zeros((frames, len(bins)))
    at = np.arange(frames) / frame_hz + start_s
    for i, syllable in enumerate(phrase):
        end_s = syllable.start_s + syllable.duration_s
        joined = i + 1 < len(phrase) and phrase[i + 1].start_s - end_s < 0.08
        stop_s = phrase[i + 1].start_s if joined else end_s
        onset_s = {"": 0.0, "h": 0.07}.get(syllable.consonant, 0.06 if syllable.consonant in _STOPS else 0.09)
        onset_s = min(onset_s * float(rng.uniform(0.8, 1.3)), 0.45 * syllable.duration_s + 0.02)
        sung = (at >= syllable.start_s) & (at < stop_s)
        lead = (at >= syllable.start_s - onset_s) & (at < syllable.start_s)
        voiced[sung] = syllable.velocity
        effort[sung | lead] = syllable.velocity
        formants[at >= syllable.start_s - 0.3 * onset_s] = _formants(syllable.vowel, singer) * rng.uniform(0.96, 1.04)
        if rng.random() < 0.4:  # a diphthong
            glide = at >= syllable.start_s + float(rng.uniform(0.4, 0.75)) * (stop_s - syllable.start_s)
            formants[glide] = _formants(str(rng.choice(["i", "u", "uh", "e"])), singer)
        breath[sung] = singer.breath * (1.3 - 0.6 * syllable.velocity)
        consonant = syllable.consonant
        if consonant in _TRACTS:
            formants[lead] = _formants(consonant, singer)
            voiced[lead] = syllable.velocity * (0.45 if consonant in "mn" else 0.7)
            nasal[lead] = 1.0 if consonant in "mn" else 0.0
        elif consonant in _FRICATION:
            centre_hz, octaves, level = _FRICATION[consonant]
            magnitudes = dsp.band(min(centre_hz * singer.tract**0.4, 0.4 * rate_hz), octaves)(bins)
            burst = (at >= syllable.start_s - 0.03) & (at < syllable.start_s + 0.008) if consonant in _STOPS else lead
            hiss[burst] += magnitudes * level * (0.6 + 0.5 * syllable.velocity) * rng.uniform(0.6, 1.3)
            voiced[lead] = 0.3 * syllable.velocity if consonant in _VOICED else 0.0
        if joined and rng.random() < 0.5:  # a dip between syllables
            voiced[(at >= stop_s - 0.02) & (at < stop_s)] *= 0.8
        if syllable.breath and rng.random() < 0.55:
            inhale = (at >= syllable.start_s - onset_s - 0.4) & (at < syllable.start_s - onset_s - 0.08)
            hiss[inhale] += dsp.product(dsp.band(1600, 2.5), dsp.high_pass(500))(bins) * 0.05 * rng.uniform(0.3, 1.5)
    return _Track(voiced, effort, formants, nasal, breath, hiss)


def _smoothed(track: _Track, frame_hz: float) -> _Track:
    """The control curves without steps, at the speed of a mouth."""
    return _Track(
        voiced=np.maximum(smooth(track.voiced, 0.035 * frame_hz), 0),
        effort=smooth(track.effort, 0.1 * frame_hz),
        formants=smooth(track.formants, 0.07 * frame_hz),
        nasal=smooth(track.nasal, 0.04 * frame_hz),
        breath=smooth(track.breath, 0.06 * frame_hz),
        hiss=smooth(track.hiss, 0.018 * frame_hz),
    )


def _tract(frequency: np.ndarray, formants: np.ndarray, nasal: np.ndarray) -> np.ndarray:
    """The vocal tract's complex gain (frame, point) at `frequency` (frame or 1, point)."""
    gain = np.ones((len(formants), frequency.shape[-1]), np.complex64)
    for i in range(formants.shape[1]):
        centre = formants[:, i : i + 1].astype(np.float32)
        width = np.float32((60, 80, 110, 170, 240)[i]) + np.float32(0.02) * centre
        if i == 0:
            width = width + 120.0 * nasal[:, None].astype(np.float32)
        ratio = (frequency / centre).astype(np.float32)
        gain /= 1.0 - ratio**2 + 1j * (width / centre) * ratio
    gain *= _upper_formants(frequency, float(formants[0, -1]))
    notch = np.float32(0.6) * nasal[:, None].astype(np.float32) / (1 + ((frequency - 900) / 350.0) ** 2)
    return gain * (1.0 - notch).astype(np.float32)


def _upper_formants(frequency: np.ndarray, fifth_hz: float) -> np.ndarray:
    """Complex gain of the fixed resonances above the fifth, looked up on a grid of 20 Hz."""
    grid = np.arange(0.0, max(float(frequency.max()), fifth_hz) + 40.0, 20.0)
    gain = np.ones(len(grid), np.complex128)
    for i in range(1, 9):
        centre = fifth_hz * (1 + 0.235 * i)
        gain /= 1.0 - (grid / centre) ** 2 + 1j * (0.045 + 0.012 * i) * grid / centre
    # A slope approximates the gain of all further resonances.
    gain *= (1.0 + (grid / (fifth_hz * 2.2)) ** 2) ** 1.7
    return gain.astype(np.complex64)[(frequency * 0.05 + 0.5).astype(np.int32)]


def _glottis(frequency: np.ndarray, f0: np.ndarray, effort: np.ndarray, singer: Singer) -> np.ndarray:
    """Complex spectrum of the source (frame, harmonic), including the radiation from the lips."""
    peak = f0 * (0.75 + 0.55 / singer.open_quotient) * 0.6
    ratio = (frequency / peak).astype(np.float32)
    formant = 1j * ratio / (1.0 - ratio**2 - 1j * ratio * 0.8)  # anticausal: conjugate poles
    tilt = singer.tilt_hz * 2.0 ** (2.0 * (effort - 0.7))
    return (formant * ratio**0.15 / (1.0 + 1j * frequency / tilt)).astype(np.complex64)


def sing_phrase(
    phrase: list[Syllable], singer: Singer, rate_hz: int, rng: np.random.Generator, talk: bool = False
) -> tuple[float, np.ndarray]:
    """Sings one phrase.

    Returns:
        Its start in seconds, earlier than the first syllable by consonant and breath, and the waveform float32 (time,).
    """
    hop = max(16, int(0.005 * rate_hz))
    frame_hz = rate_hz / hop
    start_s = max(0.0, phrase[0].start_s - 0.6)
    frames = int((phrase[-1].start_s + phrase[-1].duration_s + 0.25 - start_s) * frame_hz) + 2
    melody = contour(phrase, start_s, frames, frame_hz, singer, rng, talk)
    track = _smoothed(_plan(phrase, start_s, frames, frame_hz, rate_hz, singer, rng), frame_hz)
    samples = (frames - 1) * hop
    f0 = np.asarray(dsp.hz(melody.pitch))
    voiced = track.voiced * melody.swell
    count = int(np.clip(0.45 * rate_hz / f0.min(), 1, _HARMONICS))
    half = slice(None, None, 2)  # the voice changes more slowly than the noise
    frequency = (f0[half, None] * np.arange(1, count + 1)).astype(np.float32)
    spectra = _glottis(frequency, f0[half, None], track.effort[half, None], singer)
    spectra *= _tract(frequency, track.formants[half], track.nasal[half])
    if singer.ring:
        spectra *= 1.0 + singer.ring * dsp.band(2900 * singer.tract, 0.5)(frequency).astype(np.float32)
    spectra *= (voiced[half, None] / (1.0 + (frequency / (0.43 * rate_hz)) ** 16)).astype(np.float32)
    phase = dsp.phase_of(dsp.to_samples(f0, hop, samples), rate_hz)
    wave = dsp.scan(phase, spectra, 2 * hop)
    if singer.growl:
        flutter = 0.7 * np.sin(2 * np.pi * 27.0 * np.arange(samples) / rate_hz)
        rough = 1.0 + singer.growl * np.sin(np.pi * phase + flutter)
        wave *= rough.astype(np.float32)
    level = float(np.sqrt(np.mean(wave**2))) + 1e-6
    bins = np.linspace(0, rate_hz / 2, 129)
    air = np.abs(_tract(bins[None, :], track.formants, track.nasal)) * dsp.high_pass(800, 1)(bins)
    air *= (track.breath / (np.mean(air) + 1e-9))[:, None]
    pulses = 0.6 + 0.4 * np.cos(2 * np.pi * phase)  # breath flows while the glottis is open
    noise = dsp.shaped_noise(air, hop, samples, rng) * pulses.astype(np.float32) * np.float32(2.0)
    noise += dsp.shaped_noise(track.hiss, hop, samples, rng)
    return start_s, wave * np.float32(0.22 / level) + noise * np.float32(0.35)


def render_voice(
    phrases: list[list[Syllable]], singer: Singer, seed: int, part: int, samples: int, rate_hz: int, talk: bool = False
) -> np.ndarray:
    """All phrases of a voice at their times: mono float32 (samples,)."""
    rng = stream(seed, 30, part)
    track = np.zeros(samples, np.float32)
    for phrase in phrases:
        start_s, wave = sing_phrase(phrase, singer, rate_hz, rng, talk)
        dsp.add_at(track, wave, int(start_s * rate_hz))
    return track
