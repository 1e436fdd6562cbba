"""docs/reproduce.md: its commands at toy size on folders in MUSDB18-HQ's layout, and what its configs hold."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hyperstem.cli import main
from hyperstem.config import AugmentConfig, DataConfig, LossConfig, MixingConfig, ModelConfig, TrainConfig, load_toml
from hyperstem.data.tracks import MUSDB_VALIDATION
from hyperstem.training.checkpoint import changes
from hyperstem.training.settings import read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
LEFT_OUT = {
    "independent": ["model.parameters"],
    "multitask": ["model.parameters"],
    "no-dissimilarity": ["loss.dissimilarity"],
    "no-similarity": ["loss.similarity"],
    "no-reconstruction": ["loss.reconstruction"],
    "no-remix": ["data.mixing.gain", "data.mixing.remix"],
    "no-spectrogram": ["model.spectrogram"],
    "one-kernel": ["model.kernels"],
    "one-stage": [
        f"model.{name}" for name in ("base_rate_hz", "hop", "kernels", "latent_dim", "n_fft", "stages", "stft_hop")
    ],
}
TOY = {
    "model.latent_dim": 32,
    "model.mels": 8,
    "model.bottleneck_dim": 16,
    "model.hidden_dim": 16,
    "model.blocks": 2,
    "model.stacks": 1,
    "model.segment_s": 0.5,
    "train.steps": 2,
    "train.device": "cpu",
    "train.tensorboard": "false",
    "data.workers": 0,
}


def names(kind):
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("paper-hq*.toml")), ids=lambda path: path.stem)
def test_every_value_is_written_out(path):
    tables = load_toml(path)
    assert names(ModelConfig) - {"octaves"} <= tables["model"].keys()
    assert names(LossConfig) <= tables["loss"].keys()
    assert names(TrainConfig) <= tables["train"].keys()
    assert names(DataConfig) - {"segment_s"} <= tables["data"].keys()
    assert names(MixingConfig) <= tables["data"]["mixing"].keys()
    assert names(AugmentConfig) <= tables["data"]["augment"].keys()


def test_the_papers_configs_agree():
    """Both are the paper's: what differs is where the data is, and how the run is watched."""
    found = changes(read(ROOT / "configs" / "paper.toml").mapping(), read(ROOT / "configs" / "paper-hq.toml").mapping())
    allowed = r"data\.(sources|validation)\.0\.(name|layout|path)|data\.workers|train\.(recompute|\w+_minutes)"
    assert [change.key for change in found if not re.fullmatch(allowed, change.key)] == []
    settings = read(ROOT / "configs" / "paper-hq.toml")
    assert (settings.model, settings.loss) == (ModelConfig(), LossConfig())


@pytest.mark.parametrize(("name", "keys"), LEFT_OUT.items(), ids=LEFT_OUT)
def test_a_variant_differs_in_what_it_says_alone(name, keys):
    base, variant = (read(ROOT / "configs" / f"paper-hq{part}.toml").mapping() for part in ("", f"-{name}"))
    assert sorted(change.key for change in changes(base, variant)) == keys


def test_the_page_names_every_config():
    assert {path.name for path in (ROOT / "configs").glob("paper-hq*.toml")} == set(
        re.findall(r"paper-hq[\w-]*\.toml", PAGE)
    )


@pytest.fixture
def musdb18_hq(tmp_path):
    """Three songs in MUSDB18-HQ's folders: one to train on, one for validation, one for the test."""
    rng = np.random.default_rng(0)
    for place in ("train/A - Song", f"train/{MUSDB_VALIDATION[0]}", "test/B - Song"):
        folder = tmp_path / "data" / "musdb18-hq" / place
        folder.mkdir(parents=True)
        stems = {name: 0.1 * rng.standard_normal((88200, 2)) for name in ("drums", "bass", "other", "vocals")}
        for name, wave in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(folder / f"{name}.wav", wave, 44100)
    return tmp_path / "data"


@pytest.mark.slow
def test_the_commands_of_the_page_run_at_toy_size(musdb18_hq, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYPERSTEM_DATA", str(musdb18_hq))
    toy = [word for key, value in TOY.items() for word in ("--set", f"{key}={value}")]
    toy += ["--set", f"data.prepared={tmp_path / 'prepared'}"]
    commands = re.search(r"```sh\n(export.*?)```", PAGE, re.S).group(1).splitlines()[1:]
    assert [line.split()[1] for line in commands] == ["prepare", "train", "evaluate"]
    for line in commands:
        words = shlex.split(line.replace("$HYPERSTEM_DATA", str(musdb18_hq)))[1:]
        words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
        assert main([*words, *(toy if words[0] != "evaluate" else ["--jobs", "1"])]) == 0
    summary = json.loads((tmp_path / "evaluation" / "paper-hq" / "summary.json").read_text())
    assert summary["songs"] == 1 and summary["subset"] == "test"
    labels = [method["method"] for method in summary["methods"]]
    assert labels[0] == "best" and "published" in labels[-1]
