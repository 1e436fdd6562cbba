import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperstem.cli import main
from hyperstem.models import engines
from separation_standin import StandIn, loaded, noise

try:
    import ray
except ModuleNotFoundError:
    ray = None


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn(segment_s=0.5)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(*names: str) -> None:
    from hyperstem import audio

    for seed, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(name, noise(1, 4000 + seed, seed=seed), 8000)


def test_parts_together_are_the_whole(here):
    save(*(f"in/{number}.wav" for number in range(12)), "in/0.flac")
    for number in (1, 2, 3):
        assert main(["separate", "in", "-o", "parts", "--shard", f"{number}/3", "--quiet"]) == 0
    assert main(["separate", "in", "-o", "whole", "--quiet"]) == 0
    files = [{str(p.relative_to(top)) for p in Path(top).rglob("*") if p.is_file()} for top in ("parts", "whole")]
    assert files[0] == files[1]
    assert len(files[0]) == 13 * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "--shard", "3/2"], "shard is '3/2'; give I/N"),
        (["a.wav", "-o", "s3://bucket/out"], "--output s3://bucket/out is a URL, which needs --ray"),
        (["a.wav", "--root", "s3://bucket"], "--root s3://bucket is a URL, which needs --ray"),
        (["a.wav", "--records", "parquet"], "--records needs --ray"),
        (["-", "--ray"], "a song on standard input is for one machine"),
        (["--ray"], "no songs given"),
    ],
)
def test_wrong_usage_is_one_line(here, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(["separate", *arguments])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_without_ray_a_sentence_says_what_to_install(here, capsys, monkeypatch):
    from hyperstem.cluster import ray_session

    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    monkeypatch.setattr(ray_session, "find_spec", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main(["separate", "a.wav", "--ray"])
    assert ended.value.code == 2
    assert "--ray needs Ray, which is not installed: pip install 'hyperstem[ray]'" in capsys.readouterr().err


def test_separating_on_one_machine_loads_nothing_of_it(tmp_path):
    code = "import sys; from hyperstem.cli import main; main(['separate', 'none.wav']); "
    code += "print([name for name in ('ray', 'obstore', 'pyarrow', 'hyperstem.cluster') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(ray is None, reason="needs Ray")
@pytest.mark.parametrize("address", ["127.0.0.1:9", "no-such-host.invalid:6379"])
def test_a_cluster_that_is_not_there_is_told_at_once(here, capsys, address):
    save("a.wav")
    assert main(["separate", "a.wav", "--ray", address]) == 1
    err = capsys.readouterr().err
    assert f"no Ray cluster at '{address}'" in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(ray is None, reason="needs Ray")
def test_the_command(tmp_path):
    import cluster_runs

    pytest.importorskip("torch")
    model = cluster_runs.save_model(tmp_path)
    cluster_runs.save_songs(tmp_path / "in", ["a/1.wav", "b/1.wav"])
    (tmp_path / "in/broken.mp3").write_bytes(b"x" * 100)
    (tmp_path / "list").write_text("in/a\nin/broken.mp3\n")
    command = [sys.executable, "-m", "hyperstem", "separate", "--model", model, "-o", "out", "--json"]

    def run(*arguments: str) -> tuple[int, list[dict], str]:
        done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    status, records, err = run("--ray", "in/b", "--files-from", "list", "--records", "parquet")
    assert status == 1, err
    assert sorted(Path(record["file"]).name for record in records) == ["1.wav", "1.wav", "broken.mp3"]
    assert {record["status"] for record in records} == {"done", "failed"}
    assert all((tmp_path / "out/1" / f"{stem}.wav").is_file() for stem in cluster_runs.STEMS)
    assert all((tmp_path / "out/in/a/1" / f"{stem}.wav").is_file() for stem in cluster_runs.STEMS)
    assert "songs per core-hour" in err
    assert err.count("broken.mp3") == 1
    assert [path.suffix for path in (tmp_path / "out/_records").iterdir()] == [".parquet"]
    status, records, _ = run("in/a", "--root", ".", "--ray")
    assert status == 0
    assert [record["status"] for record in records] == ["skipped"]
