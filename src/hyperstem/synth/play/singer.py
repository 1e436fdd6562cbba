"""Singers, and how a melody becomes a pitch curve: glides, scoops, falls, vibrato, jitter."""

from typing import NamedTuple

import numpy as np

from hyperstem.synth import dsp
from hyperstem.synth.compose.score import Syllable


class Singer(NamedTuple):
    """The properties of a voice."""

    low: float
    """Lowest comfortable MIDI pitch."""
    high: float
    """Highest comfortable MIDI pitch."""
    tract: float
    """Formant frequencies relative to a man's; above 1 for a shorter vocal tract."""
    tilt_hz: float
    """Frequency from which the source spectrum falls; higher is brighter, more pressed."""
    open_quotient: float
    """Fraction of a period in which the glottis is open."""
    breath: float
    """Level of aspiration noise."""
    vibrato_hz: float
    """Rate of the vibrato of held notes."""
    vibrato_cents: float
    vibrato_delay_s: float
    """Time from the start of a note to its vibrato."""
    portamento_s: float
    """Time of a glide between notes."""
    scoop_cents: float
    """How far below its pitch a note may start."""
    unsteady: float
    """Amount of random variation of pitch and level."""
    ring: float
    """Strength of the singer's formant."""
    growl: float
    """Level of subharmonic roughness."""


def draw_singer(rng: np.random.Generator, manner: str = "lyric") -> Singer:
    """A random singer: from bass to soprano or child, from breathy to pressed, with or without vibrato."""
    height = float(rng.uniform(0, 1))  # 0 a bass, 1 a soprano
    low = 38 + 22 * height + float(rng.normal(0, 1.5))
    trained = float(rng.choice([0.0, 0.5, 1.0, 1.6]))
    tuned = rng.random() < 0.15  # as if pitch-corrected: no glides, no vibrato
    rough = float(rng.uniform(0.2, 0.6)) if manner == "shouted" or rng.random() < 0.08 else 0.0
    return Singer(
        low=low,
        high=low + float(rng.uniform(13, 19)),
        tract=0.93 + 0.27 * height + float(rng.normal(0, 0.03)),
        tilt_hz=float(2.0 ** rng.uniform(np.log2(900), np.log2(5000))) * (1.6 if manner == "shouted" else 1.0),
        open_quotient=float(rng.uniform(0.4, 0.75)),
        breath=float(10 ** rng.uniform(-2.0, -0.7)),
        vibrato_hz=float(rng.uniform(4.5, 6.8)),
        vibrato_cents=0.0 if tuned else float(rng.uniform(8, 35)) * trained,
        vibrato_delay_s=float(rng.uniform(0.1, 0.45)),
        portamento_s=0.008 if tuned else float(rng.uniform(0.02, 0.11)),
        scoop_cents=0.0 if tuned else float(rng.choice([20, 60, 120, 200])),
        unsteady=0.2 if tuned else float(rng.uniform(0.5, 1.6)),
        ring=0.5 * float(rng.uniform(0, 1)) * trained,
        growl=rough,
    )


class Contour(NamedTuple):
    """Pitch and level of a sung phrase."""

    pitch: np.ndarray
    """(frame,) MIDI."""
    swell: np.ndarray
    """(frame,) level near 1, which varies with vibrato and jitter."""


def smooth(curve: np.ndarray, frames: float) -> np.ndarray:
    """A curve (frame, ...) smoothed with a Hann window of about `frames` frames."""
    length = max(1, int(frames)) | 1
    if length < 3:
        return curve
    kernel = np.hanning(length + 2)[1:-1]
    kernel /= kernel.sum()
    flat = curve.reshape(len(curve), -1)
    padded = np.pad(flat, ((length // 2, length // 2), (0, 0)), mode="edge")
    size = dsp.smooth_size(len(padded) + length)
    out = np.fft.irfft(np.fft.rfft(padded, size, axis=0) * np.fft.rfft(kernel, size)[:, None], size, axis=0)
    return out[length - 1 : length - 1 + len(flat)].reshape(curve.shape)


def _gesture(
    pitch: np.ndarray, at: np.ndarray, syllable: Syllable, stop_s: float, singer: Singer, rng: np.random.Generator
) -> None:
    """Bends a note's pitch in place: a scoop at its start, a fall at its end, or a bend in its middle."""
    reach = singer.scoop_cents / 100
    if not reach:
        return
    length_s = stop_s - syllable.start_s
    if syllable.breath or rng.random() < 0.45:
        rise_s = min(float(rng.uniform(0.05, 0.22)), 0.5 * length_s)
        inside = (at >= syllable.start_s - 0.05) & (at < syllable.start_s + rise_s)
        ahead_s = syllable.start_s + rise_s - at[inside]
        pitch[inside] -= reach * rng.uniform(0.3, 1.6) * np.clip(ahead_s / rise_s, 0, 1)
    if rng.random() < 0.3:
        fall_s = min(float(rng.uniform(0.08, 0.3)), 0.5 * length_s)
        inside = (at >= stop_s - fall_s) & (at < stop_s + 0.2)
        pitch[inside] -= 1.5 * reach * rng.uniform(0.3, 1.8) * np.clip((at[inside] - stop_s + fall_s) / fall_s, 0, 1.5)
    elif length_s > 0.25 and rng.random() < 0.25:
        inside = (at >= syllable.start_s) & (at < stop_s)
        pitch[inside] += reach * rng.normal(0, 0.8) * np.sin(np.pi * (at[inside] - syllable.start_s) / length_s) ** 2


def contour(
    phrase: list[Syllable],
    start_s: float,
    frames: int,
    frame_hz: float,
    singer: Singer,
    rng: np.random.Generator,
    talk: bool = False,
) -> Contour:
    """Pitch and level of a phrase, with glides, scoops, falls, vibrato and jitter.

    Args:
        phrase: the notes.
        start_s: time of the first frame.
        frames: number of frames.
        frame_hz: frames per second.
        singer: the singer.
        rng: random generator.
        talk: whether the pitch falls within each syllable, as in rap.
    """
    at = np.arange(frames) / frame_hz + start_s
    pitch, depth = np.full(frames, phrase[0].pitch), np.zeros(frames)
    for i, syllable in enumerate(phrase):
        end_s = syllable.start_s + syllable.duration_s
        stop_s = phrase[i + 1].start_s if i + 1 < len(phrase) and phrase[i + 1].start_s - end_s < 0.08 else end_s
        pitch[at >= syllable.start_s - 0.03] = syllable.pitch
        _gesture(pitch, at, syllable, stop_s, singer, rng)
        if talk:
            sung = (at >= syllable.start_s) & (at < stop_s)
            pitch[sung] -= np.linspace(-1.0, 2.5, int(sung.sum())) * rng.uniform(0.3, 1.5)
        since = at - syllable.start_s - singer.vibrato_delay_s
        held = (at >= syllable.start_s) & (at < end_s + 0.1)
        depth[held] = np.clip(since[held] / 0.35, 0, 1)

    def drift(seconds: float) -> np.ndarray:
        return smooth(rng.standard_normal(frames), seconds * frame_hz) * np.sqrt(seconds * frame_hz)

    pitch = smooth(pitch, singer.portamento_s * 2 * frame_hz)
    drift_st, jitter_st = 0.07 * drift(0.35), 0.025 * drift(0.04)
    rate = singer.vibrato_hz * (1 + 0.08 * drift(0.3))
    depth = smooth(depth, 0.1 * frame_hz) * np.sin(2 * np.pi * np.cumsum(rate) / frame_hz + rng.uniform(0, 6))
    pitch = pitch + singer.unsteady * (drift_st + jitter_st) + depth * singer.vibrato_cents / 100
    swell = (1 + 0.12 * depth * (singer.vibrato_cents > 5)) * (1 + 2.0 * singer.unsteady * jitter_st)
    return Contour(pitch, np.clip(swell, 0.2, 2.0))
