"""The picture of a run shows every figure of the log, each by a name of its own."""

import pytest

from hyperstem.training import journal
from hyperstem.training.curves import _panels, draw

STEMS = [f"stem{i}" for i in range(12)]


def write(folder, steps=(10, 20)):
    with journal.Journal(folder, tensorboard=False) as log:
        log.write("started", 0)
        for step in steps:
            parts = {f"stage{stage}/si_snr/{stem}": 1.0 * step for stage in range(2) for stem in STEMS}
            log.write("train", step, loss=-1.0, parts=parts, learning_rate=1e-3, gradient_norm=2.0, audio_s_per_s=5.0)
            scores = {stem: None if stem == "stem0" and step == 10 else 3.0 for stem in STEMS}
            log.write("validation", step, sdr=scores, sdr_fitted=scores, si_snr=scores)


def test_no_line_is_left_out(tmp_path):
    write(tmp_path)
    records = journal.read(tmp_path)
    panels = _panels(
        [record for record in records if record["event"] == "train"],
        [record for record in records if record["event"] == "validation"],
    )
    assert len(panels["parts of the loss"]) == 24
    for kind in ("sdr", "sdr_fitted", "si_snr"):
        lines = panels[f"validation: {kind}, dB"]
        assert list(lines) == STEMS
        assert lines["stem0"] == [(20, 3.0)] and lines["stem1"] == [(10, 3.0), (20, 3.0)]
    assert {"loss", "learning rate", "norm of the gradient", "seconds of audio per second"} <= set(panels)


def test_lines_differ_and_stand_in_the_legend(tmp_path, monkeypatch):
    figures = pytest.importorskip("matplotlib.figure")
    drawn = []
    save = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, *a, **k: drawn.append(self) or save(self, *a, **k))
    write(tmp_path)
    assert draw(tmp_path).read_bytes().startswith(b"\x89PNG")
    for axis in drawn[0].axes:
        looks = [(line.get_color(), line.get_linestyle()) for line in axis.lines]
        assert len(set(looks)) == len(looks) > 0
        if len(looks) > 1:
            names = [text.get_text() for text in axis.get_legend().get_texts()]
            assert names == [line.get_label() for line in axis.lines]
            frame = axis.get_legend().get_window_extent()
            assert frame.x0 >= axis.get_window_extent().x1 - 1, "the legend lies over the lines"


def test_a_run_that_has_not_begun_has_no_picture(tmp_path):
    write(tmp_path, steps=())
    assert draw(tmp_path) is None
