"""The built-in band: renders one song from its seed to four mixed stems, with numpy alone."""

from collections.abc import Collection

import numpy as np

from hyperstem.config import STEMS
from hyperstem.errors import ConfigError
from hyperstem.synth import dsp
from hyperstem.synth.compose.grooves import play_drums
from hyperstem.synth.compose.lines import play_bass, play_others
from hyperstem.synth.compose.score import Song, Syllable, compose, stream
from hyperstem.synth.play.drumkit import render_drums
from hyperstem.synth.play.singer import Singer, draw_singer
from hyperstem.synth.play.singing import choir, harmony, play_vocals
from hyperstem.synth.play.tones import TIMBRES, render_notes, vary
from hyperstem.synth.play.voice import render_voice


def render_song(
    seed: int, seconds: float, rate_hz: int, *, style: str | None = None, absent: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Renders one song of the built-in band.

    Args:
        seed: the same seed, length and rate give the same samples.
        seconds: length of the song.
        rate_hz: sample rate, at least 8000.
        style: name of a style (see `hyperstem.synth.compose.styles`); None draws one from the seed.
        absent: stems that are silent.

    Returns:
        drums, bass, other, vocals: float32 (channel=2, time), ``round(seconds * rate_hz)`` samples; their sum peaks
        below 1.

    Raises:
        ConfigError: the length, rate, style or a stem's name is not allowed.
    """
    if rate_hz < 8000:
        raise ConfigError(f"the sample rate is {rate_hz} Hz; it must be at least 8000 Hz")
    for stem in absent:
        if stem not in STEMS:
            raise ConfigError(f"no stem {stem!r}; stems are {', '.join(STEMS)}")
    song = compose(seed, seconds, style)
    samples = max(1, round(seconds * rate_hz))
    players = {"drums": drum_stem, "bass": bass_stem, "other": other_stem, "vocals": vocal_stem}
    stems = {
        stem: players[stem](song, samples, rate_hz) if stem not in absent else np.zeros((2, samples), np.float32)
        for stem in STEMS
    }
    return _balance(stems, seed, rate_hz)


def drum_stem(song: Song, samples: int, rate_hz: int) -> np.ndarray:
    """The drum kit, with an equaliser and some saturation, (2, samples) float32."""
    kind = str(stream(song.seed, 40, 1).choice(song.style.kits))
    wave = render_drums(play_drums(song), song.seed, kind, samples, rate_hz)
    rng = stream(song.seed, 40)
    wave = dsp.convolve(wave, dsp.impulse_of(dsp.random_equaliser(rng, 1.5), rate_hz))
    peak = float(np.percentile(np.abs(wave[:, ::16]), 99.5)) + 1e-9
    return dsp.saturate(wave / np.float32(peak), float(rng.uniform(0.3, 0.9)))


def bass_stem(song: Song, samples: int, rate_hz: int) -> np.ndarray:
    """The bass, compressed, some synthesisers with stereo width above the lows, (2, samples) float32."""
    rng = stream(song.seed, 41)
    sound, line = play_bass(song)
    timbre = vary(TIMBRES[sound], rng)
    glide = sound in ("fretless", "eightoheight") or rng.random() < 0.15
    wave = render_notes(line, timbre, song.seed, 0, samples, rate_hz, glide)
    rng = stream(song.seed, 41, 1)
    wave = dsp.compress(wave, rate_hz, -6.0, float(rng.uniform(1.5, 5.0)))
    stereo = np.stack([wave, wave])
    if timbre.detune > 4 and rng.random() < 0.5:
        side = dsp.convolve(wave, dsp.impulse_of(dsp.high_pass(250.0), rate_hz))
        delay = min(int(0.009 * rate_hz), len(side))
        delayed = np.pad(side[: len(side) - delay], (delay, 0)) * np.float32(0.4)
        stereo += np.stack([delayed, -delayed])
    return stereo


def other_stem(song: Song, samples: int, rate_hz: int) -> np.ndarray:
    """The accompaniment: all instruments panned, equalised and in a room, (2, samples) float32."""
    mix = np.zeros((2, samples), np.float32)
    for i, part in enumerate(play_others(song)):
        rng = stream(song.seed, 42, i)
        timbre = vary(TIMBRES[part.instrument], rng)
        wave = render_notes(part.notes, timbre, song.seed, i + 1, samples, rate_hz)
        low_cut = dsp.impulse_of(dsp.high_pass(float(rng.uniform(60, 180)), 2.0), rate_hz, 2048)
        stereo = dsp.pan(wave, part.position)
        if part.instrument in ("power", "acoustic", "strings", "pad", "saw") and rng.random() < 0.6:  # double-tracked
            double = render_notes(part.notes, vary(timbre, rng), song.seed, i + 101, samples, rate_hz)
            stereo = 0.7 * (dsp.pan(wave, -0.8) + dsp.pan(double, 0.8))
        if part.instrument in ("epiano", "electric", "organ") and rng.random() < 0.4:
            time_s = np.arange(samples, dtype=np.float32) / rate_hz
            tremolo = np.float32(0.35) * np.sin(2 * np.pi * np.float32(rng.uniform(0.8, 6.0)) * time_s)
            stereo *= np.stack([1 + tremolo, 1 - tremolo])
        room = dsp.room(float(rng.uniform(0.4, 2.2)), rate_hz, rng, 0.5)
        space = dsp.with_room(room, low_cut, float(rng.uniform(0.05, 0.35)))
        mix += dsp.convolve(stereo, space * np.float32(dsp.db(part.gain_db)))
    return mix


def vocal_stem(song: Song, samples: int, rate_hz: int) -> np.ndarray:
    """Lead vocals, doubles, harmonies and choir, mixed, (2, samples) float32."""

    def sing(phrases: list[list[Syllable]], singer: Singer, part: int, talk: bool) -> np.ndarray:
        return render_voice(phrases, singer, song.seed, part, samples, rate_hz, talk)

    rng = stream(song.seed, 43)
    manner = play_vocals(song, 50, 64)[0]
    singer = draw_singer(rng, manner)
    phrases = play_vocals(song, singer.low + 2, singer.high)[1]
    lead = sing(phrases, singer, 0, manner == "rap")
    lead = dsp.compress(lead, rate_hz, -8.0, float(rng.uniform(1.5, 4.0)), 0.12)
    mix = np.stack([lead, lead])
    for i, (sung, position, gain) in enumerate(_backing(song, phrases, singer, rng)):
        vibrato_hz = singer.vibrato_hz * float(rng.uniform(0.93, 1.07))
        double = singer._replace(unsteady=singer.unsteady * 1.2, vibrato_hz=vibrato_hz)
        mix += np.float32(gain) * dsp.pan(sing(sung, double, i + 1, manner == "rap"), position)
    if rng.random() < 0.25:
        for i in range(int(rng.integers(2, 5))):
            voice = draw_singer(rng)
            held = choir(song, voice.low, voice.high)
            mix += np.float32(0.25) * dsp.pan(sing(held, voice, 50 + i, False), float(rng.uniform(-1, 1)))
    return _finish_vocals(song, mix, samples, rate_hz, rng)


def _backing(
    song: Song, phrases: list[list[Syllable]], singer: Singer, rng: np.random.Generator
) -> list[tuple[list[list[Syllable]], float, float]]:
    """Doubles and harmonies: phrases, panning and gain of each."""
    backing = []
    if rng.random() < 0.35:
        level, side = float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.1, 0.7))
        backing += [(phrases, -side, level), (phrases, side, level)]
    if rng.random() < 0.45:
        steps = int(rng.choice([2, 4, -3, 5]))
        backing += [(harmony(song, phrases, steps, singer.low, singer.high), side, 0.25) for side in (-0.4, 0.45)]
    return backing


def _finish_vocals(song: Song, mix: np.ndarray, samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Equaliser, room and sometimes an echo in tempo, (2, time) to (2, time)."""
    equaliser = dsp.product(
        dsp.high_pass(float(rng.uniform(70, 140))),
        dsp.random_equaliser(rng, 2.0),
        dsp.peaks((4500.0, 2.0, float(rng.normal(1, 2)))),
    )
    hall = dsp.room(float(rng.uniform(0.5, 2.5)), rate_hz, rng, 0.6, float(rng.uniform(0.005, 0.05)))
    space = dsp.with_room(hall, dsp.impulse_of(equaliser, rate_hz, 2048), float(rng.uniform(0.02, 0.2)))
    wet = dsp.convolve(mix, space)
    if rng.random() < 0.3:
        echo = int(60 / song.bpm * float(rng.choice([0.5, 0.75, 1.0])) * rate_hz)
        dry = wet.copy()
        for i, gain in enumerate((0.22, 0.1, 0.04)):
            delay = (i + 1) * echo
            if delay < samples:
                wet[:, delay:] += np.float32(gain) * dry[:, : samples - delay]
    return wet


def _balance(stems: dict[str, np.ndarray], seed: int, rate_hz: int) -> dict[str, np.ndarray]:
    """Sets the levels of stems (2, time) as in a mix, with soft-limited peaks and a sum below full scale.

    Where they play, the stems are about equally loud, with random differences of a few decibels.
    """
    rng = stream(seed, 44)
    centres = {"drums": 0.0, "bass": -0.5, "other": -1.0, "vocals": 0.5}
    result = {}
    for stem, wave in stems.items():
        level = dsp.loudness(wave, int(0.4 * rate_hz))[:: max(1, rate_hz // 20)]
        active = level[level > max(1e-6, 0.1 * level.max())]
        loud = float(np.sqrt(np.mean(np.square(active)))) if active.size else 0.0
        gain_db = -22.0 + centres.get(stem, 0.0) + float(np.clip(rng.normal(0, 2.2), -5, 5))
        result[stem] = wave * np.float32(dsp.db(gain_db) / loud) if loud else np.zeros_like(wave)
        magnitude = np.abs(result[stem])
        if magnitude.max() > 0.7:  # a soft limiter
            limited = np.sign(result[stem]) * (0.5 + 0.3 * np.tanh((magnitude - 0.5) / 0.3))
            result[stem] = np.where(magnitude > 0.5, limited, result[stem]).astype(np.float32)
    peak = float(np.max(np.abs(sum(result.values()))))
    peak = max(peak, *(float(np.max(np.abs(wave))) for wave in result.values()))
    gain = np.float32(min(dsp.db(float(rng.uniform(-2, 5))), 0.95 / max(peak, 1e-9)))
    return {stem: wave * gain for stem, wave in result.items()}
