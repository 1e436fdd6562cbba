from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_songs import RATE_HZ, noise, tone
from hyperstem.config import AugmentConfig, ConfigError
from hyperstem.data.augment import (
    change_speed,
    draw_speed,
    eq_curve,
    impulse_response,
    proximity_effect,
    random_effects,
    random_pan,
    soft_clip,
)

OFF = AugmentConfig(swap_share=0.0)


def generator(seed=0):
    return np.random.default_rng(seed)


def frequency(wave, rate_hz=RATE_HZ):
    middle = wave[..., len(wave[0]) // 4 : 3 * len(wave[0]) // 4]
    spectrum = np.abs(np.fft.rfft(middle[0] * np.hanning(middle.shape[-1])))
    return spectrum.argmax() * rate_hz / middle.shape[-1]


def power_db(wave):
    return 10 * np.log10(np.square(wave, dtype=np.float64).mean() + 1e-30)


def band(wave, low_hz, high_hz):
    """What lies between two frequencies."""
    spectrum = np.fft.rfft(wave)
    hz = np.fft.rfftfreq(wave.shape[-1], 1 / RATE_HZ)
    return np.fft.irfft(spectrum * ((hz >= low_hz) & (hz < high_hz)), wave.shape[-1])


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.07])
def test_speed_moves_the_pitch_with_it(speed):
    long = tone(500, 8)
    wave = change_speed(long, speed, RATE_HZ, 4 * RATE_HZ)
    assert wave.shape == (2, 4 * RATE_HZ)
    assert frequency(wave) == pytest.approx(500 * speed, abs=1)
    assert power_db(wave) == pytest.approx(power_db(long), abs=0.1)


def test_everything_off_changes_nothing():
    wave = noise(1)
    assert np.array_equal(random_effects(wave, OFF, RATE_HZ, generator()), wave)
    assert np.array_equal(random_pan(wave, OFF, generator()), wave)
    assert draw_speed(OFF, generator()) == 1.0


def test_polarity_and_gain():
    wave = noise(1)
    assert np.array_equal(random_effects(wave, replace(OFF, polarity_share=1.0), RATE_HZ, generator()), -wave)
    louder = [random_effects(wave, replace(OFF, gain_db=6.0), RATE_HZ, generator(i)) for i in range(50)]
    changes = [power_db(each) - power_db(wave) for each in louder]
    assert -6.01 <= min(changes) < -4 and 4 < max(changes) <= 6.01


def test_draws_stay_in_their_range():
    config = replace(OFF, speed_share=1.0, speed=0.1)
    rng = generator()
    speeds = [draw_speed(config, rng) for _ in range(300)]
    assert 1 / 1.1 <= min(speeds) < 0.93 and 1.08 < max(speeds) <= 1.1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 12))
def test_the_equaliser_is_bounded_and_smooth(seed, most_db):
    curve_db = 20 * np.log10(eq_curve(4096, RATE_HZ, most_db, generator(seed)))
    assert np.isfinite(curve_db).all() and np.abs(curve_db).max() <= 3 * most_db + 1e-3
    assert np.abs(np.diff(curve_db[64:])).max(initial=0) <= 0.1 * most_db + 1e-3


def test_equalised_stem_keeps_its_onsets():
    click = np.zeros((2, RATE_HZ), np.float32)
    click[:, 3000] = 1
    wave = random_effects(click, replace(OFF, eq_share=1.0), RATE_HZ, generator(3))
    assert np.abs(wave[0]).argmax() == 3000 and wave.shape == click.shape and wave.dtype == np.float32


def test_closer_raises_what_is_low_and_keeps_the_level():
    low, high = tone(60, level=0.2), tone(1000, level=0.2)
    wave = proximity_effect(low + high, 12.0, 200.0, RATE_HZ)
    ratio_db = power_db(band(wave, 40, 80)) - power_db(band(wave, 900, 1100))
    assert 11 < ratio_db < 12.1
    assert power_db(wave) == pytest.approx(power_db(low + high), abs=0.01)
    assert not proximity_effect(np.zeros((2, 100), np.float32), 12.0, 200.0, RATE_HZ).any()


def test_reverb_adds_a_decaying_tail_after_the_direct_sound():
    click = np.zeros((2, 2 * RATE_HZ), np.float32)
    click[:, 3000] = 1
    wave = random_effects(click, replace(OFF, reverb_share=1.0, reverb_s=0.5), RATE_HZ, generator(1))
    assert wave[0, 3000] == pytest.approx(1, abs=1e-3) and np.abs(wave[:, :3000]).max() < 1e-5
    tail = np.square(wave[:, 3001:]).sum()
    assert 0.01 < tail / 2 < 0.3 and np.abs(wave[:, 3000 + RATE_HZ // 2 + 1 :]).max() < 1e-5
    assert not np.allclose(wave[0], wave[1], atol=1e-3)
    response = impulse_response(1, 4000, RATE_HZ, generator(2))[0]
    assert np.square(response[200:1000]).sum() > 3 * np.square(response[2000:2800]).sum()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 24), st.floats(1e-6, 1.0))
def test_soft_clip_keeps_level_and_order(drive_db, level):
    wave = noise(2, 0.5, level=1.0) * np.float32(level)
    clipped = soft_clip(wave, drive_db)
    assert power_db(clipped) == pytest.approx(power_db(wave), abs=0.01)
    order = np.argsort(wave[0])
    assert (np.diff(clipped[0][order]) >= -1e-6 * level).all()
    assert np.abs(clipped).max() <= np.abs(wave).max() * 1.0001


def test_soft_clip_of_silence():
    assert not soft_clip(np.zeros((2, 100), np.float32), 12).any()


def test_placing():
    wave = noise(1)
    mono = random_pan(wave, replace(OFF, mono_share=1.0), generator())
    assert np.array_equal(mono[0], mono[1]) and np.allclose(mono[0], wave.mean(axis=0))
    panned = random_pan(wave, replace(OFF, pan_share=1.0), generator(5))
    assert panned.shape == wave.shape and not np.allclose(panned, wave)
    assert abs(power_db(panned) - power_db(wave)) < 4


@pytest.mark.parametrize("change", [{"speed": 0.6}, {"eq_share": 1.1}, {"gain_db": -1.0}, {"reverb_s": 6.0}])
def test_settings_out_of_range(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(OFF, **change)
