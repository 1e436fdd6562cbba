import numpy as np
import pytest
import soundfile

from data_songs import noise, songs, write
from hyperstem.cli import main

CONFIG = """
[model]
stages = 1
audio_channels = 2
segment_s = 1.0

[data]
root = "music"

[[data.sources]]
name = "songs"
layout = "folders"
path = "songs"

[[data.sources]]
name = "voices"
layout = "solo"
path = "voices"
stem = "vocals"
"""


@pytest.fixture
def config(tmp_path):
    songs(tmp_path / "music", 2)
    write(tmp_path / "music" / "voices" / "a.wav", noise(7, 6.0, channels=1))
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def test_prepare_stats_and_listen(config, capsys, tmp_path):
    assert main(["prepare", str(config), "-q"]) == 0
    assert "3 prepared, 0 kept, 0 left out: 0.2 minutes at 8000 Hz" in capsys.readouterr().out
    assert main(["prepare", str(config), "-q"]) == 0
    assert "0 prepared, 3 kept" in capsys.readouterr().out
    assert main(["data", "stats", str(config), "--listen", str(tmp_path / "hear"), "--count", "2"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["source", "use", "weight", "tracks", "minutes", "drums", "bass", "other", "vocals"]
    assert lines[1] == ["songs", "train", "1", "2", "0.1", "0.1", "0.1", "0.1", "0.1"]
    assert lines[2] == ["voices", "solo", "1", "1", "0.1", "0.0", "0.0", "0.0", "0.1"]
    folder = tmp_path / "hear" / "00-song"
    mixture, rate_hz = soundfile.read(folder / "mixture.wav")
    stems = [soundfile.read(folder / f"{stem}.wav")[0] for stem in ("drums", "bass", "other", "vocals")]
    assert rate_hz == 8000 and mixture.shape == (8000, 2) and np.allclose(sum(stems), mixture, atol=1e-3)
    assert (tmp_path / "hear" / "01-remix" / "mixture.wav").is_file()


def test_other_stages_and_settings(config, capsys, tmp_path):
    options = ["--set", "model.stages=3", "--set", "data.prepared=elsewhere", "-q"]
    assert main(["prepare", str(config), "--stages", "2", *options]) == 0
    assert (tmp_path / "elsewhere" / "16000" / "songs" / "manifest.json").is_file()


def test_a_song_left_out_gives_exit_status_1_and_its_name(config, capsys, tmp_path):
    (tmp_path / "music" / "songs" / "song1" / "bass.wav").unlink()
    assert main(["prepare", str(config), "-q"]) == 1
    assert "left out: songs: song1: no file for bass" in capsys.readouterr().err


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("data.root=nowhere", "no folder"),
        ("data.rooot=x", "unknown key 'rooot'"),
        ("data.sources.0.layout=zip", "layout is 'zip'"),
        ("data.sources.7.path=x", "not a position in a list of 2"),
        ("data.mixing.remix=2", "remix is 2"),
        ("data.root=$NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
        ("model=3", "model is 3; expected a table"),
    ],
)
def test_wrong_settings_are_one_line(config, capsys, assignment, message):
    assert main(["prepare", str(config), "-q", "--set", assignment]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_statistics_of_what_is_not_prepared(config, capsys):
    assert main(["data", "stats", str(config)]) == 1
    assert "is not prepared at 8000 Hz" in capsys.readouterr().err
