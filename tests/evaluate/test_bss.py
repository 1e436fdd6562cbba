"""BSS Eval v4: museval's numbers, and what the measures mean."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate_signals import RATE_HZ, STEMS, STORED, noise, stems_and_estimates
from hyperstem.dsp import measures
from hyperstem.evaluate import bss, reference, scores

MUSEVAL = pytest.mark.skipif(importlib.util.find_spec("museval") is None, reason="museval is not installed")


def score(references, estimates):
    return bss.bss_eval(references, [estimates], RATE_HZ)[0]


def white(name, stems=2, channels=1, seconds=1.0):
    samples = int(seconds * RATE_HZ)
    return noise(name, stems * channels, samples).reshape(stems, channels, samples)


def test_equals_the_numbers_that_museval_wrote():
    golden = scores.load(STORED)
    found = score(*stems_and_estimates())
    for i, stem in enumerate(STEMS):
        ours = np.stack([found.sdr[i], found.isr[i], found.sir[i], found.sar[i]])
        np.testing.assert_allclose(ours, golden.frames[stem], atol=2e-5)
        assert np.isnan(golden.frames[stem]).any(axis=0).tolist() == [False, False, True, False]


@MUSEVAL
@pytest.mark.parametrize(("channels", "seconds"), [(1, 0.7), (1, 2.5)])
def test_equals_museval_itself(channels, seconds):
    references = white("truth", 2, channels, seconds)
    error = white("error", 2, channels, seconds)
    estimates = np.stack([references + 0.3 * error, references[::-1] + references + 0.1 * error])
    ours = bss.bss_eval(references, estimates, RATE_HZ)
    theirs = reference.museval_scores(references, estimates, RATE_HZ)
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.stack(mine), np.stack(other), atol=1e-6)


def test_sdr_is_the_energy_ratio_of_each_second():
    references = white("truth", seconds=2.0)
    error = white("error", seconds=2.0)
    error[..., RATE_HZ:] *= np.float32(0.1)
    found = score(references, references + error)
    for i in range(2):
        for frame in range(2):
            here = slice(frame * RATE_HZ, (frame + 1) * RATE_HZ)
            expected = 10 * np.log10(np.square(references[i, :, here]).sum() / np.square(error[i, :, here]).sum())
            assert found.sdr[i, frame] == pytest.approx(expected, abs=1e-4)


def test_measures_tell_interference_from_filtering_from_noise():
    references = white("truth")
    leaking = score(references, references + 0.5 * references[::-1])
    assert leaking.sir == pytest.approx(leaking.sdr, abs=0.5)
    assert leaking.sar.min() > 40
    dull = score(references, references + 0.5 * np.roll(references, 3, axis=-1))
    assert dull.isr == pytest.approx(dull.sdr, abs=0.2)
    assert dull.sir.min() > 10 > dull.isr.max()
    noisy = score(references, references + 0.5 * white("error"))
    assert noisy.sar.max() < noisy.sir.min()


def test_a_silent_second_of_one_stem_has_no_score_for_any():
    references = white("truth", seconds=3.0)
    references[1, :, RATE_HZ : 2 * RATE_HZ] = 0
    found = score(references, references + 0.1 * white("error", seconds=3.0))
    for values in found:
        assert np.isnan(values).tolist() == [[False, True, False]] * 2


def test_a_stem_silent_throughout_is_left_out_and_the_others_are_scored_alone():
    references = white("truth", stems=3)
    estimates = references + 0.1 * white("error", stems=3)
    references[1] = 0
    found = score(references, estimates)
    alone = score(references[[0, 2]], estimates[[0, 2]])
    assert np.isnan(found.sdr[1]).all()
    np.testing.assert_array_equal(np.stack(found)[:, [0, 2]], np.stack(alone))


def test_a_silent_estimate_does_not_spoil_another_method():
    references = white("truth")
    good = references + 0.1 * white("error")
    mute = good * np.array([1, 0], np.float32)[:, None, None]
    first, second = bss.bss_eval(references, np.stack([good, mute]), RATE_HZ)
    assert np.isfinite(np.stack(first)).all()
    assert np.isfinite(second.sdr[0]).all() and np.isnan(second.sdr[1]).all()


def test_mono_in_both_channels_is_scored():
    mono = white("truth")
    references = np.repeat(mono, 2, axis=1)
    estimates = references + 0.1 * white("error", channels=2)
    found = score(references, estimates)
    assert np.isfinite(np.stack(found)).all()
    assert found.sdr == pytest.approx(score(mono, mono + 0.1 * white("error")).sdr, abs=1.0)


def test_an_exact_estimate_has_no_score():
    references = white("truth")
    assert np.isnan(score(references, references).sdr).all()


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 5000), seed=st.integers(0, 9))
def test_correlations_over_blocks_equal_numpys(samples, seed):
    waves = noise(str(seed), 2, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bss, "_BLOCK_FFT", 2048)
        among, across = bss._correlations(waves, waves)
    reach = bss.FILTER_SAMPLES - 1
    padded = np.pad(waves.astype(np.float64), [(0, 0), (reach, reach)])
    expected = np.correlate(padded[1], waves[0].astype(np.float64))
    np.testing.assert_allclose(among[0, 1], expected, atol=1e-9)
    np.testing.assert_allclose(across[0, 1], expected[reach:], atol=1e-9)


def test_track_measures_by_hand():
    references = np.array([[[3.0, 0.0, 4.0, 0.0]]])
    estimates = np.array([[[6.0, 1.0, 8.0, 0.0]]])
    assert measures.track_sdr(references, estimates) == pytest.approx(10 * np.log10(25 / 26))
    assert measures.si_sdr(references, estimates) == pytest.approx(20.0)


@given(gain=st.floats(0.01, 100))
def test_si_sdr_ignores_the_level(gain):
    references, estimates = white("truth"), white("truth") + 0.2 * white("error")
    plain = measures.si_sdr(references, estimates)
    np.testing.assert_allclose(measures.si_sdr(references, gain * estimates), plain, atol=1e-6)


def test_track_measures_of_silence_are_nan():
    zeros = np.zeros((1, 2, 100), np.float32)
    assert np.isnan(measures.track_sdr(zeros, zeros)).all()
    assert np.isnan(measures.si_sdr(zeros, zeros + 1)).all()
    assert np.isnan(measures.si_sdr(zeros + 1, zeros)).all()
