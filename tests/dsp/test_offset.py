import numpy as np
import pytest

from hyperstem.dsp.offset import constant_offset
from separation_standin import noise

TONE = (0.3 * np.sin(np.arange(48_000) * 0.05)).astype(np.float32)[None]


@pytest.mark.parametrize("value", [0.2, -0.05, 0.9])
def test_an_offset_is_found(value):
    assert constant_offset(noise(2, 48_000) + np.float32(value)) == pytest.approx(np.full((2, 1), value), abs=2e-3)
    assert constant_offset(np.full((1, 100), value, np.float32)) == pytest.approx(np.full((1, 1), value), abs=1e-5)


def test_channels_have_their_own():
    found = constant_offset(noise(2, 48_000) + np.array([[0], [0.3]], np.float32))
    assert found[0, 0] == 0
    assert found[1, 0] == pytest.approx(0.3, abs=2e-3)


@pytest.mark.parametrize(
    "wave", [noise(1, 48_000), TONE, np.maximum(TONE, 0), np.pad(TONE + 1, [(0, 0), (0, 4800)]), np.zeros((1, 9))]
)
def test_sounds_without_one(wave):
    assert constant_offset(wave.astype(np.float32)).max() == 0


def test_taking_it_off_16_bit_samples_and_adding_it_again_changes_nothing():
    wave = (np.rint((noise(1, 48_000) + 0.2) * 32768) / 32768).astype(np.float32)
    found = constant_offset(wave)
    np.testing.assert_array_equal((wave - found) + found, wave)
