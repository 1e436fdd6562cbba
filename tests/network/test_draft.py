"""A Meta-U-Net that refines the stems of a Meta-TasNet."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hyperstem.config import ConfigError, network_config, to_mapping
from hyperstem.dsp.resample import pyramid
from hyperstem.models import onnx_engine, store
from hyperstem.models.export import export
from hyperstem.network import MetaTasNet, MetaUNet, bands, build
from hyperstem.training.initial_weights import load_matching
from unets import lively_unet, small_draft, small_sizes


def waves(stages: int = 1, length: int = 8000, batch: int = 2, channels: int = 2) -> list[torch.Tensor]:
    """Noise below three quarters of the band, at the rates of the stages; `length` is that of the last."""
    rates_hz = [8000 << i for i in range(stages)]
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal((batch, channels, length)))
    spectrum[..., 3 * spectrum.shape[-1] // 4 :] = 0
    wave = np.repeat(np.fft.irfft(spectrum, length).astype(np.float32), 2 // channels, axis=1)
    return [torch.from_numpy(np.ascontiguousarray(each)) for each in pyramid(wave, rates_hz[-1], rates_hz)]


@pytest.mark.parametrize("length", [800, 8000, 8013])
def test_stems_have_the_mixtures_length_and_sum_to_it(length: int) -> None:
    network, (wave,) = lively_unet(draft=small_draft()), waves(length=length)
    with torch.no_grad():
        (result,) = network([wave])
    assert result.stems.shape == (2, 4, 2, length)
    inside = slice(128, -128)  # beyond lies what a cut noise has at half the rate
    torch.testing.assert_close(result.stems.sum(1)[..., inside], wave[..., inside], atol=2e-3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("length", [6400, 16013])
def test_octaves_above_the_refined_stage_stay_as_they_are(length: int) -> None:
    network, given = lively_unet(draft=small_draft(3)), waves(3, length)
    refined, draft = network(given), network.draft(given)
    assert torch.equal(refined[1].stems, draft[1].stems)
    change = refined[2].stems - draft[2].stems
    assert change.shape == (2, 4, *given[2].shape[1:]) and change.std() > 0.01
    spectrum = torch.fft.rfft(change[..., 1000:5000] * torch.hann_window(4000)).abs()
    above = round(4400 / 32000 * 4000)  # beyond the filter's transition above 4 kHz
    assert spectrum[..., above:].max() < 1e-3 * spectrum.max()


@torch.no_grad()
def test_below_the_octaves_lies_what_the_first_rate_alone_gives() -> None:
    network, given = lively_unet(draft=small_draft(2)), waves(2, 16000)
    spectra = network.refined(
        network.spectrum(given[0]), network.draft_spectra(network.draft(given[:1])[0].stems, network.spectrum(given[0]))
    ).spectra
    low = bands.waveform(spectra, network.config.n_fft, given[0].shape[-1])
    change = network(given)[-1].stems - network.draft(given)[-1].stems
    gain = (given[1][..., ::2] * given[0]).sum() / given[0].square().sum()  # both rates are normalised by themselves
    expected = (low - network.draft(given[:1])[0].stems) * gain
    torch.testing.assert_close(change[..., ::2], expected, atol=0.05, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("stages", [1, 2])
def test_fewer_rates_give_the_draft(stages: int) -> None:
    network, given = lively_unet(draft=small_draft(3)), waves(3)
    fewer = network(given[:stages])
    assert len(fewer) == stages
    assert torch.equal(fewer[-1].stems, network.draft(given[:stages])[-1].stems)


def test_drafts_are_completed_by_their_power() -> None:
    mixture, drafts = torch.randn(2, 2, 5, 6, 2), torch.randn(2, 3, 2, 5, 6, 2)
    drafts[:, 1] = 0
    complete = bands.completed(drafts, mixture)
    torch.testing.assert_close(complete.sum(1), mixture)
    assert complete[:, 1].abs().max() < 1e-4
    torch.testing.assert_close(bands.completed(complete, mixture), complete)


def test_masks_distribute_what_the_drafts_leave() -> None:
    mixture, drafts = torch.randn(2, 2, 5, 6, 2), torch.randn(2, 3, 2, 5, 6, 2)
    masks = torch.zeros_like(drafts)
    masks[:, 1, ..., 0] = 1.0
    stems = bands.refine(masks, drafts, mixture)
    assert torch.equal(stems[:, [0, 2]], drafts[:, [0, 2]])
    torch.testing.assert_close(stems.sum(1), mixture)


@torch.no_grad()
def test_equal_channels_stay_equal_to_the_last_bit() -> None:
    stems = lively_unet(draft=small_draft())(waves(channels=1))[-1].stems
    assert torch.equal(stems[:, :, 0], stems[:, :, 1])


@torch.no_grad()
def test_the_network_sees_the_draft() -> None:
    network, (wave,) = lively_unet(draft=small_draft()), waves()
    mixture = network.spectrum(wave)
    draft = network.draft_spectra(network.draft([wave])[0].stems, mixture)
    masks = network.refinement(mixture, draft).masks
    assert (masks - network.refinement(mixture, 0.1 * draft).masks).abs().max() > 1e-2


@pytest.mark.parametrize("stems", [None, ["vocals", "bass"]])
@pytest.mark.parametrize(("stages", "length"), [(1, 900), (1, 8013), (3, 8013)])
def test_the_exported_network_gives_what_torch_gives(
    tmp_path: Path, stages: int, length: int, stems: list[str] | None
) -> None:
    network, given = lively_unet(draft=small_draft(stages)), waves(stages, length)
    for weight in network.extractor.heads.parameters():
        weight.data.mul_(0.1)  # masks enlarge the rounding of the layers before them
    export(network, tmp_path / "net.onnx", stems=stems)
    runtime = onnx_engine.load(tmp_path / "net.onnx", threads=1)
    chosen = [network.config.stems.index(stem) for stem in stems or network.config.stems]
    arrays = [wave.numpy() for wave in given]
    for count in range(1, stages + 1):
        with torch.no_grad():
            expected = network(given[:count])[-1].stems.numpy()[:, chosen]
        error = runtime.separate(arrays[:count]) - expected  # largest where the logarithm of a faint draft is seen
        assert np.sqrt(np.square(error).mean()) < 1e-5
        assert np.abs(error).max() < 3e-4


def test_an_export_of_fewer_stages_is_the_draft(tmp_path: Path) -> None:
    network, given = lively_unet(draft=small_draft(3)), waves(2)
    export(network, tmp_path / "net.onnx", stages=2)
    runtime = onnx_engine.load(tmp_path / "net.onnx", threads=1)
    assert runtime.config == network.draft.config.first_stages(2)
    with torch.no_grad():
        expected = network(given)[-1].stems.numpy()
    np.testing.assert_allclose(runtime.separate([wave.numpy() for wave in given]), expected, atol=3e-4)


def test_a_plain_export_computes_draft_and_masks(tmp_path: Path) -> None:
    import onnxruntime

    network, (wave,) = lively_unet(draft=small_draft()), waves()
    export(network, tmp_path / "net.onnx", plain=True)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    feeds = {
        "wave0": wave.numpy(),
        "mixture": np.ones((2, 2, 8, 64, 2), np.float32),
        "draft": np.ones((2, 8, 64, 8), np.float32),
    }
    draft, masks, shares = session.run(["stems", "masks", "shares"], feeds)
    with torch.no_grad():
        np.testing.assert_allclose(draft, network.draft([wave])[0].stems.numpy(), atol=3e-4)
    assert masks.shape == (4, 8, 8, network.config.rows) and shares.shape == (2, 4, 8, network.config.rows)


def test_a_model_file_keeps_the_draft(tmp_path: Path) -> None:
    network = lively_unet(draft=small_draft())
    store.save(tmp_path / "net.safetensors", network)
    loaded = store.load(tmp_path / "net.safetensors")
    assert loaded.config == network.config
    with torch.no_grad():
        assert torch.equal(loaded(waves())[-1].stems, network(waves())[-1].stems)


def test_the_draft_is_taken_from_a_meta_tasnet_and_stays_as_it_is(tmp_path: Path) -> None:
    tasnet = MetaTasNet(small_draft())
    store.save(tmp_path / "draft.safetensors", tasnet)
    network = MetaUNet(small_sizes(draft=small_draft()))
    match = load_matching(network, tmp_path / "draft.safetensors")
    assert match.unused == [] and len(match.loaded) == len(tasnet.state_dict())
    for name, value in tasnet.state_dict().items():
        assert torch.equal(network.state_dict()[f"draft.{name}"], value)
    assert not any(weight.requires_grad for weight in network.draft.parameters())


def test_a_meta_tasnet_starts_from_the_draft_of_a_network(tmp_path: Path) -> None:
    network = lively_unet(draft=small_draft(2))
    store.save(tmp_path / "net.safetensors", network)
    tasnet = build(small_draft(2))
    match = load_matching(tasnet, tmp_path / "net.safetensors")
    assert match.missing == [] and "encoder.place" in match.unused
    for name, value in tasnet.state_dict().items():
        assert torch.equal(network.state_dict()[f"draft.{name}"], value)


@torch.no_grad()
@pytest.mark.parametrize("parameters", ["generated", "independent"])
def test_a_network_without_a_draft_starts_one_with_a_draft(tmp_path: Path, parameters: str) -> None:
    alone = lively_unet(parameters=parameters)
    store.save(tmp_path / "alone.safetensors", alone)
    network = MetaUNet(small_sizes(draft=small_draft(), parameters=parameters)).eval()
    match = load_matching(network, tmp_path / "alone.safetensors")
    assert match.unused == [] and all(name.startswith("draft.") for name in match.missing)
    mixture = network.spectrum(waves()[0]).double()
    draft = torch.randn(2, 4, *mixture.shape[1:]).double()
    masks, shares = network.double().refinement(mixture, draft)
    torch.testing.assert_close(masks, alone.double().refinement(mixture, None).masks, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shares, torch.full_like(shares, torch.tensor(bands.KEPT).sigmoid().item()))


def test_settings_with_a_draft_survive_a_file_and_give_the_draft_for_fewer_stages() -> None:
    sizes = small_sizes(draft=small_draft(3))
    assert network_config(to_mapping(sizes), "model") == sizes
    assert sizes.rates_hz == (8000, 16000, 32000) and not sizes.sums_to_mixture
    assert sizes.frame_samples == 128 and sizes.hop == 32
    assert sizes.first_stages(2) == sizes.draft.first_stages(2) and sizes.first_stages(3) == sizes
    assert small_sizes(draft=small_draft()).sums_to_mixture
    with pytest.raises(ConfigError, match="4 stages requested"):
        sizes.first_stages(4)


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        ({"audio_channels": 1}, "1 audio channel"),
        ({"stems": ("a", "b")}, "has the stems"),
        ({"base_rate_hz": 4000}, "it must be rate_hz, 8000"),
        ({"stages": 2, "octaves": False}, "without octaves"),
    ],
)
def test_drafts_that_do_not_fit_are_refused(draft: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_sizes(draft=small_draft(**draft))


@pytest.mark.parametrize("change", ["one", "long", "three"])
def test_waves_that_do_not_fit_are_refused(change: str) -> None:
    network, (low, high) = lively_unet(draft=small_draft(2)), waves(2)
    wrong = {"one": [low[:1], high], "long": [low, high[..., :-100]], "three": [low, high, high]}[change]
    with pytest.raises(ConfigError):
        network(wrong)
