import pytest
import torch

from hyperstem.config import ConfigError, UNetConfig, from_mapping, network_config, to_mapping
from hyperstem.network import MetaTasNet, MetaUNet, bands, build
from unets import lively_unet, small_sizes


@torch.no_grad()
def separated(network: MetaUNet, wave: torch.Tensor) -> torch.Tensor:
    return network([wave])[0].stems


def tone(length: int, left: float = 1.0, right: float = 1.0) -> torch.Tensor:
    wave = torch.sin(0.3 * torch.arange(length)) + 0.5 * torch.sin(0.11 * torch.arange(length))
    return wave * torch.tensor([[left], [right]])[None]


@pytest.mark.parametrize("length", [1, 31, 32, 33, 500, 4001])
def test_stems_have_the_mixtures_length_and_add_up_to_it(length: int) -> None:
    network, wave = lively_unet(), tone(length, 1.0, 0.3)
    stems = separated(network, wave)
    assert stems.shape == (1, 4, 2, length)
    inside = slice(128, -128) if length > 300 else slice(0, 0)  # beyond lies what a cut tone has at half the rate
    torch.testing.assert_close(stems.sum(1)[..., inside], wave[..., inside], atol=2e-3, rtol=0)
    if length > 1:
        assert (stems[:, 0] - stems[:, 1]).abs().max() > 1e-3


def test_equal_channels_stay_equal_to_the_last_bit() -> None:
    stems = separated(lively_unet(), tone(3000))
    assert torch.equal(stems[:, :, 0], stems[:, :, 1])


def test_channels_that_differ_get_masks_of_their_own() -> None:
    output = lively_unet()([tone(3000, 1.0, 0.1)])[0]
    left, right = output.latent.unbind(2)
    assert (left - right).abs().max() > 0.1


def test_masks_add_up_to_one_and_a_stem_without_weight_is_silent() -> None:
    raw = torch.randn(2, 3, 5, 7, 4)
    raw[:, 1, 0] = -1e4
    mask = bands.masks(raw, torch.rand(2, 1, 7, 4))
    total = mask.sum(1)
    torch.testing.assert_close(total[..., 0], torch.ones_like(total[..., 0]))
    torch.testing.assert_close(total[..., 1], torch.zeros_like(total[..., 1]), atol=1e-5, rtol=0)
    assert not mask[:, 1].any()


def test_the_items_of_a_batch_do_not_hear_each_other() -> None:
    network, waves = lively_unet(), torch.cat([tone(2000), 0.3 * torch.randn(1, 2, 2000)])
    together = separated(network, waves)
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], separated(network, waves[i : i + 1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("parameters", ["generated", "independent", "shared"])
def test_the_folded_network_is_the_same_without_generator(parameters: str) -> None:
    network, wave = lively_unet(parameters=parameters), tone(2500, 0.4, 1.0)
    folded = network.folded()
    torch.testing.assert_close(separated(folded, wave), separated(network, wave), atol=1e-5, rtol=0)
    assert folded.embedding is None
    assert not list(folded.extractor.parameters())


def test_stems_share_one_extractor_but_for_the_heads_where_sizes_say_so() -> None:
    network = lively_unet(parameters="shared")
    names = {name for name, weight in network.extractor.named_parameters() if weight.shape[0] == 4 and weight.ndim > 1}
    assert names
    assert all(name.startswith("heads") for name in names)


def test_generated_norms_begin_neutral() -> None:
    torch.manual_seed(0)
    network = MetaUNet(small_sizes())
    for module in network.modules():
        if type(module).__name__ == "StemNorm2d":
            assert (module.scale(network.embedding) - 1).abs().max() < 1e-6
            assert module.shift(network.embedding).abs().max() < 1e-6


def test_every_weight_learns() -> None:
    network = lively_unet().train()
    network([torch.randn(2, 2, 3000)])[0].stems[:, 0].square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(
    ("waves", "said"),
    [
        ([torch.zeros(1, 1, 100)], r"\(1, 1, 100\)"),
        ([torch.zeros(2, 100)], "expected one"),
        ([], "none"),
        ([torch.zeros(1, 2, 0)], "expected one"),
        ([torch.zeros(1, 2, 100, dtype=torch.int32)], "int32"),
        ([torch.full((1, 2, 100), torch.nan)], "not finite"),
    ],
)
def test_waves_that_do_not_fit_are_refused(waves: list[torch.Tensor], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        lively_unet()(waves)


def test_sizes_travel_through_json_and_say_their_family() -> None:
    sizes = small_sizes()
    assert network_config(to_mapping(sizes), "here") == sizes
    assert isinstance(build(sizes), MetaUNet)
    assert isinstance(build(network_config({"latent_dim": 16, "mels": 8, "stages": 1}, "here")), MetaTasNet)
    with pytest.raises(ConfigError, match=r"network is \['meta-unet'\]; allowed are"):
        network_config({"network": ["meta-unet"]}, "here")
    with pytest.raises(ConfigError, match="'other'; allowed are 'meta-tasnet', 'meta-unet'"):
        network_config({"network": "other"}, "here")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"band_bins": (16, 47)}, "whole number"),
        ({"band_bins": (16, 45)}, "n_fft 128 has 64"),
        ({"band_widths": (1,)}, "for every band"),
        ({"blocks": (1,)}, "2 levels lie above"),
        ({"band_bins": (17, 47), "band_widths": (1, 1), "n_fft": 128, "channels": (8, 8, 8, 8, 8, 8, 8, 8)}, "entries"),
        ({"column_strides": (3, 1)}, "at most 2"),
        ({"stems": ("one",)}, "two or more"),
        ({"n_fft": 130}, "multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(change: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        small_sizes(**change)


def test_the_default_sizes_cover_all_bins() -> None:
    sizes = from_mapping(UNetConfig, {"network": "meta-unet"}, "here")
    assert sum(sizes.band_bins) == sizes.n_fft // 2
    assert sizes.rows % 8 == 0
