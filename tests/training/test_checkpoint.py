import pickle

import pytest
import torch

from hyperstem.errors import ModelError
from hyperstem.training import checkpoint


def test_round_trip(tmp_path):
    path = tmp_path / "run" / "checkpoint"
    state = {
        "weights": {"a": torch.randn(3, 4), "b": torch.arange(5)},
        "step": 7,
        "best": -float("inf"),
        "none": None,
        "optimizer": {"x": {"step": torch.tensor(3.0)}},
    }
    checkpoint.save(path, state, {"train": {"steps": 5, "betas": [0.9, 0.99]}})
    loaded, config = checkpoint.load(path)
    assert config == {"train": {"steps": 5, "betas": [0.9, 0.99]}}
    assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])
    assert torch.equal(loaded["weights"]["b"], state["weights"]["b"])
    assert (loaded["step"], loaded["best"], loaded["none"]) == (7, -float("inf"), None)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, {"step": 1}, {})

    def fails(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"step": 2}, {})
    monkeypatch.undo()
    assert checkpoint.load(path)[0] == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


class Foreign:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint"
    if protocol == "torch":
        torch.save({"state": Foreign()}, path)
    else:
        path.write_bytes(pickle.dumps(Foreign(), protocol=2))
    with pytest.raises(ModelError, match="not a hyperstem checkpoint"):
        checkpoint.load(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_damaged_file_is_named(tmp_path, share):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, {"x": torch.randn(1000)}, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=str(path)):
        checkpoint.load(path)


def test_other_files(tmp_path):
    path = tmp_path / "checkpoint"
    with pytest.raises(ModelError, match="nothing to resume"):
        checkpoint.load(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="not a hyperstem checkpoint"):
        checkpoint.load(path)
    torch.save({"format": 99, "config": "{}", "state": {}}, path)
    with pytest.raises(ModelError, match="format 99"):
        checkpoint.load(path)


def test_changes_are_named_by_dotted_keys():
    two, one = [{"name": "a", "weight": 1}, {"name": "b"}], [{"name": "a", "weight": 2}]
    old = {"train": {"steps": 5, "betas": [0.9, 0.99]}, "data": {"sources": two}}
    new = {"train": {"steps": 5, "betas": [0.8, 0.99]}, "data": {"sources": one}, "loss": {"x": 1}}
    found = checkpoint.changes(old, new)
    assert [change.key for change in found] == ["train.betas", "data.sources.0.weight", "data.sources.1", "loss"]
    assert str(found[1]) == "data.sources.0.weight: 1 -> 2"
    assert found[3].old is None
    assert checkpoint.changes(new, new) == []


def test_random_state():
    torch.manual_seed(3)
    state = checkpoint.random_state()
    first = torch.randn(4)
    checkpoint.restore_random_state(state)
    assert torch.equal(torch.randn(4), first)
