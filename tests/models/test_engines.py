import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.cli import main
from hyperstem.config import ModelConfig
from hyperstem.errors import ModelError
from hyperstem.models import engines, store
from hyperstem.separation.separator import Separator
from separation_standin import noise

SMALL = {
    "latent_dim": 32,
    "bottleneck_dim": 16,
    "hidden_dim": 16,
    "mels": 16,
    "blocks": 2,
    "stacks": 1,
    "segment_s": 0.5,
}


@pytest.fixture(scope="module", params=(1, 2), ids=("mono", "stereo"))
def model(request, tmp_path_factory) -> Path:
    """A folder with a small untrained network, exported."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from hyperstem.models.export import export
    from hyperstem.network import MetaTasNet

    torch.manual_seed(1)
    network = MetaTasNet(ModelConfig(audio_channels=request.param, **SMALL)).eval()
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    store.save(folder / "model.safetensors", network)
    export(network, folder / "model.onnx")
    hashes = {name: store.sha256(folder / name) for name in ("model.onnx", "model.safetensors")}
    (folder / "card.json").write_text(json.dumps({"trained": False, "licence": "CC0", "sha256": hashes}))
    return folder


@pytest.mark.parametrize("quality", ("preview", "standard", "full"))
@pytest.mark.parametrize("channels", (1, 2, 3))
def test_the_exported_network_and_torch_agree(model, channels, quality):
    wave = noise(channels, 60_000)
    exported = Separator.load(model, quality, device="cpu")
    torch_one = Separator.load(model / "model.safetensors", quality, device="cpu")
    assert exported.model_sha256 == store.sha256(model / "model.onnx")
    assert not exported.trained
    a, b = exported.separate(wave, 44100), torch_one.separate(wave, 44100)
    assert tuple(a) == ("drums", "bass", "other", "vocals")
    assert np.abs(a.waves - b.waves).max() < 1e-4
    assert np.abs(a.waves.sum(axis=0) - wave).max() < 1e-6


def test_thread_counts_agree(model):
    wave = noise(2, 100_000)
    results = [Separator.load(model, threads=threads).separate(wave, 44100).waves for threads in (1, 2, 4)]
    assert all(np.abs(result - results[0]).max() <= 1e-6 for result in results)


@pytest.mark.parametrize("level_db", (-80, 20))
def test_the_level_does_not_matter_to_a_real_network(model, level_db):
    gain = np.float32(10 ** (level_db / 20))
    wave = noise(2, 40_000)
    separator = Separator.load(model)
    expected = separator.separate(wave, 44100).waves
    assert np.abs(separator.separate(wave * gain, 44100).waves / gain - expected).max() < 1e-4


def test_torch_is_not_imported_for_an_exported_network(model, tmp_path):
    audio.write(tmp_path / "song.wav", noise(2, 30_000), 44100)
    code = (
        "import sys\nfrom hyperstem.cli import main\nstatus = main(sys.argv[1:])\n"
        "assert status == 0 and 'torch' not in sys.modules, status"
    )
    command = [sys.executable, "-c", code, "separate", "song.wav", "--model", str(model)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "is untrained" in done.stderr
    assert (tmp_path / "separated/song/vocals.wav").exists()


def test_cuda_where_there_is_none(model):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ModelError, match="torch finds no CUDA device"):
        engines.load(model, "cuda")
    with pytest.raises(ModelError, match="no safetensors file"):
        engines.load(model / "model.onnx", "cuda")


def test_a_model_that_decodes_only_some_stems_is_refused(model, tmp_path):
    from hyperstem.models.export import export

    export(store.load(model / "model.safetensors"), tmp_path / "vocals.onnx", stems=["vocals"])
    with pytest.raises(ModelError, match="decodes only vocals; separation needs drums, bass, other, vocals"):
        Separator.load(tmp_path / "vocals.onnx")


def test_models_are_listed_and_shown(model, monkeypatch, capsys):
    monkeypatch.setattr(store, "MODELS", model.parent)
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out.startswith("small        drums, bass, other, vocals; 32000 Hz, ")
    assert main(["models", "list", "--json"]) == 0
    (fact,) = json.loads(capsys.readouterr().out)
    assert (fact["name"], fact["rates_hz"], fact["trained"]) == ("small", [8000, 16000, 32000], False)
    assert main(["models", "show", "small"]) == 0
    shown = capsys.readouterr().out
    assert "licence" in shown
    assert store.sha256(model / "model.onnx") in shown
    assert main(["models", "show", str(model / "model.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["segment_s"] == 0.5


def test_named_models_are_found(model, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "MODELS", model.parent)
    assert Separator.load("small").model_name == "small"
