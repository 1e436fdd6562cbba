import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.dsp.residual import CELL, ResidualSharing, share_by_frequency


def share(mixture: np.ndarray, stems: np.ndarray, block: int):
    sharing = ResidualSharing(len(stems), len(mixture))
    parts = [
        sharing.push(mixture[:, at : at + block], stems[..., at : at + block])
        for at in range(0, mixture.shape[1], block)
    ]
    parts.append(sharing.push(mixture[:, :0], stems[..., :0], last=True))
    return (
        np.concatenate([part.mixture for part in parts], axis=-1),
        np.concatenate([part.stems for part in parts], axis=-1),
    )


def signals(length: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(length)
    stems = rng.standard_normal((3, channels, length)).astype(np.float32) * [[[1]], [[0.1]], [[0.3]]]
    return rng.standard_normal((channels, length)).astype(np.float32), stems.astype(np.float32)


@given(length=st.integers(1, 5000), block=st.integers(1, 3000))
@settings(deadline=None, max_examples=60)
def test_stems_sum_to_the_mixture_whatever_the_blocks(length, block):
    mixture, stems = signals(length)
    same, shared = share(mixture, stems.copy(), block)
    assert np.array_equal(same, mixture)
    assert shared.shape == stems.shape
    assert np.abs(shared.sum(axis=0) - mixture).max() < 1e-5
    assert np.allclose(shared, share(mixture, stems.copy(), 1777)[1], atol=1e-6)


@given(length=st.integers(1, 9000), rate_hz=st.sampled_from([100, 8000, 32000]), quiet=st.sampled_from([0, 1e-4, 1]))
@settings(deadline=None, max_examples=40)
def test_shared_by_frequency_stems_sum_to_the_mixture(length, rate_hz, quiet):
    mixture, stems = signals(length)
    pairs = np.stack([mixture, -mixture[::-1]])
    shared = share_by_frequency(pairs, np.stack([stems, stems * quiet]).astype(np.float32), rate_hz)
    assert shared.dtype == np.float32
    assert shared.shape == (2, *stems.shape)
    assert np.abs(shared.sum(axis=1) - pairs).max() < 1e-5
    alone = share_by_frequency(mixture, stems, rate_hz)
    assert np.allclose(shared[0], alone, atol=1e-6)  # items do not see each other


def test_what_is_missing_goes_to_the_stem_that_plays_there():
    time = np.arange(8000) / 8000
    low, high = (np.sin(2 * np.pi * hz * time).astype(np.float32)[None] for hz in (100, 2000))
    stems = np.stack([0.5 * low, 0.5 * high])
    shared = share_by_frequency(low + high, stems, 8000)
    middle = slice(800, 7200)  # the ends are steps, which are everywhere in the spectrum
    assert np.abs(shared[0] - low)[:, middle].max() < 2e-3
    assert np.abs(shared[1] - high)[:, middle].max() < 2e-3


def test_shares_follow_the_local_energy():
    length = CELL * 20
    stems = np.zeros((2, 1, length), np.float32)
    stems[0, :, : length // 2] = 0.5
    stems[1, :, length // 2 :] = 0.5
    stems[..., ::2] *= -1  # a wave with a slope
    mixture = stems.sum(axis=0) + 0.1
    _, shared = share(mixture, stems, 4000)
    early, late = slice(0, length // 2 - 2 * CELL), slice(length // 2 + 2 * CELL, length)
    assert np.allclose(shared[0, 0, early], stems[0, 0, early] + 0.1)
    assert np.allclose(shared[0, 0, late], 0)
    given = shared[1, 0] - stems[1, 0]
    assert np.abs(np.diff(given)).max() < 0.01  # no steps


def test_silent_stems_share_alike():
    mixture = np.full((1, 1000), 0.4, np.float32)
    _, shared = share(mixture, np.zeros((4, 1, 1000), np.float32), 300)
    assert np.allclose(shared, 0.1)
    _, shared = share(mixture * 0, np.zeros((4, 1, 1000), np.float32), 300)
    assert not shared.any()


def test_levels_far_apart_are_shared_the_same():
    mixture, stems = signals(3000)
    _, loud = share(mixture, stems.copy(), 3000)
    _, quiet = share(mixture * 2.0**-13, stems * np.float32(2.0**-13), 3000)
    assert np.allclose(quiet * 2.0**13, loud, atol=1e-6)


def test_a_low_stem_gets_little_of_what_lies_above_the_network():
    time = np.arange(CELL * 40) / 44100
    bass, cymbal, missing = (np.sin(2 * np.pi * hz * time).astype(np.float32)[None] for hz in (80, 3500, 12000))
    _, shared = share(bass + cymbal + missing, np.stack([bass, cymbal]), 4000)
    assert np.abs(shared[0] - bass).max() < 0.01


def test_what_lies_above_the_stems_goes_to_the_one_with_the_highest_sound():
    rng, time = np.random.default_rng(0), np.arange(44100) / 44100
    bass = 0.5 * np.sin(2 * np.pi * 100 * time)
    hat = 0.01 * np.sin(2 * np.pi * 14_000 * time)
    above = np.fft.irfft(np.fft.rfft(0.003 * rng.standard_normal(44100)) * (np.arange(22051) > 16_000), 44100)
    stems = np.stack([bass, hat])[:, None].astype(np.float32)
    mixture = (bass + hat + above)[None].astype(np.float32)
    shared = ResidualSharing(2, 1).push(mixture, stems.copy(), last=True)
    given = shared.stems - stems
    assert np.square(given[0]).sum() < 1e-4 * np.square(given[1]).sum()
    assert np.abs(shared.stems.sum(0) - mixture).max() < 1e-6
