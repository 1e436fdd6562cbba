import json

import pytest

from hyperstem.cli import main
from hyperstem.models import store


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
