import contextlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.cli import main
from hyperstem.config import STEMS
from hyperstem.synth import library
from hyperstem.synth.compose.styles import STYLES
from hyperstem.synth.library import SynthConfig, absent_stems, song_name, song_seed

SMALL = ["--seconds", "3", "--rate", "8000"]
DEMO = Path(__file__).parents[2] / "examples"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def synth(*arguments):
    return main(["synth", *map(str, arguments)])


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
def test_songs_are_folders_of_four_stems(tmp_path, suffix, capsys):
    assert synth(tmp_path, "--songs", 2, "--format", suffix, *SMALL) == 0
    assert "2 songs rendered, 0 kept" in capsys.readouterr().out
    folders = sorted(tmp_path.iterdir())
    assert [folder.name for folder in folders] == ["synth-0000-0000", "synth-0000-0001"]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {f"{stem}.{suffix}" for stem in STEMS} | {"song.json"}
        for stem in STEMS:
            wave, rate_hz = audio.read(folder / f"{stem}.{suffix}")
            assert (wave.shape, rate_hz) == ((2, 24000), 8000)
    manifest = json.loads((folders[0] / "song.json").read_text())
    assert manifest["seed"] == song_seed(SynthConfig(), 0)
    assert manifest["rate_hz"] == 8000
    assert manifest["style"] in {style.name for style in STYLES}
    assert manifest["sections"] and manifest["absent"] == list(absent_stems(manifest["seed"]))


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_jobs_and_songs(tmp_path):
    for name, options in {"a": ["--songs", 3], "b": ["--songs", 3, "--jobs", 2], "c": ["--songs", 2]}.items():
        assert synth(tmp_path / name, "--seed", 9, *options, *SMALL) == 0
    first = contents(tmp_path / "a")
    assert contents(tmp_path / "b") == first
    assert contents(tmp_path / "c") == {name: data for name, data in first.items() if "-0002/" not in name}
    assert synth(tmp_path / "d", "--seed", 10, "--songs", 1, *SMALL) == 0
    assert not set(contents(tmp_path / "d").values()) & set(first.values())


def test_what_is_rendered_is_kept_and_what_is_missing_is_added(tmp_path, capsys):
    assert synth(tmp_path, "--songs", 2, *SMALL) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert synth(tmp_path, "--songs", 3, *SMALL) == 0
    assert "1 songs rendered, 2 kept" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path.is_file())


def test_songs_made_otherwise_are_not_overwritten(tmp_path, capsys):
    assert synth(tmp_path, "--songs", 1, *SMALL) == 0
    before = contents(tmp_path)
    assert synth(tmp_path, "--songs", 1, "--seconds", "4", "--rate", "8000") == 1
    assert "exists with other settings" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_two_runs_in_one_folder_leave_whole_songs(tmp_path, monkeypatch):
    begun = []
    write = library.audio.write

    def writing(path, *rest, **options):
        write(path, *rest, **options)
        if not begun:
            begun.append(path)
            with contextlib.suppress(OSError):
                synth(tmp_path, "--songs", 1, *SMALL)  # another run, while the first is at work

    monkeypatch.setattr(library.audio, "write", writing)
    synth(tmp_path, "--songs", 1, *SMALL)
    (folder,) = tmp_path.iterdir()
    assert {path.stem for path in folder.iterdir()} == {*STEMS, "song"}


def test_nothing_half_made_stays(tmp_path, monkeypatch):
    written = []

    def failing(path, *rest, **options):
        written.append(path)
        if len(written) == 3:
            raise OSError("disk full")
        Path(path).write_bytes(b"x")

    monkeypatch.setattr(library.audio, "write", failing)
    assert synth(tmp_path, "--songs", 1, *SMALL) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--songs", "0"], "songs is 0"),
        (["--seconds", "-1"], "allowed are 1"),
        (["--rate", "100"], "8000"),
        (["--seed", "-1"], "seed is -1"),
        (["--minutes", "0"], "minutes"),
        (["--minutes", "1", "--seconds", "0"], "seconds is 0"),
        (["--minutes", "1", "--seconds", "nan"], "seconds is nan"),
        (["--format", "opus"], "48000"),
        (["--jobs", "0"], "jobs is 0"),
        (["--songs", "2", "--seconds", "5", "--minutes", "1"], "two of"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path, arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        synth(tmp_path / "out", *arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_minutes_decide_how_many_songs_or_how_long(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(library, "render_songs", lambda folder, config, *rest: asked.append(config) or [])
    for options in (["--minutes", 5], ["--minutes", 2, "--songs", 4], ["--minutes", 1, "--seconds", 7], ["--songs", 3]):
        assert synth(tmp_path, "--quiet", *options) == 0
    assert [(config.songs, config.seconds) for config in asked] == [(4, 75), (4, 30), (9, 7), (3, 75)]


def test_some_songs_lack_a_stem_and_none_lacks_most(tmp_path):
    lacking = [absent_stems(seed) for seed in range(2000)]
    assert all(len(stems) <= 2 for stems in lacking)
    for stem, low, high in (("vocals", 0.05, 0.12), ("bass", 0.03, 0.08), ("drums", 0.03, 0.08), ("other", 0.01, 0.06)):
        assert low < np.mean([stem in stems for stems in lacking]) < high
    config = SynthConfig(songs=1, seconds=2, rate_hz=8000, format="wav")
    number = next(number for number in range(100) if "vocals" in absent_stems(song_seed(config, number)))
    library.render_one(tmp_path, config, number)
    wave, _ = audio.read(tmp_path / song_name(config, number) / "vocals.wav")
    assert wave.shape == (2, 16000)
    assert not wave.any()


def test_the_data_finder_reads_the_songs(tmp_path):
    config = pytest.importorskip("hyperstem.config")
    tracks = pytest.importorskip("hyperstem.data.tracks")
    assert synth(tmp_path / "songs", "--songs", 2, *SMALL) == 0
    source = config.SourceConfig(name="synth", path="songs", layout="folders")
    found = tracks.find_tracks(source, tmp_path, STEMS)
    assert not found.problems
    assert [track.name for track in found.tracks] == ["synth-0000-0000", "synth-0000-0001"]
    assert all(set(track.rows) == set(STEMS) for track in found.tracks)


@pytest.mark.slow
def test_the_demo_song_is_what_its_script_renders(tmp_path, monkeypatch):
    arguments = ["-o", str(tmp_path / "demo.ogg"), "--stems", str(tmp_path / "stems")]
    monkeypatch.setattr(sys, "argv", ["render_demo.py", *arguments])
    runpy.run_path(str(DEMO / "render_demo.py"), run_name="__main__")
    fresh, rate_hz = audio.read(tmp_path / "demo.ogg")
    kept, kept_hz = audio.read(DEMO / "demo.ogg")
    assert (fresh.shape, rate_hz) == (kept.shape, kept_hz)
    error = np.mean((fresh - kept) ** 2) / np.mean(kept**2)
    assert error < 1e-3  # the same music, whatever the machine's last bits
    stems = sum(audio.read(tmp_path / "stems" / f"{stem}.flac")[0] for stem in STEMS)
    assert np.corrcoef(stems[0], kept[0])[0, 1] > 0.99
    assert (DEMO / "demo.ogg").stat().st_size < 2_000_000
