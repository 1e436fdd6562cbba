"""Augmentation of stems; all functions are pure, and random ones take a random generator.

Waveforms are float32 (..., channel, time).
"""

import numpy as np

from hyperstem.config import AugmentConfig
from hyperstem.dsp.fourier import fast_length
from hyperstem.dsp.resample import fit, resample

PROXIMITY_HZ = (100.0, 250.0)
"""Range of the corner frequency below which the proximity effect raises the bass."""


def draw_speed(config: AugmentConfig, rng: np.random.Generator) -> float:
    """A random speed factor, 1 for no change; faster and slower are equally likely."""
    if rng.random() >= config.speed_share or config.speed == 0:
        return 1.0
    return float((1 + config.speed) ** rng.uniform(-1, 1))


def change_speed(wave: np.ndarray, speed: float, rate_hz: int, length: int) -> np.ndarray:
    """The waveform at `speed` times the tempo and pitch, (..., time) to (..., length)."""
    return fit(wave if speed == 1 else resample(wave, round(rate_hz * speed), rate_hz), length)


def random_effects(wave: np.ndarray, config: AugmentConfig, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """One stem (channel, time) with random EQ, reverb, clipping, polarity and gain; `config` has the probabilities."""
    equalise, reverberate, clip, flip = rng.random(4) < (
        config.eq_share,
        config.reverb_share,
        config.clip_share,
        config.polarity_share,
    )
    if equalise or reverberate:
        wave = _filtered(wave, config, rate_hz, rng, equalise, reverberate)
    if clip:
        wave = soft_clip(wave, rng.uniform(0, config.clip_db))
    if flip:
        wave = -wave
    if config.gain_db:
        wave = wave * np.float32(10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20))
    return wave


def _filtered(
    wave: np.ndarray, config: AugmentConfig, rate_hz: int, rng: np.random.Generator, equalise: bool, reverberate: bool
) -> np.ndarray:
    length = wave.shape[-1]
    tail = round(config.reverb_s * rate_hz) if reverberate else rate_hz // 50
    size = fast_length(length + tail)
    spectrum = np.fft.rfft(wave, size)  # (channel, bin)
    if equalise:
        spectrum *= eq_curve(size, rate_hz, config.eq_db, rng)
    if reverberate:
        spectrum *= np.fft.rfft(impulse_response(len(wave), tail, rate_hz, rng), size)
    return np.fft.irfft(spectrum, size)[:, :length].astype(np.float32)


def eq_curve(size: int, rate_hz: int, limit_db: float, rng: np.random.Generator) -> np.ndarray:
    """Random gain per bin of an FFT of `size`, (bin,): two shelves and a bell, smooth in log frequency."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), 10.0)).astype(np.float32)
    low, high = np.log2(60.0), np.log2(rate_hz / 2)
    corners, gains_db = rng.uniform(low, high, 3), rng.uniform(-limit_db, limit_db, 3)
    width = rng.uniform(0.3, 1.5)
    curve_db = gains_db[0] / (1 + np.exp(3 * (octaves - min(corners[0], 9.0))))
    curve_db += gains_db[1] / (1 + np.exp(-3 * (octaves - max(corners[1], 9.0))))
    curve_db += gains_db[2] * np.exp(-0.5 * ((octaves - corners[2]) / width) ** 2)
    return np.exp(curve_db * np.float32(np.log(10) / 20))


def proximity_effect(wave: np.ndarray, gain_db: float, corner_hz: float, rate_hz: int) -> np.ndarray:
    """The waveform (channel, time) as from a close directional microphone: a low shelf, at the same level."""
    length = wave.shape[-1]
    size = fast_length(length + rate_hz // 50)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), 10.0) / corner_hz).astype(np.float32)
    shelf = np.exp(np.log(10) / 20 * gain_db / (1 + np.exp(3 * octaves)))
    raised = np.fft.irfft(np.fft.rfft(wave, size) * shelf, size)[:, :length].astype(np.float32)
    return _match_power(raised, wave)


def impulse_response(channels: int, length: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a synthetic room (channel, length): direct sound, and decaying noise 6 to 20 dB below it."""
    times = np.arange(max(length, 1), dtype=np.float32)
    decay = 6.9 / (rng.uniform(0.3, 1.0) * max(length, 1))  # 60 dB within the length
    tail = rng.standard_normal((channels, len(times)), dtype=np.float32) * np.exp(-decay * times)
    tail[:, : min(len(times), round(rate_hz * rng.uniform(0.002, 0.02)))] = 0  # first reflections come later
    energy = np.sqrt(np.square(tail).sum(axis=-1, keepdims=True)) + 1e-9
    response = tail / energy * np.float32(10 ** (-rng.uniform(6, 20) / 20))
    response[:, 0] = 1
    return response


def soft_clip(wave: np.ndarray, drive_db: float) -> np.ndarray:
    """The waveform through a tanh, its peak driven by `drive_db`, at the same level."""
    peak = float(np.abs(wave).max(initial=0))
    if peak == 0:
        return wave
    return _match_power(np.tanh(wave * np.float32(10 ** (drive_db / 20) / peak)), wave)


def _match_power(wave: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The waveform scaled to the power of `like`; silence stays silent."""
    power = np.square(wave).mean()
    return wave * np.float32(np.sqrt(np.square(like).mean() / power)) if power > 0 else wave


def random_pan(wave: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """A stereo stem (2, time) with random width and panning, or mono; `config` has the probabilities."""
    pan, mono = rng.random(2) < (config.pan_share, config.mono_share)
    if mono:
        wave = np.repeat(wave.mean(axis=0, keepdims=True), 2, axis=0)
    if pan:
        width, angle = np.float32(rng.uniform(0.3, 1.3)), rng.uniform(-0.5, 0.5) * np.pi / 2
        mid, side = (wave[0] + wave[1]) / 2, (wave[0] - wave[1]) / 2 * width
        left, right = np.sqrt(2) * np.cos(np.pi / 4 + angle / 2), np.sqrt(2) * np.sin(np.pi / 4 + angle / 2)
        wave = np.stack([(mid + side) * np.float32(left), (mid - side) * np.float32(right)])
    return wave
