"""`hyperstem convert`."""

import pytest
import torch

import authors_format as authors
from hyperstem.cli import main
from hyperstem.models import store
from hyperstem.models.authors import load_authors_checkpoint
from networks import noise_pyramid

ARGS = authors.ARGS | {"stages_num": 1, "layers": 1, "stack": 1}


@pytest.fixture
def checkpoint(tmp_path):
    return authors.write(tmp_path / "authors.pt", ARGS, authors.random_state(ARGS))


@torch.no_grad()
def test_converts_and_says_what_matched(checkpoint, tmp_path, capsys):
    assert main(["convert", str(checkpoint), str(tmp_path / "new" / "ours.safetensors")]) == 0
    count = len(authors.random_state(ARGS))
    assert f"all {count} tensors matched: 1 stages, generated parameters" in capsys.readouterr().out
    ours, theirs = store.load(tmp_path / "new" / "ours.safetensors"), load_authors_checkpoint(checkpoint)
    pyramid = noise_pyramid(ours.config, 800)
    assert torch.equal(ours(pyramid)[0].stems, theirs(pyramid)[0].stems)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda state: state.pop("stages.0.mask.prelu_1.weight"), "stages.0.mask.prelu_1.weight is missing"),
        (lambda state: state.update(more=torch.ones(1)), "more"),
        (lambda state: state.update({"stages.0.mask.prelu_1.weight": torch.ones(2)}), "shape (2,)"),
    ],
)
def test_failures_are_one_line_and_write_nothing(change, word, tmp_path, capsys):
    state = authors.random_state(ARGS)
    change(state)
    authors.write(tmp_path / "authors.pt", ARGS, state)
    assert main(["convert", str(tmp_path / "authors.pt"), str(tmp_path / "ours.safetensors")]) == 1
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ours.safetensors").exists()


def test_no_checkpoint(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "none.pt"), str(tmp_path / "ours.safetensors")]) == 1
    assert "no checkpoint" in capsys.readouterr().err


def test_another_ending_is_told_before_any_work(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(checkpoint), str(tmp_path / "ours.pt")])
    assert ended.value.code == 2
    assert ".safetensors" in capsys.readouterr().err
    assert not (tmp_path / "ours.pt").exists()
