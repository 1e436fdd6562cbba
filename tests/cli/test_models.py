import json

import numpy as np
import pytest
import soundfile

from hyperstem.cli import main
from hyperstem.models import picture, store
from networks import TINY, small_network
from unets import lively_unet, small_draft


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty folder for named models; tests/models/test_engines.py lists and shows real ones."""
    monkeypatch.setattr(store, "MODELS", tmp_path)
    return tmp_path


def test_no_models(models, capsys):
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out == "no models are installed\n"
    assert main(["models", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_missing_model(models, capsys):
    assert main(["models", "show", "nothing"]) == 1
    assert capsys.readouterr().err.startswith("hyperstem: no model 'nothing'")


def test_a_damaged_model_is_named_and_the_others_are_still_listed(models, capsys):
    (models / "broken").mkdir()
    (models / "broken/model.onnx").write_text("changed")
    (models / "broken/card.json").write_text(json.dumps({"sha256": {"model.onnx": "0" * 64}}))
    assert main(["models", "list"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "damaged or foreign" in err
    assert err.count("\n") == 1


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit) as error:
        main(["models"])
    assert error.value.code == 2


@pytest.mark.parametrize(("channels", "parameters"), [(1, "generated"), (2, "independent")])
def test_embeddings_and_masks_are_drawn(tmp_path, channels, parameters, capsys):
    pytest.importorskip("matplotlib")
    network = small_network(config=TINY, audio_channels=channels, parameters=parameters)
    store.save(tmp_path / "model.safetensors", network)
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).standard_normal((16000, 2)) * 0.1, 16000)
    words = ["models", "show", str(tmp_path / "model.safetensors"), "--plot", str(tmp_path / "inside.png")]
    assert main([*words, "--song", str(tmp_path / "song.wav")]) == 0
    assert (tmp_path / "inside.png").read_bytes().startswith(b"\x89PNG")
    made = picture.masks(network, np.zeros((2, 16000), np.float32), 16000)
    assert [stage.values.shape[:2] for stage in made] == [(4, 16), (4, 32)]
    capsys.readouterr()
    assert main(words) == (0 if parameters == "generated" else 1)
    assert parameters == "generated" or "has no embeddings" in capsys.readouterr().err


@pytest.mark.parametrize("stages", [0, 2])
def test_masks_of_a_unet_are_drawn_beside_those_of_its_draft(tmp_path, stages):
    pytest.importorskip("matplotlib")
    network = lively_unet(draft=small_draft(stages) if stages else None)
    made = picture.masks(network, np.random.default_rng(0).standard_normal((2, 16000)), 16000)
    assert [stage.rows for stage in made] == [False] * stages + [True]
    assert made[-1].values.shape[:2] == (4, network.config.rows)
    assert 0 < made[-1].values.mean() < 1
    picture.draw(tmp_path / "inside.png", network, np.zeros((2, 16000), np.float32), 16000)
    assert (tmp_path / "inside.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_that_cannot_be_drawn_are_told(tmp_path, capsys):
    store.save(tmp_path / "model.safetensors", small_network(config=TINY))
    model = str(tmp_path / "model.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["models", "show", model, "--song", "song.wav"])
    assert ended.value.code == 2 and "--song needs --plot" in capsys.readouterr().err
    assert main(["models", "show", model, "--plot", str(tmp_path / "inside.txt")]) == 1
    assert "pictures are .png, .svg or .pdf" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]
