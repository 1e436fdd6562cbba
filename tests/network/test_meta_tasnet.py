"""The whole network: shapes, lengths, gradients through the stages, folding, bad input."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem.config import ConfigError, ModelConfig, from_mapping, load_toml
from hyperstem.network import MetaTasNet
from hyperstem.network.generator import Generated, Independent
from networks import SMALL, TINY, noise_pyramid, small_network, worst

SHAPES = {
    "one stage": {"stages": 1},
    "three stages": {"stages": 3},
    "four stages": {"stages": 4},
    "two stems": {"stems": ("voice", "rest")},
    "six stems": {"stems": tuple("abcdef")},
    "stereo": {"audio_channels": 2},
    "independent": {"parameters": "independent", "residual_bias": True},
    "shared": {"parameters": "shared", "stages": 3},
    "shared stereo": {"parameters": "shared", "audio_channels": 2},
    "kernel and hop apart": {"kernels": (7, 31, 3), "hop": 13},
    "hop of 20 ms": {"hop": 160, "kernels": (320, 400)},
    "octaves": {"stages": 3, "octaves": True},
    "octaves stereo": {"audio_channels": 2, "octaves": True},
    "shrinking latents": {"latent_dim": (32, 16)},
    "norm of one group": {"norm_groups": 1, "bottleneck_dim": 9},
    "frames of one sample": {"hop": 1, "kernels": (1,)},
}


def networks():
    return pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())


def expected_shapes(config, batch, lengths):
    channel = () if config.audio_channels == 1 else (config.audio_channels,)
    frames = config.frames(lengths)
    return [
        (
            (batch, len(config.stems), *channel, length),
            (batch, len(config.stems), stage.latent_dim, frames),
            (batch, *channel, length),
        )
        for stage, length in zip(config.stage_configs, lengths, strict=False)
    ]


@networks()
@torch.no_grad()
def test_shapes_and_lengths(changes):
    network = small_network(config=TINY, **changes)
    pyramid = noise_pyramid(network.config, 333)
    shapes = [tuple(tuple(part.shape) for part in output) for output in network(pyramid)]
    assert shapes == expected_shapes(network.config, 2, tuple(wave.shape[-1] for wave in pyramid))


@networks()
@torch.no_grad()
def test_folding_changes_nothing_and_leaves_no_generator(changes):
    network = small_network(config=TINY, **changes)
    folded = network.folded()
    assert not any(isinstance(module, Generated | Independent) for module in folded.modules())
    assert not any("embedding" in name or "bottleneck" in name for name in folded.state_dict())
    for ours, theirs in zip(
        folded(noise_pyramid(network.config, 200)), network(noise_pyramid(network.config, 200)), strict=True
    ):
        for part, other in zip(ours, theirs, strict=True):
            assert worst(part, other) < 5e-5
    assert any(isinstance(module, Generated | Independent) for module in network.modules()), (
        "the network itself was changed"
    )


@settings(max_examples=20)
@given(
    hop=st.integers(1, 160),
    kernels=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    length=st.integers(1, 700),
    stages=st.integers(1, 3),
    n_fft=st.integers(8, 64).map(lambda n: 2 * n),
    odd=st.integers(-1, 1),
    channels=st.integers(1, 2),
)
@torch.no_grad()
def test_any_length_comes_back_whole(hop, kernels, length, stages, n_fft, odd, channels):
    config = dataclasses.replace(
        TINY,
        hop=hop,
        kernels=(*kernels, max(hop, 3)),
        n_fft=n_fft,
        stft_hop=n_fft // 4,
        stages=stages,
        audio_channels=channels,
        blocks=1,
    )
    network = small_network(config=config)
    channel = () if channels == 1 else (channels,)
    lengths = [length] + [(length << i) + odd for i in range(1, stages)]
    outputs = network([torch.randn(1, *channel, size) for size in lengths])
    assert [output.stems.shape[-1] for output in outputs] == lengths
    assert [output.mixture.shape[-1] for output in outputs] == lengths
    assert all(part.isfinite().all() for output in outputs for part in output)


@torch.no_grad()
def test_fewer_rates_run_fewer_stages():
    network = small_network(config=TINY, stages=3)
    pyramid = noise_pyramid(network.config, 400)
    whole, cut = network(pyramid), network(pyramid[:2])
    assert len(cut) == 2
    assert all(
        torch.equal(a, b) for one, other in zip(cut, whole, strict=False) for a, b in zip(one, other, strict=True)
    )


def test_gradient_flows_from_the_last_stage_to_the_first_encoder():
    network = small_network(config=TINY, stages=3).train()
    outputs = network(noise_pyramid(network.config, 400))
    outputs[2].stems.square().mean().backward()
    first = network.stages[0]
    for tensor in (first.encoder.filters[0].weight, first.encoder.spectrogram.projection.weight, first.embedding):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0
    assert first.decoder.split.weight.grad is None, "stage 0's decoder has no part in stage 2"


@torch.no_grad()
def test_the_masked_latents_sum_to_the_unmasked():
    network = small_network(config=TINY)
    pyramid = noise_pyramid(network.config, 400)
    for stage, wave, output in zip(network.stages, pyramid, network(pyramid), strict=True):
        torch.testing.assert_close(output.latent.sum(1), stage.encode(wave), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            stage.decode(stage.encode(wave), wave.shape[-1]), output.mixture, rtol=1e-4, atol=1e-5
        )


@torch.no_grad()
def test_silence_gives_numbers():
    for changes in SHAPES.values():
        network = small_network(config=TINY, **changes)
        outputs = network([torch.zeros_like(wave) for wave in noise_pyramid(network.config, 100)])
        assert all(part.isfinite().all() for output in outputs for part in output)


@pytest.mark.parametrize(
    ("pyramid", "word"),
    [
        ([], "0 rates"),
        ([torch.zeros(1, 100 << i) for i in range(3)], "3 rates"),
        ([torch.zeros(1, 100), torch.zeros(1, 150)], "stage 1.*150.*200"),
        ([torch.zeros(1, 0)], "empty"),
        ([torch.zeros(100)], r"shape \(100,\).*\(batch, time\)"),
        ([torch.zeros(())], "shape"),
        ([torch.zeros(1, 2, 100)], r"\(1, 2, 100\).*\(batch, time\)"),
        ([torch.zeros(2, 100), torch.zeros(1, 200)], "stage 1.*batch 2"),
        ([torch.zeros(0, 100)], "batch"),
        ([torch.full((1, 100), torch.nan)], "stage 0.*not finite"),
        ([torch.zeros(1, 100), torch.full((1, 200), torch.inf)], "stage 1.*not finite"),
        ([torch.zeros(1, 100, dtype=torch.int16)], "int16"),
    ],
)
def test_wrong_input_is_told(pyramid, word):
    with pytest.raises(ConfigError, match=word):
        small_network(config=TINY)(pyramid)


def test_wrong_channels_are_told():
    with pytest.raises(ConfigError, match=r"\(batch, 2, time\)"):
        small_network(config=TINY, audio_channels=2)([torch.zeros(1, 1, 100)])


def test_statistics_per_stage():
    network = small_network(config=TINY)
    statistics = [(torch.full((stage.bins,), -3.0), torch.full((stage.bins,), 0.0)) for stage in TINY.stage_configs]
    network.set_spectrogram_statistics(statistics)
    assert network.stages[1].encoder.spectrogram.mean.unique().tolist() == [-3.0]
    assert network.stages[1].encoder.spectrogram.std.min() > 0
    with pytest.raises(ConfigError, match=r"1 stages.*2"):
        network.set_spectrogram_statistics(statistics[:1])


@pytest.mark.parametrize("changes", [{}, {"audio_channels": 2, "hop": 80, "kernels": (320, 160, 640)}])
@torch.no_grad()
def test_precisions_lower_than_single_stay_close(changes):
    network = small_network(config=SMALL, **changes)
    pyramid = noise_pyramid(network.config, 800)
    whole = network(pyramid)[-1].stems
    with torch.autocast("cpu", torch.bfloat16):
        half = network(pyramid)[-1].stems.float()
    assert worst(half, whole) < 0.1


def test_gradients_in_lower_precision_stay_close():
    network = small_network(config=SMALL, audio_channels=2, hop=80, kernels=(320, 160, 640))
    pyramid, grads = noise_pyramid(network.config, 800), []
    for lower in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            network(pyramid)[-1].stems.float().square().mean().backward()
        grads.append(torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None]))
    assert torch.nn.functional.cosine_similarity(*grads, dim=0) > 0.95


@pytest.mark.slow
@torch.no_grad()
def test_the_papers_size():
    config = from_mapping(
        ModelConfig, load_toml(Path(__file__).parents[2] / "configs" / "paper.toml")["model"], "paper.toml"
    )
    network = MetaTasNet(config).eval()
    assert round(sum(tensor.numel() for tensor in network.parameters()) / 1e5) == 455
    outputs = network(noise_pyramid(config, 1600, batch=1))
    assert [tuple(output.stems.shape) for output in outputs] == [(1, 4, 1600), (1, 4, 3200), (1, 4, 6400)]
    assert all(part.isfinite().all() for output in outputs for part in output)
