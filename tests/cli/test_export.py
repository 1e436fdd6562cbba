"""`hyperstem export`."""

import pytest

from hyperstem.cli import main
from hyperstem.models import onnx_engine, store
from networks import TINY, small_network

pytest.importorskip("onnx")


@pytest.fixture
def model(tmp_path):
    store.save(tmp_path / "model.safetensors", small_network(config=TINY))
    return str(tmp_path / "model.safetensors")


def test_exports_and_says_size_and_hash(model, tmp_path, capsys):
    output = tmp_path / "new" / "model.onnx"
    assert main(["export", model, str(output)]) == 0
    assert store.sha256(output) in capsys.readouterr().out
    assert onnx_engine.load(output).config == TINY


def test_stages_stems_and_precision(model, tmp_path):
    output = tmp_path / "model.onnx"
    assert (
        main(["export", model, str(output), "--stages", "1", "--stems", "vocals, drums", "--precision", "float16"]) == 0
    )
    session = onnx_engine.load(output)
    assert (session.stages, session.stems) == (1, ("vocals", "drums"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--stems", "piano"], "piano"),
        (["--stems", "bass,bass"], "twice"),
        (["--stages", "7"], "7"),
        (["--stages", "0"], "0"),
        (["--stems", ","], "--stems is ,"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(model, tmp_path, capsys, arguments, word):
    with pytest.raises(SystemExit) as ended:
        main(["export", model, str(tmp_path / "model.onnx"), *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert not (tmp_path / "model.onnx").exists()


def test_sources_that_have_no_weights(tmp_path, capsys, model):
    main(["export", model, str(tmp_path / "model.onnx")])
    for source, word in ((tmp_path / "none.safetensors", "no model"), (tmp_path / "model.onnx", "no .safetensors")):
        assert main(["export", str(source), str(tmp_path / "out.onnx")]) == 1
        assert word in capsys.readouterr().err


def test_another_ending_is_told(model, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", model, str(tmp_path / "model.bin")])
    assert ended.value.code == 2
    assert ".onnx" in capsys.readouterr().err
