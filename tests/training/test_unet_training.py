import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_songs import noise, songs, write_song
from hyperstem import Separator, cli
from hyperstem.config import STEMS, to_mapping
from hyperstem.data.dataset import SegmentDataset
from hyperstem.models import store
from hyperstem.network import MetaUNet, build
from hyperstem.network.unet_layers import MOMENTUM
from hyperstem.training.run import train
from hyperstem.training.settings import read
from hyperstem.training.trainer import NORM_BATCHES
from unets import small_draft

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = """
[model]
network = "meta-unet"
rate_hz = 8000
n_fft = 128
band_bins = [16, 48]
band_widths = [1, 3]
channels = [8, 8, 12]
blocks = [0, 1]
column_strides = [2, 1]
mixed_rows = [false, true]
core = 1
recurrent_dim = 6
extractor_channels = [4, 6]
segment_s = 1.0

[train]
steps = 4
batch = 2
optimizer = "adamw"
average = 0.9
device = "cpu"
threads = 1
tensorboard = false

[data]
root = "."
prepared = "prepared"
workers = 0

[[data.sources]]
name = "songs"
layout = "folders"
path = "songs"

[[data.validation]]
name = "clips"
layout = "folders"
path = "clips"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with prepared songs of noise."""
    folder = tmp_path_factory.mktemp("unet")
    songs(folder)
    write_song(folder / "clips" / "held-out", {stem: noise(90 + i) for i, stem in enumerate(STEMS)})
    path = folder / "unet.toml"
    path.write_text(CONFIG)
    assert cli.main(["prepare", str(path)]) == 0
    return path


def run(config: Path, folder: Path, *options: str) -> int:
    return cli.main(["train", str(config), "-o", str(folder), *options])


def test_it_is_trained_resumed_to_the_bit_exported_and_separates(config: Path, tmp_path: Path) -> None:
    assert run(config, tmp_path / "whole") == 0
    assert run(config, tmp_path / "parts", "--steps", "2") == 0
    assert run(config, tmp_path / "parts", "--resume") == 0
    whole, parts = (store.load(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert isinstance(whole, MetaUNet)
    for (name, one), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert cli.main(["export", str(tmp_path / "whole/last.safetensors"), str(tmp_path / "net.onnx")]) == 0
    stems = Separator.load(tmp_path / "net.onnx").separate(np.ones((1, 9000), np.float32), 8000)
    np.testing.assert_allclose(sum(stems[name] for name in stems), 1.0, atol=1e-5)


def test_features_are_standardised_by_what_the_training_mixtures_hold(config: Path, tmp_path: Path) -> None:
    assert run(config, tmp_path / "run", "--steps", "1") == 0
    network = store.load(tmp_path / "run/last.safetensors")
    assert isinstance(network, MetaUNet)
    assert network.mean.std() > 0
    assert not torch.equal(network.level, torch.ones_like(network.level))


def test_a_draft_is_loaded_stays_as_it_is_and_is_the_preview(config: Path, tmp_path: Path) -> None:
    draft = build(small_draft(3))
    store.save(tmp_path / "draft.safetensors", draft)
    sizes = json.dumps(to_mapping(small_draft(3))).replace('": ', '" = ')
    given = config.with_name("draft.toml")
    given.write_text(CONFIG.replace("segment_s = 1.0\n", f"segment_s = 1.0\ndraft = {sizes}\n"))
    assert cli.main(["prepare", str(given)]) == 0
    assert run(given, tmp_path / "run", "--set", f"init_draft={tmp_path / 'draft.safetensors'}") == 0
    trained = store.load(tmp_path / "run/last.safetensors")
    for name, weight in draft.state_dict().items():
        assert torch.equal(trained.state_dict()[f"draft.{name}"], weight), name
    assert cli.main(["export", str(tmp_path / "run/last.safetensors"), str(tmp_path / "net.onnx")]) == 0
    wave = noise(3)[:, :16000].astype(np.float32)
    for quality, rate_hz in (("preview", 8000), ("standard", 16000), ("full", 32000)):
        separator = Separator.load(tmp_path / "net.onnx", quality=quality)
        assert separator.rate_hz == rate_hz
        stems = separator.separate(wave, 8000)
        np.testing.assert_allclose(sum(stems[name] for name in stems), wave, atol=5e-3)


def test_the_norms_of_averaged_weights_are_measured_anew(config: Path, tmp_path: Path) -> None:
    assert run(config, tmp_path / "run", "--set", "average=0.5") == 0
    saved = store.load(tmp_path / "run/last.safetensors")
    settings = read(config)
    batches = SegmentDataset(settings.data.resolved(config.parent), settings.model, settings.train.batch, 0, 1)
    seen: list[torch.Tensor] = []
    handle = saved.encoder.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    saved.train()
    with torch.no_grad():
        for index in range(NORM_BATCHES):
            saved([batches[index].mixture[0]])
    handle.remove()
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(store.load(tmp_path / "run/last.safetensors").encoder.norm.running_mean, means)
    assert saved.encoder.norm.momentum == MOMENTUM


def test_weights_of_a_draft_need_a_draft(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, tmp_path / "run", "--set", "init_draft=x.safetensors") == 1
    assert "has no draft" in capsys.readouterr().err


def test_a_draft_needs_weights(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = json.dumps(to_mapping(small_draft(1))).replace('": ', '" = ')
    given = config.with_name("untrained.toml")
    given.write_text(CONFIG.replace("segment_s = 1.0\n", f"segment_s = 1.0\ndraft = {sizes}\n"))
    assert cli.main(["prepare", str(given)]) == 0
    assert run(given, tmp_path / "run") == 1
    assert "neither init nor init_draft gives its weights" in capsys.readouterr().err
    settings = read(given)
    train(settings, tmp_path / "given", network=build(settings.model))  # which is the caller's, with any weights
    assert (tmp_path / "given/last.safetensors").exists()


@pytest.mark.slow
def test_a_compiled_step_is_the_step(config: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    for name, options in {"plain": [], "compiled": ["--set", "compile=true"]}.items():
        assert run(config, tmp_path / name, "--steps", "1", *options) == 0
    plain, compiled = (store.load(tmp_path / name / "last.safetensors") for name in ("plain", "compiled"))
    for one, other in zip(plain.state_dict().values(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=3e-3, rtol=0.05)


@pytest.mark.parametrize("name", ["free", "large", "unet"])
def test_the_configs_describe_networks(name: str) -> None:
    settings = read(CONFIGS / f"{name}.toml")
    sizes = {"free": 0.9e6, "large": 10.9e6, "unet": 0.43e6}
    network = build(settings.model)
    assert isinstance(network, MetaUNet)
    own = sum(weight.numel() for part, weight in network.named_parameters() if not part.startswith("draft."))
    assert own == pytest.approx(sizes[name], rel=0.02)
