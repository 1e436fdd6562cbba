import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.residual import CELL, ResidualSharing


def share(mixture: np.ndarray, stems: np.ndarray, block: int):
    sharing = ResidualSharing(len(stems), len(mixture))
    parts = [sharing.push(mixture[:, at : at + block], stems[..., at : at + block])
             for at in range(0, mixture.shape[1], block)]
    parts.append(sharing.push(mixture[:, :0], stems[..., :0], last=True))
    return (np.concatenate([part.mixture for part in parts], axis=-1),
            np.concatenate([part.stems for part in parts], axis=-1))


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


def test_shares_follow_the_local_energy():
    length = CELL * 20
    stems = np.zeros((2, 1, length), np.float32)
    stems[0, :, : length // 2] = 0.5
    stems[1, :, length // 2 :] = 0.5
    mixture = stems.sum(axis=0) + 0.1
    _, shared = share(mixture, stems, 4000)
    assert np.allclose(shared[0, 0, : length // 2 - 2 * CELL], 0.6)
    assert np.allclose(shared[0, 0, length // 2 + 2 * CELL :], 0)
    assert np.abs(np.diff(shared[1, 0, length // 2 : length // 2 + CELL])).max() < 0.01  # no steps


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
