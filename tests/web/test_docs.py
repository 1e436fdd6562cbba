import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import hyperstem.web
from web_studio import RATE_HZ, Studio, write_song

PAGE = Path(__file__).parents[2] / "docs" / "studio.md"


def test_the_script_in_the_documentation_runs(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    write_song(tmp_path / "song.wav", 2.0)
    with Studio(tmp_path / "studio") as studio:
        script = script.replace("http://127.0.0.1:8017", studio.url)
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    for stem in ("drums", "bass", "other", "vocals"):
        assert soundfile.info(tmp_path / f"{stem}.wav").frames == 2 * RATE_HZ


def test_vendored_files_are_those_of_the_package():
    folders = [path for path in (Path(hyperstem.web.__file__).parent / "static" / "vendor").iterdir() if path.is_dir()]
    assert {folder.name for folder in folders} == {"wavesurfer", "signalsmith-stretch"}
    for folder in folders:
        listed = re.findall(r"^([0-9a-f]{64})  (\S+)$", (folder / "README.md").read_text(encoding="utf-8"), re.M)
        assert {name for _, name in listed} == {path.name for path in folder.iterdir()} - {"README.md"}
        assert "LICENSE" in {name for _, name in listed}
        for digest, name in listed:
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_pages_load_nothing_from_elsewhere():
    static = Path(hyperstem.web.__file__).parent / "static"
    for path in [*static.glob("*.html"), *static.glob("css/*"), *static.glob("js/*")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"https?://|//cdn|@import|style=\"|\bon[a-z]+=\"", text), path
        assert not re.search(r"[\"'`(]/(api|static|docs)\b|href=\"/\"", text), f"{path}: holds under no sub path"


def test_the_options_in_the_documentation_are_the_commands():
    text = PAGE.read_text(encoding="utf-8").split("## Options")[1].split("## Safety")[0]
    described = set(re.findall(r"--[a-z][a-z-]+", text))
    command = [sys.executable, "-m", "hyperstem", "studio", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert described == set(re.findall(r"--[a-z][a-z-]+", help_text.split("options:")[1])) - {"--help"}
