import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.dsp.resample import Resampler, fit, normalise, pyramid, resample, resampled_length
from hyperstem.errors import AudioError

RATES = (4000, 8000, 16000, 22050, 32000, 44100, 48000, 96000, 192000)


def tone(rate_hz: int, hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz).astype(np.float32)


@pytest.mark.parametrize("to_hz", RATES)
@pytest.mark.parametrize("from_hz", (4000, 44100, 192000))
def test_a_tone_keeps_its_frequency_level_and_phase(from_hz, to_hz):
    result = resample(tone(from_hz, 500), from_hz, to_hz)
    expected = tone(to_hz, 500)
    middle = slice(len(expected) // 4, len(expected) * 3 // 4)
    assert np.abs(result[middle] - expected[middle]).max() < 1e-3


def test_what_the_lower_rate_cannot_hold_vanishes():
    assert np.abs(resample(tone(44100, 15000), 44100, 16000)[1000:-1000]).max() < 1e-5


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    st.sampled_from([(44100, 32000), (32000, 44100), (4000, 32000)]),
)
@settings(deadline=None, max_examples=20)
def test_blocks_of_any_size_give_the_same_as_the_whole(sizes, rates):
    wave = np.random.default_rng(0).standard_normal((2, max(1, sum(sizes)))).astype(np.float32)
    stream = Resampler(2, *rates)
    parts, at = [], 0
    for size in sizes:
        parts.append(stream.push(wave[:, at : at + size]))
        at += size
    parts.append(stream.push(wave[:, at:], last=True))
    assert np.array_equal(np.concatenate(parts, axis=1), resample(wave, *rates))


@given(st.integers(1, 5000), st.sampled_from(RATES))
@settings(deadline=None, max_examples=40)
def test_pyramid_lengths_double_and_cover_the_wave(length, rate_hz):
    waves = pyramid(np.ones((2, length), np.float32), rate_hz, (8000, 16000, 32000))
    base = waves[0].shape[1]
    assert [wave.shape for wave in waves] == [(2, base << i) for i in range(3)]
    assert (base - 1) * rate_hz < length * 8000 <= base * rate_hz


def test_there_and_back_covers_the_length():
    for rate_hz in RATES:
        for length in (1, 2, 1000, 12345):
            assert resampled_length(resampled_length(length, rate_hz, 32000), 32000, rate_hz) >= length


def test_fit_cuts_and_pads():
    assert fit(np.arange(3.0), 2).tolist() == [0, 1]
    assert fit(np.arange(3.0), 5).tolist() == [0, 1, 2, 0, 0]


def test_each_rate_is_brought_to_level_1_by_its_own_deviation():
    rng = np.random.default_rng(0)
    levels = np.array([0.1, 2.0, 30.0])[:, None, None]
    waves = [rng.standard_normal((3, 2, size)) * levels + 0.01 for size in (500, 1000)]
    result = normalise(waves)
    for wave, before, scale in zip(result.waves, waves, result.scales, strict=True):
        assert scale.shape == (3, 1, 1)
        assert np.allclose(wave.std(axis=(1, 2)), 1, atol=1e-5)
        assert np.allclose(wave * scale, before)
        assert np.allclose(scale[:, 0, 0], before.std(axis=(1, 2)))  # about the mean, which stays


def test_silence_stays_silence_and_an_offset_stays_finite():
    result = normalise([np.zeros((2, 100), np.float32), np.full((2, 100), 0.5, np.float32)])
    assert not result.waves[0].any()
    assert np.abs(result.waves[1]).max() <= 1001


def test_levels_far_apart_give_the_same():
    wave = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)
    loud, quiet = normalise([wave * np.float32(8)]), normalise([wave * np.float32(2.0**-14)])
    assert np.array_equal(loud.waves[0], quiet.waves[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("level", (1e-5, 1e5, 1e15))
def test_no_level_that_can_be_read_is_too_far_away(level):
    wave = np.random.default_rng(0).standard_normal((2, 1000))
    result = normalise([(wave * level).astype(np.float32)])
    assert np.allclose(result.waves[0], wave / wave.std(), atol=1e-5)


def test_rates_must_be_positive():
    with pytest.raises(AudioError, match="0 Hz"):
        resample(np.zeros((1, 4), np.float32), 0, 8000)
