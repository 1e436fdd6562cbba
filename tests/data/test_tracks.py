import json

import pytest

from data_songs import noise, write, write_song
from hyperstem.config import STEMS, ConfigError, SourceConfig, from_mapping
from hyperstem.data.tracks import MUSDB_VALIDATION, find_tracks
from hyperstem.errors import DataError

SHORT = noise(0, 0.05)
SONG = dict.fromkeys(STEMS, SHORT)


def names(found):
    return [track.name for track in found.tracks]


@pytest.fixture
def musdb(tmp_path):
    for subset, titles in {"train": ["A - One", "B - Two", *MUSDB_VALIDATION], "test": ["C - Three"]}.items():
        for title in titles:
            path = tmp_path / "m" / subset / f"{title}.stem.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path


def test_musdb_training_half_leaves_out_the_validation_tracks(musdb):
    def of(subset):
        return names(find_tracks(SourceConfig("x", "musdb18", "m", subset=subset), musdb, STEMS))

    assert of("") == of("train") == ["A - One", "B - Two"]
    assert of("validation") == sorted(MUSDB_VALIDATION) and len(MUSDB_VALIDATION) == 14
    assert of("test") == ["C - Three"]
    assert len(of("all")) == 17


def test_musdb_validation_names_are_those_of_the_musdb_package():
    yaml = pytest.importorskip("yaml")
    util = pytest.importorskip("importlib.util")
    spec = util.find_spec("musdb")
    if spec is None:
        pytest.skip("musdb is not installed")
    from pathlib import Path

    listed = yaml.safe_load((Path(spec.origin).parent / "configs" / "mus.yaml").read_text())["validation_tracks"]
    assert tuple(listed) == MUSDB_VALIDATION


def test_musdb_streams_are_the_stems_in_order(musdb):
    track = find_tracks(SourceConfig("x", "musdb18", "m", subset="test"), musdb, STEMS).tracks[0]
    streams = {stem: parts[0].stream for stem, parts in track.rows.items()}
    assert streams == {"drums": 1, "bass": 2, "other": 3, "vocals": 4}
    assert len(track.files) == 1


def test_a_missing_subset_is_named(tmp_path):
    (tmp_path / "m" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"subset 'test' needs the folder .*test; there are train"):
        find_tracks(SourceConfig("x", "musdb18", "m", subset="test"), tmp_path, STEMS)


def test_musdb_hq_folders(tmp_path):
    for title in ("A - One", MUSDB_VALIDATION[0]):
        write_song(tmp_path / "train" / title, SONG | {"mixture": SHORT})
    train = find_tracks(SourceConfig("x", "musdb18-hq", "."), tmp_path, STEMS)
    assert names(train) == ["A - One"] and set(train.tracks[0].rows) == set(STEMS)
    held_out = find_tracks(SourceConfig("x", "musdb18-hq", ".", subset="validation"), tmp_path, STEMS)
    assert names(held_out) == [MUSDB_VALIDATION[0]]


def test_moisesdb_kinds_become_four_stems_and_takes_add_up(tmp_path):
    song = tmp_path / "moisesdb_v0.1" / "1234"
    kinds = {"vocals": ["a"], "drums": ["b", "c"], "bass": ["d"], "guitar": ["e"], "piano": ["f"], "percussion": ["g"]}
    for kind, takes in kinds.items():
        for take in takes:
            write(song / kind / f"{take}.wav", SHORT)
    stems = [
        {"stemName": kind, "tracks": [{"id": take, "extension": "wav"} for take in takes]}
        for kind, takes in kinds.items()
    ]
    (song / "data.json").write_text(json.dumps({"song": "x", "stems": stems}))
    track = find_tracks(SourceConfig("x", "moisesdb", "."), tmp_path, STEMS).tracks[0]
    files = {stem: sorted(part.path.stem for part in parts) for stem, parts in track.rows.items()}
    assert files == {"drums": ["b", "c", "g"], "bass": ["d"], "other": ["e", "f"], "vocals": ["a"]}
    assert all(path.is_file() for path in track.files)


def test_a_damaged_moisesdb_song_is_a_problem_of_its_own(tmp_path):
    (tmp_path / "song").mkdir()
    (tmp_path / "song" / "data.json").write_text("{}")
    found = find_tracks(SourceConfig("x", "moisesdb", ".", missing="silence"), tmp_path, STEMS)
    assert not found.tracks and "data.json" in found.problems[0]


def test_missing_stems_are_silent_only_if_the_config_says_so(tmp_path):
    write_song(tmp_path / "full", SONG)
    write_song(tmp_path / "lacking", {"drums": SHORT, "bass": SHORT, "other": SHORT})
    strict = find_tracks(SourceConfig("x", "folders", "."), tmp_path, STEMS)
    assert names(strict) == ["full"] and "lacking: no file for vocals" in strict.problems[0]
    lenient = find_tracks(SourceConfig("x", "folders", ".", missing="silence"), tmp_path, STEMS)
    assert names(lenient) == ["full", "lacking"] and not lenient.problems


def test_unknown_files_are_named_and_aliases_map_them(tmp_path):
    write_song(tmp_path / "song", SONG | {"guitar": SHORT, "click": SHORT, "mixture": SHORT})
    plain = find_tracks(SourceConfig("x", "folders", "."), tmp_path, STEMS)
    assert "no stem 'click'" in plain.problems[0]
    aliases = {"guitar": "other", "click": ""}
    track = find_tracks(SourceConfig("x", "folders", ".", aliases=aliases), tmp_path, STEMS).tracks[0]
    assert [part.path.stem for part in track.rows["other"]] == ["guitar", "other"]
    assert "click" not in {path.stem for path in track.files}


def test_sums_stand_at_their_first_member(tmp_path):
    write_song(tmp_path / "song", {"accompaniment": SHORT, "vocals": SHORT})
    sums = {"accompaniment": ("drums", "bass", "other")}
    track = find_tracks(SourceConfig("x", "folders", ".", sums=sums), tmp_path, STEMS).tracks[0]
    assert track.sums == {"drums": ("drums", "bass", "other")}
    assert track.rows["drums"][0].path.stem == "accompaniment" and set(track.rows) == {"drums", "vocals"}


def test_a_stem_beside_a_sum_that_holds_it_is_refused(tmp_path):
    write_song(tmp_path / "song", {"accompaniment": SHORT, "vocals": SHORT, "drums": SHORT})
    sums = {"accompaniment": ("drums", "bass", "other")}
    found = find_tracks(SourceConfig("x", "folders", ".", sums=sums), tmp_path, STEMS)
    assert "'drums' appears twice" in found.problems[0]


def test_two_files_of_one_stem_are_refused(tmp_path):
    write_song(tmp_path / "song", SONG)
    write(tmp_path / "song" / "bass.flac", SHORT)
    assert "two files for 'bass'" in find_tracks(SourceConfig("x", "folders", "."), tmp_path, STEMS).problems[0]


def test_solo_pools_take_every_file_below(tmp_path):
    for path in ("a/one.wav", "a/b/two.flac", "three.wav"):
        write(tmp_path / "voices" / path, SHORT)
    (tmp_path / "voices" / "notes.txt").write_text("no sound")
    found = find_tracks(SourceConfig("v", "solo", "voices", stem="vocals"), tmp_path, STEMS)
    assert names(found) == ["a/b/two", "a/one", "three"]
    assert all(track.solo and list(track.rows) == ["vocals"] for track in found.tracks)


def test_two_recordings_of_one_name(tmp_path):
    for name in ("a.wav", "a.flac", "b.wav"):
        write(tmp_path / name, SHORT)
    with pytest.raises(DataError, match="'a' appears twice"):
        find_tracks(SourceConfig("x", "solo", ".", stem="vocals"), tmp_path, STEMS)


def test_left_out_songs(tmp_path):
    for song in "ab":
        write_song(tmp_path / song, SONG)
    assert names(find_tracks(SourceConfig("x", "folders", ".", exclude=("a",)), tmp_path, STEMS)) == ["b"]
    with pytest.raises(DataError, match="exclude names 'c', which is not in"):
        find_tracks(SourceConfig("x", "folders", ".", exclude=("c",)), tmp_path, STEMS)


@pytest.mark.parametrize("layout", ["folders", "solo", "moisesdb"])
def test_empty_and_missing_folders(tmp_path, layout):
    stem = {"stem": "vocals"} if layout == "solo" else {}
    with pytest.raises(DataError, match=r"no .* tracks in"):
        find_tracks(SourceConfig("x", layout, ".", **stem), tmp_path, STEMS)
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        find_tracks(SourceConfig("x", layout, "nowhere", **stem), tmp_path, STEMS)


def test_settings_that_name_unknown_stems(tmp_path):
    for options in ({"aliases": {"guitar": "othr"}}, {"sums": {"acc": ("drums", "bas")}}):
        with pytest.raises(DataError, match=r"names stem '(othr|bas)'; the model's stems are drums, bass"):
            find_tracks(SourceConfig("x", "folders", ".", **options), tmp_path, STEMS)


@pytest.mark.parametrize(
    "table, message",
    [
        ({"name": "x", "layout": "folders", "path": ".", "wgt": 1}, "unknown key 'wgt'"),
        ({"name": "x", "layout": "solo", "path": "."}, "solo sources need one"),
        ({"name": "x", "layout": "folders", "path": ".", "stem": "bass"}, "solo sources need one"),
        ({"name": "../x", "layout": "folders", "path": "."}, "usable as a folder name"),
        ({"name": "x", "layout": "folders", "path": ".", "weight": -1}, "weight is -1"),
        ({"name": "x", "layout": "solo", "path": ".", "stem": "vocals", "closer_db": 50}, "closer_db is 50"),
        ({"name": "x", "layout": "folders", "path": ".", "deeper_semitones": 3}, "except for solo sources"),
        (
            {"name": "x", "layout": "solo", "path": ".", "stem": "vocals", "subset": "train"},
            "subset is 'train'; allowed",
        ),
        ({"name": "x", "layout": "folders", "path": ".", "subset": "validation"}, "subset is 'validation'; allowed"),
        ({"name": "x", "layout": "zip", "path": "."}, "layout is 'zip'"),
    ],
)
def test_bad_source_settings(table, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(SourceConfig, table, "file.toml [data.sources]")
