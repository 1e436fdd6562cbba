import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.synth import dsp

RATE_HZ = 16000


def rng(seed=0):
    return np.random.default_rng(seed)


def test_one_harmonic_is_a_cosine():
    phase = np.arange(8000) * (441.3 / RATE_HZ)
    spectra = np.zeros((2, 5), np.complex64)
    spectra[:, 2] = 0.5
    np.testing.assert_allclose(dsp.scan(phase, spectra, 4000), 0.5 * np.cos(2 * np.pi * 3 * phase), atol=3e-3)


def test_a_moving_spectrum_fades_from_frame_to_frame():
    spectra = np.array([[1.0], [0.0], [0.0]], np.complex64)
    wave = dsp.scan(np.arange(2000) * 0.05, spectra, 1000)
    assert np.abs(wave[:40]).max() == pytest.approx(1.0, abs=0.05)
    assert np.abs(wave[490:510]).max() == pytest.approx(0.5, abs=0.05)
    assert np.abs(wave[1000:]).max() < 1e-6


def test_scan_plays_any_length():
    for samples in (1, 255, 256, 257, 1000):
        assert dsp.scan(np.arange(samples) * 0.01, np.ones((1, 3), np.complex64), 256).shape == (samples,)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30000), st.integers(1, 5000))
def test_convolution_is_convolution(samples, taps):
    wave, impulse = rng(samples).standard_normal((2, samples)), rng(taps).standard_normal(taps)
    at = min(samples - 1, 777)
    expected = np.dot(wave[1, max(0, at - taps + 1) : at + 1], impulse[: at + 1][::-1])
    got = dsp.convolve(wave.astype(np.float32), impulse)
    assert got.shape == wave.shape
    assert got[1, at] == pytest.approx(expected, abs=2e-3 * np.sqrt(taps))


def test_impulse_responses_have_the_magnitude_asked_for_and_no_delay():
    response = dsp.product(dsp.low_pass(2000.0), dsp.peaks((500.0, 1.0, 6.0)))
    impulse = dsp.impulse_of(response, RATE_HZ)
    frequency = np.array([100.0, 500.0, 2000.0, 5000.0])
    waves = np.exp(-2j * np.pi * frequency[:, None] / RATE_HZ * np.arange(len(impulse)))
    measured = np.abs(waves @ impulse)
    np.testing.assert_allclose(measured, response(frequency), rtol=0.05)
    assert np.argmax(np.abs(impulse)) < 8


def test_shaped_noise_has_the_spectrum_asked_for():
    magnitudes = np.zeros((200, 65))
    magnitudes[:, 16:32] = 1.0  # 2 to 4 kHz
    wave = dsp.shaped_noise(magnitudes, 100, 19000, rng())
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    inside = power[(frequency > 1900) & (frequency < 4100)].sum()
    assert inside / power.sum() > 0.97
    assert np.std(wave) == pytest.approx(0.5, rel=0.1)  # a quarter of white noise's power


def test_shaped_noise_is_silent_where_it_is_asked_to_be():
    magnitudes = np.ones((40, 65))
    magnitudes[10:30] = 0.0
    wave = dsp.shaped_noise(magnitudes, 100, 4000, rng())
    assert not wave[1100:2900].any()
    assert wave[:900].any()


def test_a_room_has_unit_energy_and_dies_away():
    tail = dsp.room(0.5, RATE_HZ, rng())
    np.testing.assert_allclose(np.sum(tail**2, axis=1), 1.0, rtol=1e-3)
    energy = np.sum(tail**2, axis=0)
    assert energy[int(0.45 * RATE_HZ) :].sum() < 1e-3
    assert abs(np.corrcoef(tail)[0, 1]) < 0.5


def test_an_equaliser_with_a_room_still_starts_at_once():
    impulse = dsp.with_room(dsp.room(0.3, RATE_HZ, rng()), np.array([1.0, 0.0], np.float32), 0.2)
    assert impulse[0, 0] == pytest.approx(1.0, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 40), st.floats(0, 1))
def test_saturation_keeps_quiet_signals_and_bounds_loud_ones(drive, bias):
    wave = np.array([1e-4, -1e-4, 100.0, -100.0], np.float32)
    bent = dsp.saturate(wave, drive, bias)
    np.testing.assert_allclose(bent[:2], wave[:2], rtol=0.05, atol=1e-6)
    assert np.all(np.abs(bent[2:]) < 100)


def test_panning_keeps_power_and_side():
    wave = np.ones(10, np.float32)
    left, right = dsp.pan(wave, -1.0)
    assert left[0] == pytest.approx(np.sqrt(2))
    assert right[0] == pytest.approx(0.0, abs=1e-6)
    assert np.sum(dsp.pan(wave, 0.3)[:, 0] ** 2) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize(
    ("start", "expected"), [(-2, [3, 4, 0, 0]), (0, [1, 2, 3, 4]), (3, [0, 0, 0, 1]), (9, [0, 0, 0, 0])]
)
def test_adding_is_cut_at_both_ends(start, expected):
    track = np.zeros(4, np.float32)
    dsp.add_at(track, np.array([1, 2, 3, 4], np.float32), start)
    np.testing.assert_array_equal(track, expected)


def test_compression_narrows_levels():
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    wave = (np.where(time_s < 1, 0.1, 1.0) * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32)
    squeezed = dsp.compress(wave, RATE_HZ, -30.0, 4.0)
    before = np.std(wave[RATE_HZ + 2000 :]) / np.std(wave[: RATE_HZ - 2000])
    after = np.std(squeezed[RATE_HZ + 2000 :]) / np.std(squeezed[: RATE_HZ - 2000])
    assert after < 0.4 * before
    assert not dsp.compress(np.zeros(100, np.float32), RATE_HZ, -10, 4).any()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100, 1000, 4097])
def test_fast_lengths_are_long_enough(size):
    assert size <= dsp.smooth_size(size) <= 2 * size + 1
