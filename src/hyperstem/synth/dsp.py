"""Signal processing of the synthetic band: oscillators, shaped noise, filters, rooms, dynamics.

A time-varying filter is a spectrum per control frame, of a harmonic tone (`scan`) or of noise (`shaped_noise`); a fixed
filter is an impulse response (`convolve`). Mono signals are (time,), stereo signals (2, time), all float32.
"""

from collections.abc import Callable

import numpy as np

Response = Callable[[np.ndarray], np.ndarray]


def db(level_db: float) -> float:
    """The amplitude factor of a level in decibels."""
    return float(10.0 ** (level_db / 20.0))


def hz(pitch: float | np.ndarray) -> float | np.ndarray:
    """Frequency of a MIDI pitch, which may be fractional; 69 is 440 Hz."""
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69.0) / 12.0)


def smooth_size(size: int) -> int:
    """A length of at least `size` whose FFT is fast: a power of two times 1, 5/8 or 3/4.

    Unlike `fast_length` of hyperstem.dsp it never changes: noise has this length, so it decides the songs of all seeds.
    """
    power = 1 << max(size - 1, 1).bit_length()
    return next(length for length in (5 * power // 8, 3 * power // 4, power) if length >= size)


def phase_of(frequency_hz: np.ndarray, rate_hz: int, start: float = 0.0) -> np.ndarray:
    """Phase in cycles, float64 (time,), of a frequency per sample (time,)."""
    return start + np.cumsum(frequency_hz, dtype=np.float64) / rate_hz


def to_samples(frames: np.ndarray, hop: int, samples: int) -> np.ndarray:
    """A control curve (frame,) with one value per `hop` samples, interpolated: float32 (samples,)."""
    return np.interp(np.arange(samples), np.arange(len(frames)) * hop, frames).astype(np.float32)


def scan(phase: np.ndarray, spectra: np.ndarray, hop: int) -> np.ndarray:
    """A harmonic tone with a time-varying spectrum: one wavetable per control frame, crossfaded between frames.

    Args:
        phase: (time,) in cycles.
        spectra: complex (frame, harmonic), amplitudes of harmonics 1, 2, ... at sample ``frame * hop``, without those
            above the Nyquist frequency.
        hop: samples between control frames; the last frame is repeated.

    Returns:
        float32 (time,).
    """
    samples = len(phase)
    needed = -(-samples // hop) + 1
    if len(spectra) < needed:
        spectra = np.concatenate([spectra, np.repeat(spectra[-1:], needed - len(spectra), axis=0)])
    size = int(np.clip(1 << (8 * spectra.shape[1]).bit_length(), 256, 4096))
    bins = np.zeros((needed, size // 2 + 1), np.complex64)
    harmonics = min(spectra.shape[1], size // 2 - 1)
    bins[:, 1 : harmonics + 1] = spectra[:needed, :harmonics] * (size / 2)
    tables = np.empty((needed, size + 1), np.float32)  # (frame, point), the first point repeated at the end
    tables[:, :size] = np.fft.irfft(bins, size, axis=1)
    tables[:, size] = tables[:, 0]
    position = (phase - np.floor(phase)) * size
    point = np.minimum(position.astype(np.int32), size - 1)
    between = (position - point).astype(np.float32)
    time = np.arange(samples, dtype=np.int32)
    frame = time // hop
    fade = ((time - frame * hop) * np.float32(1.0 / hop)).astype(np.float32)
    index = frame * np.int32(size + 1) + point
    flat = tables.ravel()
    now = flat[index]
    now += between * (flat[index + 1] - now)
    index += size + 1
    then = flat[index]
    then += between * (flat[index + 1] - then)
    return now + fade * (then - now)


def shaped_noise(magnitudes: np.ndarray, hop: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a time-varying spectrum.

    Args:
        magnitudes: (frame, bin) at sample ``frame * hop``, with evenly spaced bins from 0 to the Nyquist frequency.
        hop: samples between frames.
        samples: length of the result.
        rng: random generator.

    Returns:
        float32 (samples,), with unit power where the magnitudes are 1.
    """
    frames = min(len(magnitudes), -(-samples // hop) + 1)
    sounding = np.flatnonzero(magnitudes[:frames].any(axis=1))
    magnitudes = magnitudes[sounding]
    size = max(2 * (magnitudes.shape[1] - 1), smooth_size(3 * hop))
    if size // 2 + 1 != magnitudes.shape[1]:
        at = np.linspace(0, magnitudes.shape[1] - 1, size // 2 + 1)
        low = np.minimum(at.astype(int), magnitudes.shape[1] - 2)
        magnitudes = magnitudes[:, low] + (at - low) * (magnitudes[:, low + 1] - magnitudes[:, low])
    window = np.sqrt(np.hanning(2 * hop + 1)[:-1]).astype(np.float32)  # overlapping powers add to one
    blocks = rng.standard_normal((len(sounding), 2 * hop), dtype=np.float32) * window
    spectrum = np.fft.rfft(blocks, size, axis=1) * magnitudes.astype(np.float32)
    shaped = np.fft.irfft(spectrum, size, axis=1)[:, : 2 * hop]
    out = np.zeros((frames + 1, hop), np.float32)
    out[sounding] += shaped[:, :hop]
    out[sounding + 1] += shaped[:, hop:]
    flat = out.reshape(-1)[hop:]
    return np.pad(flat, (0, max(0, samples - len(flat))))[:samples]


def noise_burst(samples: int, response: Response, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Stationary noise, filtered by `response` from unit power: float32 (samples,)."""
    size = smooth_size(samples)
    noise = np.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    return np.fft.irfft(noise * response(np.fft.rfftfreq(size, 1 / rate_hz)), size)[:samples].astype(np.float32)


def convolve(wave: np.ndarray, impulse: np.ndarray) -> np.ndarray:
    """`wave` (..., time) convolved with `impulse` (..., taps) by overlap-add, cropped to the same length."""
    samples, taps = wave.shape[-1], impulse.shape[-1]
    block = max(8192, 4 * taps)
    size = smooth_size(min(block, samples) + taps)
    block = size - taps
    spectrum = np.fft.rfft(impulse.astype(np.float32), size)
    lead = np.broadcast_shapes(wave.shape[:-1], impulse.shape[:-1])
    out = np.zeros((*lead, samples + size), np.float32)
    for start in range(0, samples, block):
        piece = np.fft.irfft(np.fft.rfft(wave[..., start : start + block], size) * spectrum, size)
        out[..., start : start + size] += piece
    return out[..., :samples]


def impulse_of(response: Response, rate_hz: int, taps: int = 1024) -> np.ndarray:
    """The minimum-phase impulse response of a magnitude response: float32 (taps,)."""
    size = 4 * taps
    magnitude = np.maximum(np.abs(response(np.fft.rfftfreq(size, 1 / rate_hz))), 1e-5)
    cepstrum = np.fft.irfft(np.log(magnitude), size)
    cepstrum[1 : size // 2] *= 2.0
    cepstrum[size // 2 + 1 :] = 0.0
    impulse = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:taps]
    impulse[-taps // 4 :] *= np.linspace(1.0, 0.0, taps // 4)
    return impulse.astype(np.float32)


def low_pass(cutoff_hz: float, order: float = 2.0, resonance: float = 0.0) -> Response:
    """Magnitude of a low-pass with ``6 * order`` dB per octave and a peak of `resonance` at the cut-off."""

    def response(frequency: np.ndarray) -> np.ndarray:
        ratio = frequency / cutoff_hz
        bump = 1.0 + resonance * np.exp(-((np.log2(np.maximum(ratio, 1e-4)) / 0.25) ** 2))
        return bump / np.sqrt(1.0 + ratio ** (2.0 * order))

    return response


def high_pass(cutoff_hz: float, order: float = 2.0) -> Response:
    """Magnitude of a high-pass with ``6 * order`` dB per octave."""
    return lambda frequency: 1.0 / np.sqrt(1.0 + (cutoff_hz / np.maximum(frequency, 1.0)) ** (2.0 * order))


def band(centre_hz: float, octaves: float, gain: float = 1.0) -> Response:
    """Magnitude of a band-pass: a bell on a logarithmic frequency axis, `octaves` wide at half height."""

    def response(frequency: np.ndarray) -> np.ndarray:
        distance = np.log2(np.maximum(frequency, 1.0) / centre_hz) / (0.6 * octaves)
        return gain * np.exp(-(distance**2))

    return response


def product(*responses: Response) -> Response:
    """The magnitude of filters in series."""
    return lambda frequency: np.prod([response(frequency) for response in responses], axis=0)


def peaks(*settings: tuple[float, float, float]) -> Response:
    """Magnitude of a peaking equaliser: (centre in Hz, width in octaves, gain in dB) of each band."""

    def response(frequency: np.ndarray) -> np.ndarray:
        level_db = np.zeros_like(frequency)
        for centre_hz, octaves, gain_db in settings:
            level_db = level_db + band(centre_hz, octaves, gain_db)(frequency)
        return 10.0 ** (level_db / 20.0)

    return response


def random_equaliser(rng: np.random.Generator, spread_db: float = 3.0, bells: int = 4) -> Response:
    """Magnitude of a gentle random equaliser."""
    centres = 2.0 ** rng.uniform(np.log2(80.0), np.log2(12000.0), bells)
    return peaks(*[(float(c), float(rng.uniform(0.6, 2.5)), float(rng.normal(0, spread_db))) for c in centres])


def decay(samples: int, seconds: float, rate_hz: int) -> np.ndarray:
    """Exponential decay to -60 dB in `seconds`: float32 (samples,)."""
    return np.exp(np.arange(samples, dtype=np.float32) * np.float32(-6.9078 / (max(seconds, 1e-4) * rate_hz)))


def envelope(samples: int, attack_s: float, release_s: float, rate_hz: int) -> np.ndarray:
    """A raised-cosine fade-in and fade-out around 1: float32 (samples,)."""
    shape = np.ones(samples, np.float32)
    rise, fall = min(samples, int(attack_s * rate_hz)), min(samples, int(release_s * rate_hz))
    if rise:
        shape[:rise] *= (0.5 - 0.5 * np.cos(np.pi * (np.arange(rise) + 0.5) / rise)).astype(np.float32)
    if fall:
        shape[samples - fall :] *= (0.5 + 0.5 * np.cos(np.pi * (np.arange(fall) + 0.5) / fall)).astype(np.float32)
    return shape


def saturate(wave: np.ndarray, drive: float, bias: float = 0.0) -> np.ndarray:
    """Soft clipping with tanh and unit gain for quiet signals; `bias` adds even harmonics."""
    offset = np.tanh(bias)
    slope = 1.0 - offset**2
    return ((np.tanh(drive * wave + np.float32(bias)) - offset) / (drive * slope)).astype(np.float32)


def loudness(wave: np.ndarray, window: int) -> np.ndarray:
    """Running root mean square over `window` samples, centred: float32 (time,); channels are averaged."""
    power = np.square(wave, dtype=np.float64)
    if power.ndim > 1:
        power = power.mean(axis=0)
    total = np.concatenate([[0.0], np.cumsum(power)])
    edge = np.arange(0, len(power), max(1, window // 8))
    low, high = np.maximum(edge - window // 2, 0), np.minimum(edge + window // 2 + 1, len(power))
    coarse = np.sqrt(np.maximum(total[high] - total[low], 0.0) / (high - low))
    return np.interp(np.arange(len(power)), edge, coarse).astype(np.float32)


def compress(wave: np.ndarray, rate_hz: int, threshold_db: float, ratio: float, window_s: float = 0.05) -> np.ndarray:
    """A compressor; `threshold_db` is relative to the level of the loud parts of the signal."""
    level = loudness(wave, max(8, int(window_s * rate_hz)))
    loud = float(np.percentile(level[::64], 95)) if level.size else 0.0
    if loud < 1e-6:
        return wave
    over = np.maximum(level / (loud * db(threshold_db)), 1.0)
    return (wave * over ** (1.0 / ratio - 1.0)).astype(np.float32)


def room(
    seconds: float, rate_hz: int, rng: np.random.Generator, brightness: float = 0.5, gap_s: float = 0.01
) -> np.ndarray:
    """Impulse response of a stereo room without the direct sound: early reflections and a tail that darkens.

    Returns:
        float32 (2, taps) with unit energy per channel.
    """
    hop = max(16, int(0.004 * rate_hz))
    samples = max(4 * hop, int((seconds + gap_s) * rate_hz))
    frames = samples // hop + 2
    frequency = np.linspace(0, rate_hz / 2, 65)
    decay_s = seconds / (1.0 + (frequency / (2000.0 + 9000.0 * brightness)) ** 1.2)
    fade = np.exp(-6.9 * np.arange(frames)[:, None] * (hop / rate_hz) / np.maximum(decay_s, 0.03))
    fade *= high_pass(120.0)(frequency)
    tail = np.stack([shaped_noise(fade, hop, samples, rng) for _ in range(2)])
    tail *= np.minimum(np.arange(samples, dtype=np.float32) / (0.02 * rate_hz), 1.0)
    for _ in range(int(rng.integers(6, 14))):
        at = int(rng.uniform(0.003, 0.05) * rate_hz)
        if at < samples:
            tail[:, at] += rng.normal(0, 3.0, 2) * np.exp(-at / (0.03 * rate_hz))
    tail = np.pad(tail, ((0, 0), (int(gap_s * rate_hz), 0)))
    return (tail / np.sqrt(np.sum(np.square(tail), axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def with_room(tail: np.ndarray, equaliser: np.ndarray, wet: float) -> np.ndarray:
    """Impulse response of an equaliser (taps,) in series with a room of level `wet`, whose tail is (2, taps)."""
    impulse = convolve(np.pad(np.float32(wet) * tail, ((0, 0), (0, len(equaliser)))), equaliser)
    impulse[:, : len(equaliser)] += equaliser
    return impulse


def pan(wave: np.ndarray, position: float) -> np.ndarray:
    """Constant-power panning of a mono signal from -1 (left) to 1 (right): (2, time)."""
    angle = (np.clip(position, -1.0, 1.0) + 1.0) * np.pi / 4
    return np.stack([wave * np.float32(np.cos(angle)), wave * np.float32(np.sin(angle))]) * np.float32(np.sqrt(2))


def add_at(track: np.ndarray, wave: np.ndarray, start: int, gain: float = 1.0) -> None:
    """Adds `wave` (..., time) to `track` (..., time) at sample `start`, cropped to the track."""
    first = max(0, -start)
    last = min(wave.shape[-1], track.shape[-1] - start)
    if last > first:
        track[..., start + first : start + last] += wave[..., first:last] * np.float32(gain)
