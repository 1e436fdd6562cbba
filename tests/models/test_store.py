"""Models on disk: saved whole, loaded strictly, found by name, checked against their card."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperstem import Separator
from hyperstem.config import network_config
from hyperstem.dsp.resample import normalise, pyramid
from hyperstem.errors import ModelError
from hyperstem.models import onnx_engine, store
from networks import TINY, noise_pyramid, small_network
from unets import lively_unet


@pytest.fixture
def network():
    return small_network(config=TINY)


@pytest.mark.parametrize("parameters", ["generated", "independent", "shared"])
def test_what_is_saved_comes_back(tmp_path, parameters):
    network = small_network(config=TINY, parameters=parameters, stems=("voice", "rest ü"))
    store.save(str(tmp_path / "model.safetensors"), network)
    back = store.load(str(tmp_path / "model.safetensors"))
    assert back.config == network.config
    assert not back.training
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in back.state_dict().items())


@torch.no_grad()
def test_half_precision_halves_the_file(tmp_path, network):
    for precision in ("float32", "float16"):
        store.save(tmp_path / f"{precision}.safetensors", network, precision)
    sizes = [(tmp_path / f"{precision}.safetensors").stat().st_size for precision in ("float32", "float16")]
    tensors = sum(tensor.numel() for tensor in network.state_dict().values())
    assert sizes[0] - sizes[1] == pytest.approx(2 * tensors, abs=64)
    back = store.load(tmp_path / "float16.safetensors")
    assert {tensor.dtype for tensor in back.state_dict().values()} == {torch.float32}
    assert all(
        torch.equal(tensor, network.state_dict()[name].half().float()) for name, tensor in back.state_dict().items()
    )
    assert back(noise_pyramid(TINY, 300))[-1].stems.isfinite().all()


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_counts_of_long_runs_are_kept(tmp_path, precision):
    network = lively_unet()
    network.encoder.norm.num_batches_tracked.fill_(1_000_000)
    store.save(tmp_path / "long.safetensors", network, precision)
    assert store.load(tmp_path / "long.safetensors").encoder.norm.num_batches_tracked == 1_000_000


def test_eight_bits_halve_it_again_and_keep_two_digits(tmp_path):
    network = small_network(config=TINY, latent_dim=256, bottleneck_dim=64, hidden_dim=64)
    for precision in ("float16", "int8"):
        store.save(tmp_path / f"{precision}.safetensors", network, precision)
    sizes = [(tmp_path / f"{precision}.safetensors").stat().st_size for precision in ("float16", "int8")]
    assert sizes[1] < 0.6 * sizes[0]
    back = store.load(tmp_path / "int8.safetensors").state_dict()
    for name, weight in network.state_dict().items():
        limit = weight.abs().max() / 250 if weight.numel() >= store.BLOCK else 1e-3 * weight.abs().max()
        assert (back[name] - weight).abs().max() <= limit, name
    store.save(tmp_path / "again.safetensors", store.load(tmp_path / "int8.safetensors"), "int8")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "int8.safetensors").read_bytes()


def test_scales_that_do_not_fit_are_told(tmp_path):
    tensors = {"a": torch.zeros(3, dtype=torch.int8), "b.scales": torch.zeros(1)}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"damaged.*b\.scales"):
        store.read_tensors(tmp_path / "x.safetensors")


def test_a_number_beyond_half_precision_is_told(tmp_path, network):
    with torch.no_grad():
        network.stages[0].encoder.mix.weight[0, 0] = 1e6
    with pytest.raises(ModelError, match=r"stages.0.encoder.mix.weight.*float16"):
        store.save(tmp_path / "model.safetensors", network, "float16")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_file(tmp_path, network, monkeypatch):
    path = tmp_path / "model.safetensors"
    store.save(path, network)
    old = path.read_bytes()

    def dies_halfway(tensors, where, metadata):
        where.write_bytes(old[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", dies_halfway)
    with pytest.raises(KeyboardInterrupt):
        store.save(path, network)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def rewrite(path, change=lambda tensors: tensors, **metadata):
    """The model at `path` with other tensors or metadata."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        old = file.metadata()
    new = {key: value for key, value in (old | metadata).items() if value is not None}
    save_file(change(load_file(path)), path, metadata=new)


@pytest.fixture
def saved(tmp_path, network):
    store.save(tmp_path / "model.safetensors", network)
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("cut", [0, 5, 100, -10])
def test_damaged_files(saved, cut):
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"model.safetensors is no safetensors file"):
        store.load(saved)


def test_missing_extra_and_misshapen_tensors_are_named(saved):
    whole = load_file(saved)
    name = "stages.1.decoder.split.weight"
    for change, word in (
        ({name: None}, name),
        ({"extra.weight": torch.ones(2)}, "extra.weight"),
        ({name: torch.ones(2)}, name),
    ):
        changed = {key: value for key, value in (whole | change).items() if value is not None}
        rewrite(saved, lambda _, changed=changed: changed)
        with pytest.raises(ModelError, match=f"does not fit.*{word}"):
            store.load(saved)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"format": None}, "nothing"),
        ({"format": "other-2"}, "other-2"),
        ({"config": None}, "hyperstem"),
        ({"config": "{"}, "config"),
        ({"config": "[]"}, "config"),
        ({"config": '{"latent": 1}'}, "latent"),
        ({"config": '{"stages": 9}'}, "stages"),
    ],
)
def test_foreign_metadata(saved, metadata, word):
    rewrite(saved, **metadata)
    with pytest.raises(ModelError, match=f"model.safetensors.*{word}"):
        store.load(saved)


def test_no_file(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelError, match="no weights"):
            store.load(path)


@pytest.fixture
def folder(saved, monkeypatch):
    """A named model, in a folder of models of its own."""
    home = saved.parent / "models" / "mine"
    home.mkdir(parents=True)
    saved.rename(home / "model.safetensors")
    (home / "card.json").write_text(
        json.dumps({"sha256": {"model.safetensors": store.sha256(home / "model.safetensors")}})
    )
    monkeypatch.setattr(store, "MODELS", home.parent)
    return home


def test_models_are_found_by_name_folder_and_file(folder):
    assert store.names() == ["mine"]
    for what in ("mine", folder, str(folder)):
        files = store.find(what)
        assert files.safetensors == folder / "model.safetensors"
        assert files.onnx is None
        assert files.card["sha256"]
    assert store.find(folder / "model.safetensors").card == {}


def test_a_changed_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match=r"model.safetensors is damaged or foreign: its SHA-256 is .*, its card says"):
        store.find("mine")


@pytest.mark.parametrize("card", ["{", "[]", "3", '{"sha256": 3}', '{"sha256": {}}', "{}", '{"sha256": null}'])
def test_damaged_cards(folder, card):
    (folder / "card.json").write_text(card)
    with pytest.raises(ModelError, match="mine"):
        store.find("mine")


def test_a_card_alone(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="neither"):
        store.find("mine")


@pytest.mark.parametrize("name", ["none", "../mine", "", "no/such/model.onnx"])
def test_unknown_names_list_the_known(folder, name):
    with pytest.raises(ModelError, match=r"no model .*mine"):
        store.find(name)


def test_other_files_are_told(tmp_path):
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    with pytest.raises(ModelError, match=r"song.wav is no model file"):
        store.find(tmp_path / "song.wav")


def test_one_network_gives_the_same_file_each_time(tmp_path):
    network = small_network(config=TINY)
    written = set()
    for i in range(8):  # the library orders metadata by chance
        store.save(tmp_path / f"{i}.safetensors", network)
        written.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(written) == 1
    again = store.load(tmp_path / "0.safetensors")
    assert again.config == network.config
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize(("name", "licence"), [("default", "CC BY-NC-SA 4.0"), ("free", "CC BY 4.0")])
def test_the_models_that_come_with_the_package(name, licence):
    files = store.find(name)
    assert files.card["license"] == licence
    assert (Path(__file__).parents[2] / files.card["page"]).is_file()
    network = store.load(files.safetensors)
    assert store.config_to_json(network.config) == store.config_to_json(onnx_engine.load(files.onnx, 1).config)
    assert network_config(files.card["config"], "the card") == network.config
    wave = 0.1 * np.random.default_rng(0).standard_normal((2, 22_050)).astype(np.float32)
    stems = Separator.load(name, threads=1).separate(wave, 44_100)
    np.testing.assert_allclose(stems.waves.sum(0), wave, atol=1e-5)
    with torch.no_grad():
        items = normalise(pyramid(wave[None], 44_100, network.config.rates_hz)).waves
        expected = network([torch.from_numpy(item) for item in items])[-1].stems.numpy()
    found = onnx_engine.load(files.onnx, 1).separate(items)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)  # both files are rounded to eight bits
