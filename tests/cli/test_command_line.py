"""The command line as people type it: songs without a command, standard input, lists, typing mistakes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.cli import _progress, command_names, main
from hyperstem.cli._arguments import bits_per_second
from hyperstem.files import TEMPORARY
from hyperstem.models import engines
from separation_standin import COMMAND, HERE, StandIn, loaded, noise

STEMS = ("drums", "bass", "other", "vocals")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the stand-in for the network."""
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn(segment_s=0.5)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def song(path: str | Path, seconds: float = 0.5, seed: int = 0) -> np.ndarray:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, noise(2, round(seconds * 22_050), seed=seed), 22_050)
    return audio.read(path)[0]


def typed(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def wrong(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("arguments", (["song.wav"], ["--quiet", "song.wav"], ["./song.wav"], ["song"], ["album"]))
def test_a_song_without_a_command_is_separated(here, arguments):
    for name in ("song.wav", "album/song.wav"):
        song(name)
    Path("song").write_bytes(Path("song.wav").read_bytes())
    assert main(arguments) == 0
    assert Path("separated/song/vocals.wav").is_file()


def test_songs_may_stand_between_options(here):
    for name in ("a.wav", "b.wav", "c.wav"):
        song(name)
    assert main(["a.wav", "--quiet", "b.wav", "-o", "out", "c.wav"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trainn"], "no command and no file 'trainn'; did you mean train?"),
        (["separatee", "song.wav"], "did you mean separate?"),
        (["xyz"], "no command and no file 'xyz' (usage"),
        ([], "expected a song or a command"),
        (["separate"], "no songs given"),
        (["song.wav", "--karaokee"], "no option --karaokee; did you mean --karaoke?"),
        (["song.wav", "--qualty=full"], "no option --qualty; did you mean --quality?"),
        (["song.wav", "--zzz"], "no option --zzz (usage"),
        (["models", "list", "extra"], "'extra' is one argument too many"),
        (["song.wav", "--jobs", "0"], "--jobs is 0; allowed are 1 and more"),
        (["song.wav", "--quality", "best"], "--quality: invalid choice: 'best'"),
    ],
)
def test_a_mistake_in_typing_is_one_line_with_a_hint(here, capsys, arguments, words):
    wrong(*arguments)
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1 and err.startswith("hyperstem: ") and err.endswith("--help)\n")


WRONG = {
    "convert": ["a.pt", "b.txt"],
    "data": ["stats", "c.toml", "--count", "-1"],
    "evaluate": ["m", "d", "--jobs", "-1"],
    "export": ["default", "m.onnx", "--stages", "0"],
    "models": ["shw"],
    "prepare": ["c.toml", "--jobs", "0"],
    "separate": ["a.wav", "--template", "{track}.wav"],
    "studio": ["--jobs", "0"],
    "synth": ["out", "--songs", "0"],
    "train": ["c.toml", "--steps", "0"],
}


@pytest.mark.parametrize("command", command_names())
def test_wrong_usage_is_the_same_for_every_command(here, capsys, command):
    for arguments in (WRONG[command], [*WRONG[command][:-1], "--nonsense"]):
        wrong(command, *arguments)
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and err.startswith("hyperstem: ")
        assert err.endswith("--help)\n") and f"(usage: hyperstem {command}" in err


def test_an_address_gets_a_sentence_and_the_others_their_turn(here, capsys):
    song("song.wav")
    assert main(["https://example.org/watch?v=1", "song.wav"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("hyperstem: https://example.org/watch?v=1 is an address, and nothing is downloaded here")
    assert err.count("\n") == 1
    assert "song.wav -> separated/song" in out


def test_a_mix_without_a_stem(here):
    wave = song("song.wav")
    assert main(["song.wav", "--only", "drums", "-o", "drums"]) == 0
    assert main(["song.wav", "--without", "drums", "-o", "rest"]) == 0
    assert {path.name for path in Path("rest/song").iterdir()} == {"no_drums.wav", "manifest.json"}
    assert {path.name for path in Path("drums/song").iterdir()} == {"drums.wav", "manifest.json"}
    both = audio.read("rest/song/no_drums.wav")[0] + audio.read("drums/song/drums.wav")[0]
    assert np.abs(both - wave).max() <= 2**-14
    assert main(["song.wav", "--without", "vocals, bass", "-o", "less"]) == 0
    assert Path("less/song/no_bass_vocals.wav").is_file()


@pytest.mark.parametrize("name", ("mp3", "ogg", "opus", "m4a", "stem.mp4"))
def test_the_bit_rate_of_lossy_files(here, name):
    song("song.wav", seconds=4)
    sizes = {}
    for bitrate in ("48k", "128k", "256000"):
        assert main(["song.wav", "--format", name, "--bitrate", bitrate, "--only", "drums", "-o", bitrate]) == 0
        (file,) = Path(bitrate, "song").glob(f"*.{name}")
        sizes[bitrate] = file.stat().st_size
    assert sizes["48k"] < sizes["128k"] < sizes["256000"]
    if name != "stem.mp4":
        assert sizes["128k"] == pytest.approx(4 * 128_000 / 8, rel=0.35)


def test_ways_to_write_a_bit_rate():
    assert {bits_per_second(text) for text in ("320k", "320K", "320", "320000", "320kbps", "320kb")} == {320_000}


def test_a_song_by_standard_input(here, monkeypatch, capsys):
    wave = song("song.wav")
    typed(monkeypatch, Path("song.wav").read_bytes())
    assert main(["-", "--json", "--progress", "json", "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["file"] == "-" == json.loads(err.splitlines()[-1])["file"]
    total = sum(audio.read(f"out/stdin/{stem}.wav")[0] for stem in STEMS)
    assert np.array_equal(total, wave)
    assert {path.name for path in Path("out").iterdir()} == {"stdin"}


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "standard input is empty"), (b"no sound" * 9, "standard input is no audio")]
)
def test_bad_standard_input_is_told_and_leaves_nothing(here, monkeypatch, capsys, data, words):
    typed(monkeypatch, data)
    assert main(["-", "-o", "deep/out"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"hyperstem: {words}") and err.count("\n") == 1
    assert not list(here.iterdir())


def test_a_list_of_songs(here, monkeypatch, capsys):
    for seed, name in enumerate(("a/01.wav", "b/01.wav", "c.wav", "two\nlines.wav")):
        song(name, seed=seed)
    Path("list").write_bytes(b"\xef\xbb\xbfa/01.wav\r\n\r\nb/01.wav\ngone.wav")
    assert main(["c.wav", "--files-from", "list"]) == 1
    manifests = {path.parent.as_posix() for path in Path("separated").rglob("manifest.json")}
    assert manifests == {"separated/a/01", "separated/b/01", "separated/c"}
    assert capsys.readouterr().err == "hyperstem: gone.wav: No such file or directory\n"
    typed(monkeypatch, b"two\nlines.wav\0a/01.wav\0")
    assert main(["--files-from", "-", "-o", "out", "--root", "a"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"two\nlines", "01"}
    Path("list").write_bytes(b"\n")
    assert main(["--files-from", "list"]) == 1
    assert "list names no songs" in capsys.readouterr().err


def test_a_batch_ends_with_a_summary(here, capsys):
    song("a.wav")
    song("b.wav")
    Path("c.wav").write_text("no music")
    assert main(["a.wav", "b.wav"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert len(first) == 3 and first[-1].startswith("2 songs: 2 done; 1.0 s of music in ")
    song("d.wav")
    assert main(["a.wav", "b.wav", "c.wav", "d.wav", "--skip-existing"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("4 songs: 1 done, 2 skipped, 1 failed; 0.5 s of music in ") and last.endswith("-> separated")
    for silent in (["--quiet"], ["--json"]):
        main(["a.wav", "b.wav", "--overwrite", *silent])
        assert "songs:" not in capsys.readouterr().out


def test_a_song_alone_tells_its_time_in_seconds(here, capsys):
    song("a.wav")
    assert main(["a.wav"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("a.wav -> separated/a: drums, bass, other, vocals (0.5 s of music in ")
    assert "real time" not in line


def test_lengths_of_time_in_words():
    lengths = {0.04: "0.0 s", 9.94: "9.9 s", 30: "30 s", 119: "119 s", 200: "3 min 20 s", 7300: "2 h 1 min"}
    assert {seconds: _progress.duration(seconds) for seconds in lengths} == lengths


RECORD = {"file", "status", "stems", "manifest", "source_sha256", "model", "model_sha256", "warnings"}
DONE = {"seconds", "elapsed_s", "real_time_factor", "peak", "gain", "rate_hz", "frames"}


def test_records_have_the_documented_fields(here, capsys):
    song("a.wav")
    Path("b.wav").write_text("no music")
    records = []
    for _ in range(2):
        main(["a.wav", "b.wav", "--json", "--skip-existing"])
        records += map(json.loads, capsys.readouterr().out.splitlines())
    done, failed, skipped, _ = records
    assert (set(done), set(skipped), set(failed)) == (RECORD | DONE, RECORD, {"file", "status", "error", "reason"})
    manifest = json.loads(Path(done["manifest"]).read_text())
    assert done["model_sha256"] == manifest["model"]["sha256"] == "0" * 64
    assert done["source_sha256"] == skipped["source_sha256"] == manifest["source"]["sha256"]
    assert all(Path(path).is_file() for path in skipped["stems"].values())
    docs = (Path(__file__).parents[2] / "docs/separation.md").read_text(encoding="utf-8")
    assert all(f"| `{field}` |" in docs for field in (*RECORD, *DONE, "error", "reason"))


def test_progress_as_records(here, capsys):
    song("a.wav", seconds=3)
    song("b.wav", seconds=2)
    assert main(["a.wav", "b.wav", "--progress", "json", "--quiet"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    fields = {"event", "file", "done_s", "total_s", "songs_done", "songs"}
    assert all(set(record) == fields and record["event"] == "progress" for record in records)
    assert [record["file"] for record in records if record["done_s"] == record["total_s"]] == ["a.wav", "b.wav"]
    assert records[-1]["songs_done"] == records[-1]["songs"] == 2
    docs = (Path(__file__).parents[2] / "docs/separation.md").read_text(encoding="utf-8")
    assert all(f"`{field}`" in docs for field in fields)


def test_progress_into_a_pipe_is_a_line_now_and_then(here, monkeypatch, capsys):
    monkeypatch.setattr(_progress, "_LINE_EVERY_S", 0.0)
    song("a.wav", seconds=3)
    assert main(["a.wav"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("a.wav: ") and " % done, about " in line for line in lines)
    assert main(["a.wav", "--overwrite", "--progress", "none"]) == 0
    assert main(["a.wav", "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_progress_on_a_terminal_is_a_bar(here):
    song("a.wav", seconds=3)
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", COMMAND, str(HERE), "0.2", "a.wav"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 1 << 16):
                shown += block
        except OSError:  # the other end was closed
            pass
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"a.wav" in shown and b"%|" in shown


def test_a_home_folder_in_an_option(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.setenv("USERPROFILE", str(here / "home"))
    song("home/a.wav")
    assert main(["~/a.wav", "--output=~/out"]) == 0
    assert (here / "home/out/a/bass.wav").is_file()
    assert not Path("~").exists()
    assert not list(here.rglob(TEMPORARY))
