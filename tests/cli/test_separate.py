import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.cli import main
from hyperstem.models import engines
from separation_standin import COMMAND, HERE, StandIn, clicks, encode, lag, loaded, noise

STEMS = ("drums", "bass", "other", "vocals")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the stand-in for the network."""
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn(segment_s=0.5)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def song(path: str | Path, seconds: float = 1.2, rate_hz: int = 44100, channels: int = 2, seed: int = 0) -> np.ndarray:
    wave = noise(channels, round(seconds * rate_hz), seed=seed)
    audio.write(path, wave, rate_hz, tags={"title": "Song", "artist": "Band"})
    return audio.read(path)[0]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_song_gives_a_folder_of_stems_and_a_manifest(here, capsys):
    wave = song("song.mp3")
    assert main(["separate", "song.mp3"]) == 0
    assert files(here / "separated") == {f"song/{stem}.wav" for stem in STEMS} | {"song/manifest.json"}
    stems = {stem: audio.read(f"separated/song/{stem}.wav") for stem in STEMS}
    assert all(rate_hz == 44100 and stem.shape == wave.shape for stem, rate_hz in stems.values())
    assert np.abs(sum(stem for stem, _ in stems.values()) - wave).max() <= 2**-15
    assert audio.probe("separated/song/bass.wav").tags == {"title": "Song (bass)", "artist": "Band"}
    manifest = json.loads(Path("separated/song/manifest.json").read_text())
    digest = hashlib.sha256(Path("song.mp3").read_bytes()).hexdigest()
    assert manifest["source"] == {"name": "song.mp3", "sha256": digest}
    assert manifest["gain"] == 1
    assert manifest["model"]["sha256"] == "0" * 64
    assert set(manifest) >= {"hyperstem", "settings", "stems", "frames", "rate_hz", "peak"}
    out, err = capsys.readouterr()
    assert "song.mp3 -> separated/song: drums, bass, other, vocals" in out
    assert err == ""


def test_karaoke_writes_vocals_and_the_rest(here):
    wave = song("song.wav")
    assert main(["separate", "song.wav", "--karaoke"]) == 0
    assert files(here / "separated") == {"song/vocals.wav", "song/accompaniment.wav", "song/manifest.json"}
    total = audio.read("separated/song/vocals.wav")[0] + audio.read("separated/song/accompaniment.wav")[0]
    assert np.array_equal(total, wave)


def test_some_stems_other_rate_mono_and_format(here):
    song("song.wav")
    assert (
        main(
            [
                "separate",
                "song.wav",
                "--stems",
                "vocals, drums",
                "--rate",
                "22050",
                "--channels",
                "mono",
                "--format",
                "flac",
                "--subtype",
                "pcm24",
                "-o",
                "out",
                "--template",
                "{stem} of {track}.{ext}",
            ]
        )
        == 0
    )
    assert files(here / "out") == {"drums of song.flac", "vocals of song.flac", "song.manifest.json"}
    wave, rate_hz = audio.read("out/drums of song.flac")
    assert (rate_hz, wave.shape) == (22050, (1, 26_460))


@pytest.mark.parametrize("name", ("wav", "flac", "mp3", "ogg", "opus", "m4a", "stem.mp4"))
def test_every_format(here, name):
    wave = clicks(2, 48_000, (10_000, 30_000))
    audio.write("song.wav", wave, 48_000)
    assert main(["separate", "song.wav", "--format", name, "--quiet"]) == 0
    made = files(here / "separated/song") - {"manifest.json"}
    assert made == ({"song.stem.mp4"} if name == "stem.mp4" else {f"{stem}.{name}" for stem in STEMS})
    for file in made:
        result, rate_hz = audio.read(here / "separated/song" / file)
        assert (rate_hz, result.shape) == (48_000, wave.shape)
        assert lag(result[0], wave[0]) == 0


@pytest.mark.parametrize("name", ("flac", "mp3", "stem.mp4"))
def test_files_may_have_any_ending(here, name):
    song("song.wav")
    assert main(["separate", "song.wav", "--format", name, "--template", "{track}/{stem}.sound"]) == 0
    made = files(here / "separated/song") - {"manifest.json"}
    assert made == {f"{stem}.sound" for stem in (["song"] if name == "stem.mp4" else STEMS)}
    assert {audio.sound_streams(here / "separated/song" / file) for file in made} == {5 if name == "stem.mp4" else 1}


def test_rates_a_format_cannot_hold(here):
    song("song.wav", rate_hz=44100)
    assert main(["separate", "song.wav", "--format", "opus"]) == 0
    wave, rate_hz = audio.read("separated/song/bass.opus")
    assert (rate_hz, wave.shape) == (48_000, (2, round(1.2 * 48_000)))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.m4a", "aac"),
        ("a.mkv", "flac"),
        ("a.wma", "wmav2"),
        ("a.aiff", "pcm_s16be"),
    ],
)
def test_files_of_other_programs(here, name, codec):
    encode(here / name, codec, noise(2, 50_000), 44100)
    wave, _ = audio.read(name)
    assert main(["separate", name]) == 0
    assert audio.read("separated/a/vocals.wav")[0].shape == wave.shape


def test_start_and_duration(here):
    wave = song("song.flac", seconds=3)
    assert main(["separate", "song.flac", "--start", "1", "--duration", "0.5"]) == 0
    total = sum(audio.read(f"separated/song/{stem}.wav")[0] for stem in STEMS)
    assert np.array_equal(total, wave[:, 44_100 : 44_100 + 22_050])


def test_existing_files_fail_are_skipped_or_replaced(here, capsys):
    song("song.wav")
    assert main(["separate", "song.wav"]) == 0
    Path("separated/song/bass.wav").write_bytes(b"mine")
    assert main(["separate", "song.wav"]) == 1
    err = capsys.readouterr().err
    assert err == (
        "hyperstem: song.wav: separated/song/drums.wav exists; --overwrite replaces it, "
        "--skip-existing passes it over\n"
    )
    assert main(["separate", "song.wav", "--skip-existing"]) == 0
    assert Path("separated/song/bass.wav").read_bytes() == b"mine"
    assert "skipped" in capsys.readouterr().out
    assert main(["separate", "song.wav", "--overwrite"]) == 0
    assert Path("separated/song/bass.wav").read_bytes() != b"mine"


def test_many_files_and_folders_one_bad(here, capsys):
    Path("in/deep").mkdir(parents=True)
    Path("in/empty").mkdir()
    song("in/a.wav")
    song("in/deep/a.flac", seed=1)
    Path("in/deep/b.mp3").write_text("no music " * 100)
    Path("in/notes.txt").write_text("not for us")
    assert main(["separate", "in", "in/a.wav", "in/empty", "gone.mp3", "--json", "--jobs", "2"]) == 1
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert {record["file"]: record["status"] for record in records} == {
        "in/a.wav": "done",
        "in/deep/a.flac": "done",
        "in/deep/b.mp3": "failed",
        "in/empty": "failed",
        "gone.mp3": "failed",
    }
    done = next(record for record in records if record["file"] == "in/a.wav")
    assert set(done) >= {"stems", "seconds", "elapsed_s", "real_time_factor", "peak", "gain", "warnings"}
    assert done["seconds"] == pytest.approx(1.2)
    assert set(err.splitlines()) == {
        "hyperstem: in/deep/b.mp3 is no audio file that can be decoded: its data are damaged or of an unknown kind",
        "hyperstem: in/empty: no audio files in this folder",
        "hyperstem: gone.mp3: No such file or directory",
    }
    assert {path.name for path in (here / "separated").iterdir()} == {"a", "deep"}
    assert np.array_equal(_sum("separated/a"), audio.read("in/a.wav")[0])
    assert np.array_equal(_sum("separated/deep/a"), audio.read("in/deep/a.flac")[0])


def _sum(folder: str) -> np.ndarray:
    return sum(audio.read(path)[0] for path in Path(folder).glob("*.wav"))


def test_failures_are_told_when_quiet_too(here, capsys):
    assert main(["separate", "gone.mp3", "--quiet"]) == 1
    assert capsys.readouterr() == ("", "hyperstem: gone.mp3: No such file or directory\n")


def test_a_failed_song_leaves_nothing(here, capsys):
    wave = noise(1, 200_000)
    wave[0, 150_000] = np.nan
    audio.write("bad.wav", wave, 44100, subtype="float")
    assert main(["separate", "bad.wav"]) == 1
    assert "sample 150000 (3.401 s) of channel 0 is nan" in capsys.readouterr().err
    assert not Path("separated").exists()


@pytest.mark.parametrize("jobs", (1, 3))
def test_the_same_bytes_whatever_the_jobs(here, jobs):
    for i in range(3):
        song(f"song{i}.wav", seed=i)
    names = [f"song{i}.wav" for i in range(3)]
    assert main(["separate", *names, "-o", "one"]) == 0
    assert main(["separate", *names, "-o", "many", "--jobs", str(jobs)]) == 0
    for name in files(here / "one"):
        assert (here / "one" / name).read_bytes() == (here / "many" / name).read_bytes(), name


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stems", "flute"],
        ["--stems", ","],
        ["--karaoke", "--stems", "bass"],
        ["--quality", "best"],
        ["--overlap", "1.5"],
        ["--rate", "fast"],
        ["--rate", "96000", "--format", "mp3"],
        ["--threads", "0"],
        ["--rate", "384000", "--format", "ogg"],
        ["--rate", "96001", "--format", "flac"],
        ["--jobs", "0"],
        ["--segment", "-1"],
        ["--template", "{track}.wav"],
        ["--template", "{song}/{stem}.wav"],
        ["--template", "../{stem}.wav"],
        ["--template", "{stem"],
        ["--duration", "0"],
        ["--start", "-1"],
        ["--duration", "1e308"],
        ["--start", "1e308"],
        ["--start", "nan"],
        ["--rate", "²"],
        ["--subtype", "float", "--format", "flac"],
        ["--overwrite", "--skip-existing"],
        ["--without", "flute"],
        ["--without", "drums,bass,other,vocals"],
        ["--without", "drums", "--only", "vocals"],
        ["--bitrate", "320k"],
        ["--bitrate", "much", "--format", "mp3"],
        ["--bitrate", "900k", "--format", "mp3"],
        ["--bitrate", "1k", "--format", "opus"],
        ["--karaokee"],
        ["--overlap"],
        ["--jobs", "two"],
        ["--jobs", "²"],
        ["-", "--files-from", "-"],
    ],
)
def test_wrong_usage_is_2(here, arguments, capsys):
    song("song.wav")
    with pytest.raises(SystemExit) as ended:
        main(["separate", "song.wav", *arguments])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("hyperstem: ") and err.count("\n") == 1
    assert err.endswith("(usage: hyperstem separate --help)\n")
    assert not Path("separated").exists()


def test_missing_and_foreign_models(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    song("song.wav")
    Path("junk.onnx").write_text("no model")
    folder = tmp_path / "tampered"
    folder.mkdir()
    (folder / "model.onnx").write_text("changed")
    (folder / "card.json").write_text(json.dumps({"sha256": {"model.onnx": "f" * 64}}))
    for model, words in (("gone", "no model 'gone'"), ("junk.onnx", "junk.onnx"), ("tampered", "damaged or foreign")):
        assert main(["separate", "song.wav", "--model", model]) == 1
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1
    assert not Path("separated").exists()


def test_an_untrained_model_warns(here, monkeypatch, capsys):
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn())._replace(trained=False))
    song("song.wav")
    assert main(["separate", "song.wav", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("hyperstem: warning: model 'stand-in' is untrained")
    assert json.loads(out)["status"] == "done"
    assert main(["separate", "song.wav", "--quiet", "--overwrite"]) == 0
    assert capsys.readouterr().err == ""


def test_one_gain_for_the_song_is_told(here, capsys):
    audio.write("loud.wav", noise(2, 60_000, 1.5), 44100, subtype="float")
    assert main(["separate", "loud.wav", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert 0 < record["gain"] < 1 < record["peak"]
    assert np.abs(_sum("separated/loud") - audio.read("loud.wav")[0] * record["gain"]).max() <= 1.01 * 2**-15
    assert main(["separate", "loud.wav", "--clip", "error", "--overwrite"]) == 1
    assert "wav of --subtype float, writes it" in capsys.readouterr().err
    assert main(["separate", "loud.wav", "--clip", "error", "--overwrite", "--subtype", "float"]) == 0
    assert main(["separate", "loud.wav", "--clip", "error", "--subtype", "float", "--format", "ogg"]) == 1


def test_peaks_of_lossy_files_are_cut_off_or_told(here, capsys):
    audio.write("loud.wav", noise(2, 60_000, 1.5), 44100, subtype="float")
    for subtype in ("pcm16", "float"):  # which means nothing to ogg
        for clip, told in (("scale", True), ("clamp", False)):
            options = ["--format", "ogg", "--subtype", subtype, "--clip", clip, "-o", f"{clip} {subtype}"]
            assert main(["separate", "loud.wav", *options]) == 0
            assert ("some players will clip it" in capsys.readouterr().err) == told
        clamped, scaled = (audio.read(f"{clip} {subtype}/loud/drums.ogg")[0] for clip in ("clamp", "scale"))
        assert np.abs(clamped).max() < 0.9 * np.abs(scaled).max()


def test_unicode_long_and_odd_names(here):
    names = ["Ünïcødé 音楽.wav", "x" * 250 + ".wav", "-dash.wav", "two.dots.wav", "100% {stem}.wav"]
    for name in names:
        song(name, seconds=0.1)
    assert main(["separate", "--quiet", "--", *names]) == 0
    assert {path.name for path in (here / "separated").iterdir()} == {
        "Ünïcødé 音楽",
        "x" * 200,
        "-dash",
        "two.dots",
        "100% {stem}",
    }


def test_a_name_that_is_no_utf_8(here, capsys):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        song(name, seconds=0.1)
    except OSError:
        pytest.skip("this file system refuses such names")
    assert main(["separate", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == name
    assert json.loads(Path("separated/caf/manifest.json").read_bytes())["source"]["name"] == name


@pytest.mark.parametrize("encoding", ("utf-8", "ascii", "cp1252"))
def test_records_are_json_in_every_encoding(here, encoding):
    song("café 音楽 🎵.wav", seconds=0.1)
    command = [sys.executable, "-c", COMMAND, str(HERE), "0", "separate", "café 音楽 🎵.wav", "--json"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == "café 音楽 🎵.wav"


@pytest.mark.parametrize("name", ("wav", "flac"))
def test_an_output_folder_that_is_no_utf_8(here, name):
    folder = Path(os.fsdecode(b"caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system refuses such names")
    audio.write("loud.wav", noise(2, 20_000, 1.5), 44100, subtype="float")
    assert main(["separate", "loud.wav", "-o", str(folder), "--format", name]) == 0
    assert json.loads((folder / "loud/manifest.json").read_bytes())["gain"] < 1
    assert len(files(folder)) == len(STEMS) + 1


def test_a_name_that_is_no_utf_8_on_a_terminal(here):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        song(name, seconds=0.1)
    except OSError:
        pytest.skip("this file system refuses such names")
    command = [sys.executable, "-c", COMMAND, str(HERE), "0", "separate", name]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(rb"caf\udce9.wav -> ")


def test_earlier_output_is_no_input(here):
    song("song.wav")
    assert main(["separate", "."]) == 0
    assert main(["separate", ".", "-o", "again"]) == 0
    assert {path.name for path in (here / "again").iterdir()} == {"song"}


def run(here: Path, *arguments: str, delay_s: float = 0.0, before: str = "", **options) -> subprocess.Popen:
    command = [sys.executable, "-c", before + COMMAND, str(HERE), str(delay_s), *arguments]
    return subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


INTERRUPTS = (
    ("2", signal.SIGINT, 1),
    pytest.param("1", signal.SIGINT, 1, marks=pytest.mark.slow),
    pytest.param("1", signal.SIGTERM, 1, marks=pytest.mark.slow),
    pytest.param("1", signal.SIGHUP, 1, marks=pytest.mark.slow),
    pytest.param("2", signal.SIGINT, 5, marks=pytest.mark.slow),
)


@pytest.mark.parametrize(("jobs", "kill", "times"), INTERRUPTS)
def test_ctrl_c_leaves_no_half_file_and_says_so(here, jobs, kill, times):
    song("song.wav", seconds=60)
    song("other.wav", seconds=60)
    process = run(here, "separate", "song.wav", "other.wav", "--jobs", jobs, delay_s=0.2)
    deadline = time.monotonic() + 60
    while not list(here.glob("separated/song/.hyperstem-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    for _ in range(times):
        process.send_signal(kill)
        time.sleep(0.02)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert err == "hyperstem: interrupted; unfinished files were removed\n"
    assert not Path("separated").exists()


FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"


def test_a_full_disk_leaves_no_half_file_and_says_so(here):
    song("song.wav", seconds=8)
    song("short.wav", seconds=1)
    for name in ("wav", "mp3"):
        limit = FULL_DISK if name == "wav" else FULL_DISK.replace("1_000_000", "100_000")
        process = run(here, "separate", "song.wav", "short.wav", "--format", name, before=limit)
        err = process.communicate(timeout=120)[1]
        assert process.returncode == 1
        assert err == "hyperstem: song.wav: File too large\n"
        assert {path.name for path in (here / "separated").iterdir()} == {"short"}
        shutil.rmtree("separated")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_told_before_work_starts(here, monkeypatch, capsys):
    song("song.wav")
    monkeypatch.setattr("hyperstem.audio.reading._open", lambda *_: pytest.fail("work has started"))
    assert main(["separate", "song.wav", "-o", "/proc/nowhere"]) == 1
    assert capsys.readouterr().err == "hyperstem: output folder /proc/nowhere: No such file or directory\n"
    Path("file").write_text("in the way")
    assert main(["separate", "song.wav", "-o", "file/below"]) == 1
    assert capsys.readouterr().err == "hyperstem: output folder file/below: Not a directory\n"


def test_help_is_instant():
    command = [sys.executable, "-X", "importtime", "-m", "hyperstem", "separate", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for heavy in ("numpy", "torch", "onnxruntime", "soxr", " av", "soundfile", "tqdm"):
        assert f" {heavy}\n" not in done.stderr
    for option in ("--karaoke", "--template", "--clip", "--plot", "--jobs"):
        assert option in done.stdout


def test_damage_is_told_and_the_strict_refuse_it(here, capsys):
    song("song.wav")
    data = Path("song.wav").read_bytes()
    Path("song.wav").write_bytes(data[: len(data) * 2 // 3])
    assert main(["separate", "song.wav"]) == 0
    assert "warning: song.wav: is damaged or cut short: 0." in capsys.readouterr().err
    assert main(["separate", "song.wav", "--strict", "--overwrite"]) == 1
    assert "strict reading refuses it" in capsys.readouterr().err


def test_a_stream_is_chosen_by_number_or_name(here, capsys):
    song("song.wav")
    for stream in ("0", "1", "eng"):
        status = main(["separate", "song.wav", "--stream", stream, "--overwrite"])
        assert status == (0 if stream == "0" else 1)
    assert "song.wav has no sound stream 1; it has 1" in capsys.readouterr().err
