"""Every command and every line of Python in docs/quickstart.md is run, in order."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from hyperstem import audio
from hyperstem.cli import main
from hyperstem.models import engines
from separation_standin import StandIn, loaded, noise

PAGE = Path(__file__).parent.parent / "docs" / "quickstart.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn()))
    monkeypatch.chdir(tmp_path)
    Path("examples").mkdir()
    shutil.copy(PAGE.parent.parent / "examples" / "demo.ogg", "examples/demo.ogg")
    return tmp_path


def test_commands(here):
    pytest.importorskip("matplotlib")
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("hyperstem ")]
    assert len(calls) == 4
    for call in calls:
        assert main([*call[1:], "--quiet"]) == 0, call
    stems = {f"{stem}.wav" for stem in ("drums", "bass", "other", "vocals")}
    assert {path.name for path in Path("separated/demo").iterdir()} == stems | {"manifest.json", "picture.png"}
    karaoke = {"vocals.mp3", "accompaniment.mp3", "manifest.json"}
    assert {path.name for path in Path("karaoke/demo").iterdir()} == karaoke
    assert audio.probe("preview/demo/bass.wav").duration_s == 10
    assert Path("stems/demo/bass.flac").exists()


def test_python(here, capsys):
    audio.write("song.mp3", noise(2, 44_100 * 2), 44100)
    names: dict = {}
    code = blocks("python")
    assert len(code) == 2
    for block in code:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 (the page's own examples)
    assert "Stems(drums, bass, other, vocals: 2 x 2.00 s at 44100 Hz)" in capsys.readouterr().out
    assert names["vocals"].shape == (2, 88_200)
    assert Path("out/vocals.flac").exists()
