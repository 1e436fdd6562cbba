import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperstem.dsp.stft import istft, stft


def back(spectra: np.ndarray, n_fft: int, length: int) -> np.ndarray:
    return istft(lambda start, stop: spectra[..., start:stop, :], spectra.shape[-2], n_fft, length)


@given(length=st.integers(1, 9000), n_fft=st.sampled_from([16, 64, 2048]), seed=st.integers(0, 9))
def test_a_wave_comes_back_whatever_its_length(length: int, n_fft: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time = np.arange(length)
    wave = (rng.uniform(0.2, 1, (2, 1)) * np.sin(0.3 * np.pi * time + rng.uniform(0, 6, (2, 1)))).astype(np.float32)
    spectra = stft(wave, n_fft)
    assert spectra.shape == (2, length // (n_fft // 4) + 1, n_fft // 2)
    assert spectra.dtype == np.complex64
    result = back(spectra, n_fft, length)
    assert result.shape == wave.shape
    assert result.dtype == np.float32
    inner = slice(n_fft, max(n_fft, length - n_fft))  # at the ends a cut tone has something at half the rate, too
    np.testing.assert_allclose(result[:, inner], wave[:, inner], atol=2e-3)


def test_it_is_the_transform_that_the_network_was_trained_on() -> None:
    torch = pytest.importorskip("torch")
    from hyperstem.network.bands import spectrum, waveform

    wave = np.random.default_rng(0).normal(0, 1, (3, 2, 5000)).astype(np.float32)
    spectra = stft(wave, 256)
    theirs = spectrum(torch.from_numpy(wave), 256)  # (..., bin, frame, 2)
    np.testing.assert_allclose(spectra, torch.view_as_complex(theirs).transpose(-1, -2).numpy(), atol=2e-5)
    np.testing.assert_allclose(back(spectra, 256, 5000), waveform(theirs, 256, 5000).numpy(), atol=2e-5)


def test_white_noise_of_power_one_has_power_one_in_every_bin() -> None:
    wave = np.random.default_rng(1).normal(0, 1, 400_000).astype(np.float32)
    power = np.square(np.abs(stft(wave, 64)[8:-8])).mean(axis=0)
    np.testing.assert_allclose(power[1:], 1.0, atol=0.06)


def test_silence_stays_silence() -> None:
    assert not back(stft(np.zeros((2, 777), np.float32), 64), 64, 777).any()
