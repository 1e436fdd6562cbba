"""Encoder, spectrogram and decoder."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hyperstem.config import ModelConfig
from hyperstem.network.decoder import Decoder
from hyperstem.network.encoder import Encoder, frame_padding
from hyperstem.network.spectrogram import Spectrogram, log_power
from networks import TINY, worst

SIZES = {
    "hop": st.integers(1, 30),
    "kernels": st.lists(st.integers(1, 70), min_size=1, max_size=3),
    "frames": st.integers(1, 9),
    "channels": st.integers(1, 2),
}


def stage_config(hop, kernels, **changes):
    longest = max([*kernels, hop])
    config = dataclasses.replace(TINY, hop=hop, kernels=(*kernels[:-1], longest), n_fft=16, stft_hop=5, **changes)
    return config.stage_configs[0]


@settings(max_examples=40)
@given(**SIZES)
def test_encoder_gives_a_frame_per_hop(hop, kernels, frames, channels):
    torch.manual_seed(0)
    stage = stage_config(hop, kernels)
    encoder = Encoder(stage, channels).eval()
    frames = max(frames, -(-9 // hop))
    wave = torch.randn(2, channels, frames * hop)
    assert encoder(wave).shape == (2, stage.latent_dim, frames)
    filtered = encoder.filtered(wave).chunk(len(encoder.filters), 1)
    for layer, features in zip(encoder.filters, filtered, strict=True):
        kernel = layer.kernel_size[0]
        before, after = frame_padding(kernel, hop)
        assert before + after == kernel - hop
        expected = F.conv1d(F.pad(wave, (100, 100)), layer.weight, stride=1)[..., 100 - before :: hop][..., :frames]
        assert worst(features, expected.relu(), floor=1e-3) < 1e-5


def test_without_a_spectrogram_the_filters_are_the_only_input():
    encoder = Encoder(stage_config(4, [8], spectrogram=False), 1)
    assert encoder.spectrogram is None
    wave = torch.randn(2, 1, 80)
    assert torch.equal(encoder(wave), encoder.mix(encoder.join(encoder.filtered(wave)).relu()))
    assert torch.equal(encoder(torch.zeros_like(wave), wave), encoder(wave))


@settings(max_examples=40)
@given(**SIZES)
def test_decoder_is_a_sum_of_transposed_convolutions(hop, kernels, frames, channels):
    torch.manual_seed(0)
    stage = stage_config(hop, kernels)
    decoder = Decoder(stage, channels)
    latent = torch.randn(2, stage.latent_dim, frames)
    split = F.conv1d(latent, decoder.split.weight).relu().split(decoder.widths, 1)
    expected = torch.zeros(2, channels, frames * hop)
    for part, layer in zip(split, decoder.filters, strict=True):
        before, _ = frame_padding(layer.kernel_size[0], hop)
        long = F.pad(F.conv_transpose1d(part, layer.weight, stride=hop), (hop, hop))
        expected += long[..., hop + before :][..., : frames * hop]
    assert worst(decoder(latent), expected, floor=1e-3) < 1e-5


def test_decoder_of_one_frame_places_the_kernel_in_its_middle():
    stage = stage_config(4, (12,))
    decoder = Decoder(stage, 1)
    with torch.no_grad():
        decoder.filters[0].weight.copy_(torch.arange(12.0).expand(8, 1, 12))
        decoder.split.weight.copy_(torch.full((8, 16, 1), 1 / 128))
    latent = torch.zeros(1, 16, 5)
    latent[..., 2] = 1.0
    assert decoder(latent)[0, 0].tolist() == pytest.approx([0.0] * 4 + list(range(12)) + [0.0] * 4)


@pytest.mark.parametrize("bin_", [3, 7, 20])
def test_a_tone_stands_at_its_bin(bin_):
    n_fft = 64
    wave = torch.cos(2 * torch.pi * bin_ / n_fft * torch.arange(640.0)).unsqueeze(0)
    power = log_power(wave, n_fft, 16)
    assert power.shape == (1, 33, 41)
    assert (power[0, :, 20].argmax() == bin_).item()
    # A periodic Hann window passes half of n_fft / 2.
    assert 10 ** power[0, bin_, 20].item() == pytest.approx((n_fft / 4) ** 2, rel=1e-3)


def test_silence_is_the_floor():
    assert log_power(torch.zeros(1, 300), 64, 16).unique().tolist() == pytest.approx([-8.0])


def test_statistics_standardise_and_have_a_floor():
    torch.manual_seed(0)
    stage = stage_config(4, (12,))
    spectrogram = Spectrogram(stage, 2)
    mean, std = torch.randn(stage.bins), torch.rand(stage.bins) + 0.5
    std[0] = 0.0
    spectrogram.set_statistics(mean, std)
    with torch.no_grad():
        spectrogram.scale.uniform_(0.5, 2.0)
        spectrogram.shift.normal_()
    wave = torch.randn(3, 2, 40)
    power = torch.stack([log_power(wave[:, channel].double(), 16, 5).float() for channel in (0, 1)], 1)
    standard = (power - mean[:, None]) / std.clamp(min=1e-3)[:, None]  # (batch, channel, bin, time)
    features = standard.flatten(1, 2) * spectrogram.scale[:, None] + spectrogram.shift[:, None]
    mels = F.linear(features.transpose(1, 2), spectrogram.projection.weight, spectrogram.projection.bias).transpose(
        1, 2
    )
    expected = F.interpolate(mels, 10, mode="linear", align_corners=True)
    assert worst(spectrogram.eval()(wave, 10), expected) < 1e-5
    with pytest.raises(ValueError, match="9"):
        spectrogram.set_statistics(torch.zeros(3), torch.ones(3))


def test_stft_of_every_stage_spans_the_same_time():
    spans = {stage.n_fft / stage.rate_hz for stage in ModelConfig(stages=4, kernels=(20,)).stage_configs}
    assert spans == {0.128}
