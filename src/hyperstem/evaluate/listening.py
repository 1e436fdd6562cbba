"""Listening measures: SDR by frequency band, SDR of attacks, and the level of an estimate while the stem rests.

Each is one value per song, computed from energies of the reference and of the error (reference minus estimate).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hyperstem.dsp.measures import decibels
from hyperstem.dsp.resample import crop

BANDS_HZ = ((0, 250), (250, 1000), (1000, 4000), (4000, 10_000), (10_000, 20_000))
BAND_MEASURES = ("SDR 0-250 Hz", "SDR 250-1000 Hz", "SDR 1-4 kHz", "SDR 4-10 kHz", "SDR 10-20 kHz")
ATTACK = "attack SDR"
REST, WORST_REST = "rest level", "worst rest level"
LISTENING_MEASURES = (*BAND_MEASURES, ATTACK, REST, WORST_REST)

ATTACK_S = 0.05
"""Duration of an attack."""
REST_S = 0.5
"""Length of the windows that are searched for rests."""
INAUDIBLE = 1e-5
"""Power relative to the mixture, -50 dB, below which a stem is inaudible."""

_BAND_WINDOW_S = 0.2
_ONSET_WINDOW_S = 0.02
_LOWEST_HZ = 50
_FRAMES = 64  # frames transformed at once
_RISE_DB = 2.5  # least difference between the rise at an onset and the mean rise around it
_NEAR = 6  # frames of 5 ms: least distance of two onsets; the mean is over four times as many frames on either side


def listening_scores(
    references: np.ndarray, estimates: Sequence[np.ndarray], mixture: np.ndarray, rate_hz: int
) -> list[Mapping[str, np.ndarray]]:
    """The LISTENING_MEASURES of several methods' estimates of the same stems.

    Args:
        references: the true stems, (stem, channel, time).
        estimates: one such array per method.
        mixture: (channel, time).
        rate_hz: sample rate.

    Returns:
        For each method, each measure in dB, (stem,); NaN where a stem is inaudible in a band, has no attack or does not
        rest.
    """
    mixture_bands = band_energies(mixture, rate_hz)  # (band,)
    reference_bands = np.stack([band_energies(wave, rate_hz) for wave in references])  # (stem, band)
    audible = np.where(reference_bands > INAUDIBLE * mixture_bands, reference_bands, np.nan)
    starts = [onsets(wave, rate_hz) for wave in references]
    return [_method_scores(references, estimate, mixture, rate_hz, audible, starts) for estimate in estimates]


def _method_scores(
    references: np.ndarray,
    estimates: np.ndarray,
    mixture: np.ndarray,
    rate_hz: int,
    audible: np.ndarray,
    starts: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """The measures of one method; `audible` (stem, band) is the energy in audible bands, `starts` the stems' onsets."""
    pairs = list(zip(references, estimates, strict=True))
    errors = np.stack([band_energies(true, rate_hz, estimate) for true, estimate in pairs])
    attacks = [attack_sdr(*pair, onset, rate_hz) for pair, onset in zip(pairs, starts, strict=True)]
    rests = [rest_levels(*pair, mixture, rate_hz) for pair in pairs]
    return {
        **dict(zip(BAND_MEASURES, decibels(audible, errors).T, strict=True)),
        ATTACK: np.array(attacks),
        REST: np.array([np.median(levels) if levels.size else np.nan for levels in rests]),
        WORST_REST: np.array([levels.max() if levels.size else np.nan for levels in rests]),
    }


def band_energies(wave: np.ndarray, rate_hz: int, estimate: np.ndarray | None = None) -> np.ndarray:
    """Energy of `wave` (channel, time), or of `wave` minus `estimate`, in each of BANDS_HZ, (band,).

    The windows are half-overlapping sine windows: their squares sum to one, so the energies of all frequencies sum to
    the energy of the waveform. Bands above half the rate have NaN.
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
    """(frame, size) float32 of `wave` (time,) minus `other`; every sample lies in size // hop frames."""
    before = size - hop
    count = -(-(len(wave) + before) // hop)
    for first in range(0, count, _FRAMES):
        start, stop = first * hop - before, min(first + _FRAMES, count) * hop
        part = crop(wave, start, stop).astype(np.float32)
        if other is not None:
            part -= crop(other, start, stop)
        yield np.lib.stride_tricks.sliding_window_view(part, size)[::hop]


def onsets(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Onsets of one stem's notes and hits, in samples, in ascending order.

    They are peaks of the spectral flux: the rise of the level between spectra 10 ms apart, averaged over third octaves.
    Levels have a floor 50 dB below the loudest third octave of the stem.

    Args:
        wave: (channel, time).
        rate_hz: sample rate.
    """
    hop = max(4, round(_ONSET_WINDOW_S * rate_hz / 4))
    size = 4 * hop
    power = _third_octaves(wave, size, hop, rate_hz)  # (frame, third octave)
    levels_db = 10 * np.log10(power + INAUDIBLE * power.max() + np.finfo(float).tiny)
    rises = np.zeros(len(levels_db))
    rises[2:] = np.maximum(levels_db[2:] - levels_db[:-2], 0).mean(axis=1)
    near, around = (np.lib.stride_tricks.sliding_window_view(np.pad(rises, n), 2 * n + 1) for n in (_NEAR, 4 * _NEAR))
    peaks = np.flatnonzero((rises == near.max(axis=1)) & (rises > around.mean(axis=1) + _RISE_DB))
    # The rise is steepest when the onset is in the middle of the later window; frame f starts at (f - 3) * hop.
    return np.clip((peaks - 1) * hop, 0, wave.shape[-1] - 1)


def _third_octaves(wave: np.ndarray, size: int, hop: int, rate_hz: int) -> np.ndarray:
    """Power of (channel, time) in third octaves from 50 Hz, summed over channels, (frame, third octave)."""
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    count = int(3 * np.log2(rate_hz / 2 / _LOWEST_HZ))
    edges = np.unique(np.round(_LOWEST_HZ * 2 ** (np.arange(count) / 3) * size / rate_hz).astype(int))
    blocks = []
    for channels in zip(*(_frames(channel, None, size, hop) for channel in wave), strict=True):
        power = sum(np.square(np.abs(np.fft.rfft(frames * window))) for frames in channels)
        blocks.append(np.add.reduceat(power, edges, axis=1).astype(np.float64))
    return np.concatenate(blocks)


def attack_sdr(reference: np.ndarray, estimate: np.ndarray, starts: np.ndarray, rate_hz: int) -> float:
    """SDR in dB over all samples within ATTACK_S after an onset together; NaN if there is no onset.

    Args:
        reference: (channel, time).
        estimate: the same shape.
        starts: onsets in samples.
        rate_hz: sample rate.
    """
    inside = np.zeros(reference.shape[-1], bool)
    for start in starts:
        inside[start : start + round(ATTACK_S * rate_hz)] = True
    true = reference[:, inside].astype(np.float64)
    return float(decibels(np.square(true).sum(), np.square(true - estimate[:, inside]).sum()))


def rest_levels(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, rate_hz: int) -> np.ndarray:
    """The estimate's level relative to the mixture in every window of REST_S in which the stem rests, dB, (window,).

    A stem rests where it is 50 dB or more below the mixture. Windows in which the mixture itself is 50 dB or more below
    its mean level are left out. Levels have a floor of -120 dB.

    Args:
        reference: (channel, time).
        estimate: the same shape.
        mixture: the same shape.
        rate_hz: sample rate.
    """
    size = min(round(REST_S * rate_hz), mixture.shape[-1])
    true, estimated, mixed = (_window_powers(wave, size) for wave in (reference, estimate, mixture))
    rests = (true <= INAUDIBLE * mixed) & (mixed > INAUDIBLE * mixed.mean())
    return 10 * np.log10(np.maximum(estimated[rests] / mixed[rests], 1e-12))


def _window_powers(wave: np.ndarray, size: int) -> np.ndarray:
    """Energy of (channel, time) in windows of `size` samples, (window,); an incomplete last window is left out."""
    starts = range(0, wave.shape[-1] // size * size, size)
    return np.array([np.square(wave[:, start : start + size], dtype=np.float64).sum() for start in starts])
