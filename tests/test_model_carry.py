import dataclasses

import numpy as np
import pytest
import torch

from hyperstem.model import MetaTasNet
from hyperstem.model.carry import TAPS, carried, doubled, doubling_filter
from hyperstem.resample import normalise, pyramid
from networks import SMALL, worst


def test_the_filter_passes_the_band_and_stops_its_image():
    response = np.zeros(4 * TAPS)
    response[2 * TAPS] = 1
    offsets = np.arange(TAPS) - (TAPS // 2 - 0.5)
    response[(2 * TAPS + 2 * offsets).astype(int)] += doubling_filter()[1]
    level_db = 20 * np.log10(np.abs(np.fft.rfft(response, 1 << 14)) / 2)
    edge = len(level_db) // 2
    assert np.abs(level_db[: round(0.9 * edge)]).max() < 0.01
    assert level_db[round(1.1 * edge) :].max() < -80


@pytest.mark.parametrize("shape", [(3, 50), (1,), (2, 2, 700)])
def test_doubling_keeps_every_sample(shape):
    waves = torch.randn(shape)
    twice = doubled(waves)
    assert twice.shape == (*shape[:-1], 2 * shape[-1])
    assert torch.equal(twice[..., ::2], waves)


def test_carried_stems_are_those_of_the_song_at_the_new_rate_and_level():
    rng = np.random.default_rng(0)
    low = rng.standard_normal((1, 4, 2, 4000))
    low[..., :200] = low[..., -200:] = 0
    stems = np.fft.irfft(np.fft.rfft(low)[..., :1600], 16000)  # at 16 kHz, with nothing above 1.6 kHz
    high = 0.3 * np.diff(rng.standard_normal((1, 2, 16001)), n=1)
    high = np.fft.irfft(np.where(np.arange(8001) > 4500, np.fft.rfft(high), 0), 16000)   # above the lower rate
    mixture = normalise(pyramid(stems.sum(1) + high, 16000, (8000, 16000)))
    below = stems[..., ::2] / mixture.scales[0][:, None]
    lower, upper = (torch.from_numpy(wave) for wave in mixture.waves)
    result = carried(torch.from_numpy(below.astype(np.float32)), lower, upper)
    expected = stems / mixture.scales[1][:, None]
    assert worst(result[..., 400:-400], expected[..., 400:-400]) < 0.01


@torch.no_grad()
def test_a_new_stage_begins_with_what_the_one_before_gives():
    torch.manual_seed(0)
    network = MetaTasNet(dataclasses.replace(SMALL, refine=True)).eval()
    lower, upper = torch.randn(2, 4000), torch.randn(2, 8000)
    before, after = network([lower, upper])
    torch.testing.assert_close(after.stems, carried(before.stems, lower, upper))
    torch.testing.assert_close(after.mixture, carried(before.mixture[:, None], lower, upper)[:, 0])


def test_only_the_new_stage_learns_if_the_others_are_frozen():
    torch.manual_seed(0)
    network = MetaTasNet(dataclasses.replace(SMALL, refine=True))
    network.stages[0].requires_grad_(False)
    outputs = network([torch.randn(2, 4000), torch.randn(2, 8000)])
    outputs[1].stems.square().mean().backward()
    assert all(layer.weight.grad.any() for layer in network.stages[1].decoder.filters)


@torch.no_grad()
def test_silence_below_gives_silence():
    assert not carried(torch.zeros(1, 2, 100), torch.zeros(1, 100), torch.randn(1, 200)).any()
