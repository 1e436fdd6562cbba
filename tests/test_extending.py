"""The examples of docs/extending.md and docs/models.md, run as they stand, and names that packages add."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from hyperstem import extensions
from hyperstem.cli import main
from hyperstem.config import ConfigError, LossConfig, SourceConfig
from hyperstem.data.tracks import find_tracks
from hyperstem.models import store
from hyperstem.training import journal
from hyperstem.training.losses import Objective
from networks import TINY, small_network

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def blocks(language, page=PAGE):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(extensions, "_registered", {extensions.LAYOUTS: {}, extensions.LOSSES: {}})


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy.toml").write_text(blocks("toml")[0], encoding="utf-8")
    for line in blocks("sh")[0].splitlines():
        assert main(shlex.split(line)[1:]) == 0
    Path("flat").mkdir()
    for path in Path("songs").glob("*/*.*"):
        if path.stem in ("drums", "bass", "other", "vocals"):
            wave, rate_hz = soundfile.read(path)
            soundfile.write(f"flat/{path.parent.name} - {path.stem}.wav", wave, rate_hz)
    for example in blocks("python"):
        exec(compile(example, str(PAGE), "exec"), {"__name__": "example"})  # noqa: S102 (our own page)
    for name in ("log-cosh", "mean-square", "one-folder", "recurrent"):
        assert Path("runs", name, "last.safetensors").is_file(), name
    parts = next(record for record in journal.read(Path("runs/log-cosh")) if record["event"] == "train")["parts"]
    assert "stage0/log_cosh/drums" in parts
    parts = next(record for record in journal.read(Path("runs/mean-square")) if record["event"] == "train")["parts"]
    assert set(parts) == {"error"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with entry points: a module and its metadata, as an installer leaves them."""
    (tmp_path / "their_package.py").write_text(
        "from hyperstem.data.tracks import Part\n\n"
        "def score(estimates, stems):\n    return -(estimates - stems).abs().mean(-1)\n\n"
        "def layout(folder, source):\n"
        "    return [(path.stem, [('vocals', Part(path))]) for path in sorted(folder.glob('*.wav'))]\n"
    )
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hyperstem.losses]\ntheirs = their_package:score\ngone = no_such_module:score\n\n"
        "[hyperstem.layouts]\ntheir-layout = their_package:layout\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("their_package", None)


def test_entry_points_of_a_package_are_found(package):
    assert extensions.names(extensions.LOSSES) == ["gone", "theirs"]
    objective = Objective(LossConfig(kind="theirs", reconstruction=0, dissimilarity=0, similarity=0))
    estimates, stems = torch.randn(2, 4, 50), torch.randn(2, 4, 50)
    scores = objective._scores(estimates, stems, torch.ones(2, 4))
    torch.testing.assert_close(scores, -(estimates - stems).abs().mean((0, 2)))
    (package / "songs").mkdir()
    soundfile.write(package / "songs" / "one.wav", torch.zeros(100).numpy(), 8000)
    source = SourceConfig("theirs", "their-layout", "songs", missing="silence")
    (track,) = find_tracks(source, package, ("drums", "vocals")).tracks
    assert track.name == "one" and set(track.rows) == {"vocals"}


def test_a_package_that_cannot_be_imported_is_told(package):
    with pytest.raises(ConfigError, match=r"'gone' in .* is no_such_module:score, which cannot be imported"):
        Objective(LossConfig(kind="gone"))


def test_names_that_nobody_knows_are_told(package):
    with pytest.raises(ConfigError, match="kind is 'l7'; allowed are 'si_snr', 'snr', 'gone', 'theirs'"):
        LossConfig(kind="l7")
    with pytest.raises(ConfigError, match=r"layout is 'odd'; allowed are 'musdb18', .*, 'solo', 'their-layout'"):
        SourceConfig("odd", "odd", ".")
    with pytest.raises(ConfigError, match=r"nothing is registered as 'x' in .*; there are their-layout"):
        extensions.find(extensions.LAYOUTS, "x")


def test_a_registered_name_replaces_an_installed_one(package):
    extensions.register(extensions.LOSSES, "theirs", max)
    assert extensions.find(extensions.LOSSES, "theirs") is max


def test_the_example_of_looking_inside_runs(tmp_path, monkeypatch):
    store.save(tmp_path / "model.safetensors", small_network(config=TINY))
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(blocks("python", PAGE.with_name("models.md"))[0], "models.md", "exec"), found)  # noqa: S102
    assert found["embeddings"].shape == (4, TINY.embedding_dim)
    assert found["kernel"].shape == (4, TINY.hidden_dim, TINY.bottleneck_dim)
    assert found["norm"].scale.shape == (4, TINY.hidden_dim)
    torch.testing.assert_close(found["masks"].sum(1), torch.ones_like(found["latent"]))
    torch.testing.assert_close(found["stems"], found["network"]([found["mixture"]])[0].stems, rtol=1e-4, atol=1e-5)
