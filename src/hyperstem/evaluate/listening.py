"""Measures of what an ear notices: SDR by frequency band, SDR of attacks, and the level of stems that rest.

They are figures of whole songs, made of energies: of the reference, and of the error (reference minus estimate).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hyperstem.dsp.measures import decibels

BANDS_HZ = ((0, 250), (250, 1000), (1000, 4000), (4000, 10_000), (10_000, 20_000))
BAND_MEASURES = ("SDR 0-250 Hz", "SDR 250-1000 Hz", "SDR 1-4 kHz", "SDR 4-10 kHz", "SDR 10-20 kHz")
ATTACK = "attack SDR"
REST, WORST_REST = "rest level", "worst rest level"
LISTENING_MEASURES = (*BAND_MEASURES, ATTACK, REST, WORST_REST)

ATTACK_S = 0.05
"""How long an attack lasts."""
REST_S = 0.5
"""Length of the windows in which a stem sounds or rests."""
INAUDIBLE = 1e-5
"""Power beside the mixture's, -50 dB, below which a stem is not heard."""

_BAND_WINDOW_S = 0.2
_ONSET_WINDOW_S = 0.02
_LOWEST_HZ = 50
_FRAMES = 64  # frames transformed at once
_RISE_DB = 2.5  # by which an onset's rise exceeds those around it
_NEAR = 6  # frames of 5 ms: no two onsets are closer, and a rise is compared with four times as many on either side


def listening_scores(
    references: np.ndarray, estimates: Sequence[np.ndarray], mixture: np.ndarray, rate_hz: int
) -> list[Mapping[str, np.ndarray]]:
    """The LISTENING_MEASURES of several methods' estimates of the same stems.

    Args:
        references: the true stems, (stem, channel, time).
        estimates: one such array for each method.
        mixture: (channel, time).
        rate_hz: their sample rate.

    Returns:
        For each method and measure dB by stem, (stem,); NaN where a stem is not heard in a band, has no attack, or
        never rests.
    """
    mixture_bands = band_energies(mixture, rate_hz)  # (band,)
    reference_bands = np.stack([band_energies(wave, rate_hz) for wave in references])  # (stem, band)
    heard = np.where(reference_bands > INAUDIBLE * mixture_bands, reference_bands, np.nan)
    starts = [onsets(wave, rate_hz) for wave in references]
    return [_of_method(references, estimate, mixture, rate_hz, heard, starts) for estimate in estimates]


def _of_method(
    references: np.ndarray,
    estimates: np.ndarray,
    mixture: np.ndarray,
    rate_hz: int,
    heard: np.ndarray,
    starts: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """The measures of one method; `heard` (stem, band) is the energy of what is heard, `starts` the stems' onsets."""
    pairs = list(zip(references, estimates, strict=True))
    errors = np.stack([band_energies(true, rate_hz, estimate) for true, estimate in pairs])
    attacks = [attack_sdr(*pair, onset, rate_hz) for pair, onset in zip(pairs, starts, strict=True)]
    rests = [rest_levels(*pair, mixture, rate_hz) for pair in pairs]
    return {
        **dict(zip(BAND_MEASURES, decibels(heard, errors).T, strict=True)),
        ATTACK: np.array(attacks),
        REST: np.array([np.median(levels) if levels.size else np.nan for levels in rests]),
        WORST_REST: np.array([levels.max() if levels.size else np.nan for levels in rests]),
    }


def band_energies(wave: np.ndarray, rate_hz: int, estimate: np.ndarray | None = None) -> np.ndarray:
    """Energy in each of BANDS_HZ, (band,), of `wave` (channel, time) or of `wave` minus `estimate`; NaN above the rate.

    Sine windows that overlap by half: their squares add up to one, so the energies of all frequencies add up to the
    energy of the wave.
    """
    size = 2 * round(_BAND_WINDOW_S * rate_hz / 2)
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32)
    frequencies = np.fft.rfftfreq(size, 1 / rate_hz)
    weight = np.full(len(frequencies), 2.0 / size)  # Parseval's theorem for the half spectrum of a real wave
    weight[[0, -1]] /= 2
    power = np.zeros(len(frequencies))
    for channel in range(len(wave)):
        other = None if estimate is None else estimate[channel]
        for frames in _frames(wave[channel], other, size, size // 2):
            spectra = np.fft.rfft(frames * window)
            power += np.einsum("fb,fb->b", spectra.real, spectra.real) + np.einsum(
                "fb,fb->b", spectra.imag, spectra.imag
            )
    energies = [(power * weight)[(frequencies >= low) & (frequencies < high)].sum() for low, high in BANDS_HZ]
    return np.where([low < rate_hz / 2 for low, _ in BANDS_HZ], energies, np.nan)


def _frames(wave: np.ndarray, other: np.ndarray | None, size: int, hop: int) -> Iterator[np.ndarray]:
    """(frame, size) float32 of `wave` (time,), less `other`; every sample lies in size // hop frames."""
    before = size - hop
    count = -(-(len(wave) + before) // hop)
    for first in range(0, count, _FRAMES):
        frames = min(_FRAMES, count - first)
        start, stop = first * hop - before, (first + frames - 1) * hop + hop
        inside = slice(max(start, 0), min(stop, len(wave)))
        part = np.zeros(stop - start, np.float32)
        part[inside.start - start : inside.stop - start] = wave[inside]
        if other is not None:
            part[inside.start - start : inside.stop - start] -= other[inside]
        yield np.lib.stride_tricks.sliding_window_view(part, size)[::hop]


def onsets(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Where notes and hits of one stem begin, in samples, in order.

    The level's rise between spectra 10 ms apart, averaged over third octaves, peaks at every onset (spectral flux).
    Levels are counted from 50 dB under the loudest third octave of the stem.

    Args:
        wave: (channel, time).
        rate_hz: its sample rate.
    """
    hop = max(4, round(_ONSET_WINDOW_S * rate_hz / 4))
    size = 4 * hop
    power = _third_octaves(wave, size, hop, rate_hz)  # (frame, third octave)
    levels_db = 10 * np.log10(power + INAUDIBLE * power.max() + np.finfo(float).tiny)
    rises = np.zeros(len(levels_db))
    rises[2:] = np.maximum(levels_db[2:] - levels_db[:-2], 0).mean(axis=1)
    near, around = (np.lib.stride_tricks.sliding_window_view(np.pad(rises, n), 2 * n + 1) for n in (_NEAR, 4 * _NEAR))
    peaks = np.flatnonzero((rises == near.max(axis=1)) & (rises > around.mean(axis=1) + _RISE_DB))
    # A rise is steepest where the middle of the later window reaches the onset; frame f begins at f * hop - 3 * hop.
    return np.clip((peaks - 1) * hop, 0, wave.shape[-1] - 1)


def _third_octaves(wave: np.ndarray, size: int, hop: int, rate_hz: int) -> np.ndarray:
    """Power of (channel, time) in third octaves from 50 Hz, all channels together, (frame, third octave)."""
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    count = int(3 * np.log2(rate_hz / 2 / _LOWEST_HZ))
    edges = np.unique(np.round(_LOWEST_HZ * 2 ** (np.arange(count) / 3) * size / rate_hz).astype(int))
    blocks = []
    for channels in zip(*(_frames(channel, None, size, hop) for channel in wave), strict=True):
        power = sum(np.square(np.abs(np.fft.rfft(frames * window))) for frames in channels)
        blocks.append(np.add.reduceat(power, edges, axis=1).astype(np.float64))
    return np.concatenate(blocks)


def attack_sdr(reference: np.ndarray, estimate: np.ndarray, starts: np.ndarray, rate_hz: int) -> float:
    """SDR in dB over what lies within ATTACK_S after the onsets `starts`, all of it together; NaN without any.

    Args:
        reference: (channel, time).
        estimate: the same shape.
        starts: samples.
        rate_hz: samples per second.
    """
    inside = np.zeros(reference.shape[-1], bool)
    for start in starts:
        inside[start : start + round(ATTACK_S * rate_hz)] = True
    true = reference[:, inside].astype(np.float64)
    return float(decibels(np.square(true).sum(), np.square(true - estimate[:, inside]).sum()))


def rest_levels(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, rate_hz: int) -> np.ndarray:
    """The estimate's level beside the mixture in every window of REST_S in which the stem rests, dB, (window,).

    A stem rests where it is 50 dB under the mixture or softer. Windows in which the mixture itself is 50 dB softer than
    it is on the whole say nothing and are left out. No level is below -120 dB.

    Args:
        reference: (channel, time).
        estimate: the same shape.
        mixture: the same shape.
        rate_hz: samples per second.
    """
    size = min(round(REST_S * rate_hz), mixture.shape[-1])
    true, estimated, mixed = (_window_powers(wave, size) for wave in (reference, estimate, mixture))
    rests = (true <= INAUDIBLE * mixed) & (mixed > INAUDIBLE * mixed.mean())
    return 10 * np.log10(np.maximum(estimated[rests] / mixed[rests], 1e-12))


def _window_powers(wave: np.ndarray, size: int) -> np.ndarray:
    """Energy of (channel, time) in windows of `size` samples, (window,); the rest at the end is left out."""
    starts = range(0, wave.shape[-1] // size * size, size)
    return np.array([np.square(wave[:, start : start + size], dtype=np.float64).sum() for start in starts])
