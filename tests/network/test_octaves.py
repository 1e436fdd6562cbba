import dataclasses

import numpy as np
import pytest
import torch

from hyperstem.config import STEMS, LossConfig
from hyperstem.dsp import upsample
from hyperstem.dsp.resample import normalise, pyramid
from hyperstem.dsp.upsample import TAPS
from hyperstem.network import build
from hyperstem.network.octaves import lower_band, octaves, upsampled
from hyperstem.training.losses import Objective, si_snr
from networks import SMALL, worst


def test_the_filter_passes_the_band_and_stops_its_image():
    impulse = torch.zeros(2 * TAPS)
    impulse[TAPS] = 1
    response = upsampled(impulse).numpy()
    level_db = 20 * np.log10(np.abs(np.fft.rfft(response, 1 << 14)) / 2)
    edge = len(level_db) // 2
    assert np.abs(level_db[: round(0.9 * edge)]).max() < 0.01
    assert level_db[round(1.1 * edge) :].max() < -80


@pytest.mark.parametrize("shape", [(3, 50), (1,), (2, 2, 700)])
def test_upsampling_keeps_every_sample(shape):
    waves = torch.randn(shape)
    twice = upsampled(waves)
    assert twice.shape == (*shape[:-1], 2 * shape[-1])
    assert torch.equal(twice[..., ::2], waves)


@pytest.mark.parametrize(("time", "length"), [(700, 1400), (64, 127), (65, 133), (1, 2)])
def test_arrays_are_upsampled_like_tensors(time, length):
    waves = torch.randn(2, 3, time)
    expected = torch.nn.functional.pad(upsampled(waves.double()), (0, length - 2 * time))
    np.testing.assert_allclose(upsample.upsampled(waves.numpy(), length), expected.numpy(), atol=1e-6)


def test_upsampling_outside_training_leaves_training_alone():
    waves = torch.randn(1, 30, requires_grad=True)
    with torch.inference_mode():
        upsampled(waves)
    upsampled(waves).sum().backward()
    assert waves.grad is not None


def test_the_lower_band_has_the_rate_and_level_of_the_next_stage():
    rng = np.random.default_rng(0)
    low = rng.standard_normal((1, 4, 2, 4000))
    low[..., :200] = low[..., -200:] = 0
    stems = np.fft.irfft(np.fft.rfft(low)[..., :1600], 16000)  # at 16 kHz, with nothing above 1.6 kHz
    high = 0.3 * np.diff(rng.standard_normal((1, 2, 16001)), n=1)
    high = np.fft.irfft(np.where(np.arange(8001) > 4500, np.fft.rfft(high), 0), 16000)  # above the lower rate
    mixture = normalise(pyramid(stems.sum(1) + high, 16000, (8000, 16000)))
    below = stems[..., ::2] / mixture.scales[0][:, None]
    lower, upper = (torch.from_numpy(wave) for wave in mixture.waves)
    result = lower_band(torch.from_numpy(below.astype(np.float32)), lower, upper)
    expected = stems / mixture.scales[1][:, None]
    assert worst(result[..., 400:-400], expected[..., 400:-400]) < 0.01


def by_octaves(**changes):
    torch.manual_seed(0)
    return build(dataclasses.replace(SMALL, octaves=True, **changes)).eval()


def noise(*shape, rates=2):
    return [torch.randn(*shape, 4000 << i) for i in range(rates)]


def test_the_octaves_of_stems_add_up_to_those_of_the_mixture():
    stems = noise(2, 4, 2, rates=3)
    mixtures = [wave.sum(1) for wave in stems]
    for parts, octave in zip(octaves(mixtures, stems), octaves(mixtures), strict=True):
        torch.testing.assert_close(parts.sum(1), octave, rtol=0, atol=1e-4)


def test_an_octave_holds_what_lies_above_the_rate_below():
    seconds = np.arange(32000) / 16000
    low, high = np.sin(2 * np.pi * 1000 * seconds), 0.1 * np.sin(2 * np.pi * 6000 * seconds)
    mixture = normalise(pyramid((low + high)[None, None].astype(np.float32), 16000, (8000, 16000)))
    octave = octaves([torch.from_numpy(wave) for wave in mixture.waves])[1] * float(mixture.scales[1].squeeze())
    assert worst(octave[..., 1000:-1000], torch.from_numpy(high[None, None, 1000:-1000]).float()) < 0.01


@torch.no_grad()
def test_a_stage_adds_its_octave_to_what_the_one_before_gives():
    network, mixtures = by_octaves(), noise(2)
    own, both = network.training_outputs(mixtures), network(mixtures)
    torch.testing.assert_close(both[1].stems, own[1].stems + lower_band(own[0].stems, *mixtures))
    torch.testing.assert_close(both[1].mixture, own[1].mixture + lower_band(own[0].mixture, *mixtures))
    assert torch.equal(both[1].latent, own[1].latent)


@torch.no_grad()
def test_a_quiet_octave_is_separated_like_a_loud_one():
    network, mixtures = by_octaves(), noise(2)
    below = lower_band(mixtures[0], *mixtures)
    octave = 100 * (mixtures[1] - below)

    def own(gain):
        return network.stages[1](mixtures[1], 200, network.training_outputs(mixtures)[0].latent, gain * octave).stems

    torch.testing.assert_close(own(0.01), 0.01 * own(1.0), rtol=1e-3, atol=1e-6)
    assert own(0.0).abs().max() < 0.01


def test_each_stage_is_scored_in_its_octave():
    network, stems = by_octaves(), noise(2, 4)
    mixtures = [wave.sum(1) for wave in stems]
    parts = Objective()(network, mixtures, stems, torch.ones(2, 4)).parts
    outputs, targets = network.training_outputs(mixtures), octaves(mixtures, stems)
    for stage in range(2):
        expected = si_snr(outputs[stage].stems, targets[stage]).mean(0)
        given = torch.stack([parts[f"stage{stage}/si_snr/{stem}"] for stem in STEMS])
        torch.testing.assert_close(given, expected.detach(), rtol=1e-3, atol=1e-3)


def test_a_stem_without_anything_in_an_octave_counts_as_silent_there():
    network, stems = by_octaves(), noise(2, 4)
    mixtures = [wave.sum(1) for wave in stems]
    stems[1][:, 2] = lower_band(stems[0][:, 2:3], *mixtures)[:, 0]
    parts = Objective(LossConfig(silence=1.0, dissimilarity=0.0, similarity=0.0))(
        network, mixtures, stems, torch.ones(2, 4)
    ).parts
    assert parts["stage1/si_snr/other"] == 0
    assert parts["stage1/silence"] > 0
    assert parts["stage0/silence"] == 0


@torch.no_grad()
def test_a_silent_lower_mixture_gives_silence():
    assert not lower_band(torch.randn(1, 2, 100), torch.zeros(1, 100), torch.randn(1, 200)).any()
