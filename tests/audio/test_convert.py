import numpy as np
import pytest

from hyperstem.audio.convert import Converter, stereo_weights, with_channels
from separation_standin import noise

HALF = 2**-0.5


@pytest.mark.parametrize(
    ("channels", "left"),
    [
        (1, [1]),
        (2, [1, 0]),
        (3, [1, 0, HALF]),
        (4, [1, 0, HALF, 0]),
        (5, [1, 0, HALF, HALF, 0]),
        (6, [1, 0, HALF, 0, HALF, 0]),
        (8, [1, 0, HALF, 0, HALF, 0, HALF, 0]),
    ],
)
def test_downmix_weights_are_those_of_bs_775(channels, left):
    weights = stereo_weights(channels)
    np.testing.assert_allclose(weights[0], left, atol=1e-6)
    mirrored = np.array(left)
    pairs = {2: [(0, 1)], 3: [(0, 1)], 4: [(0, 1), (2, 3)], 5: [(0, 1), (3, 4)], 6: [(0, 1), (4, 5)]}
    for a, b in pairs.get(channels, [] if channels == 1 else [(0, 1), (4, 5), (6, 7)]):
        mirrored[[a, b]] = mirrored[[b, a]]
    np.testing.assert_allclose(weights[1], mirrored, atol=1e-6)


def test_named_loudspeakers_decide():
    np.testing.assert_allclose(stereo_weights(3, ("FR", "LFE", "SL")), [[0, 0, HALF], [1, 0, 0]], atol=1e-6)
    assert stereo_weights(20).sum() == 20


def test_channels_are_repeated_mixed_or_filled():
    wave = noise(6, 100)
    assert with_channels(wave[:1], 2).tolist() == [wave[0].tolist()] * 2
    np.testing.assert_allclose(with_channels(wave, 2), stereo_weights(6) @ wave, atol=1e-6)
    np.testing.assert_allclose(with_channels(wave[:2], 1)[0], wave[:2].mean(axis=0))
    assert with_channels(wave[:2], 3).shape == (3, 100)


def test_rates_that_change_are_brought_to_one():
    converter = Converter(44_100, 2)
    waves = [*converter.push(noise(2, 44_100), 44_100), *converter.push(noise(1, 48_000), 48_000)]
    waves += [*converter.push(noise(2, 22_050), 22_050), *converter.push(noise(2, 100), 44_100), *converter.finish()]
    assert sum(wave.shape[1] for wave in waves) == 3 * 44_100 + 100
    assert all(wave.shape[0] == 2 for wave in waves)
