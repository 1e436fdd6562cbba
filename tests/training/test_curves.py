"""The picture of a run."""

import builtins

import pytest

from hyperstem.training import curves
from hyperstem.training.journal import Journal


@pytest.fixture
def log(tmp_path):
    with Journal(tmp_path, tensorboard=False) as journal:
        yield journal


def trained(log, *steps):
    for step in steps:
        log.write("train", step, loss=-float(step), learning_rate=1e-3, audio_s_per_s=100.0)


def scored(log, step, **sdr):
    log.write("validation", step, sdr=sdr, si_snr=dict(sdr), sdr_fitted=dict(sdr), mean={"sdr": 1.0}, best=True)


def drawn(folder, monkeypatch):
    """The picture's lines by the title of their axes: label and points."""
    matplotlib = pytest.importorskip("matplotlib.figure")
    kept = []
    save = matplotlib.Figure.savefig

    def saving(figure, *rest, **options):
        kept.append(figure)
        save(figure, *rest, **options)

    monkeypatch.setattr(matplotlib.Figure, "savefig", saving)
    assert curves.draw(folder) == folder / "curves.png"
    return {
        axis.get_title(): [(line.get_label(), list(map(tuple, line.get_xydata()))) for line in axis.lines]
        for axis in kept[0].axes
    }


def test_losses_and_scores_are_drawn_over_the_steps(tmp_path, log, monkeypatch):
    trained(log, 10, 20)
    scored(log, 20, drums=3.0, bass=None)
    scored(log, 40, drums=4.0, bass=1.5)
    lines = drawn(tmp_path, monkeypatch)
    assert lines["loss"][0][1] == [(10, -10), (20, -20)]
    solid = dict(lines["validation, dB (solid: SDR, dashed: SI-SNR)"])
    assert solid["drums"] == [(20, 3.0), (40, 4.0)]
    assert solid["bass"] == [(40, 1.5)]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_validation_is_drawn_too(tmp_path, log, monkeypatch):
    trained(log, 10)
    lines = drawn(tmp_path, monkeypatch)
    assert lines["learning rate"][0][1] == [(10, 1e-3)]
    assert lines["validation, dB (solid: SDR, dashed: SI-SNR)"] == []


def test_there_is_no_picture_before_the_first_steps(tmp_path, log):
    pytest.importorskip("matplotlib")
    log.write("started", 0)
    assert curves.draw(tmp_path) is None
    assert not (tmp_path / "curves.png").exists()


def test_there_is_no_picture_without_matplotlib(tmp_path, log, monkeypatch):
    trained(log, 10)
    load = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert curves.draw(tmp_path) is None
