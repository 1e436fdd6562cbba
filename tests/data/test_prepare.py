import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_songs import RATE_HZ, config, noise, prepared, songs, tone, write, write_song
from hyperstem import audio
from hyperstem.config import STEMS, ConfigError, SourceConfig
from hyperstem.data import prepare as prepare_module
from hyperstem.data.library import PreparedTrack, load_library, load_source
from hyperstem.data.prepare import prepare, source_folder
from hyperstem.errors import DataError


def only_track(data, rate_hz=RATE_HZ, source=0):
    return load_source(data, data.sources[source], STEMS, rate_hz)[0]


def contents(folder: Path):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_samples_come_back_to_16_bits_of_each_stems_own_peak(tmp_path):
    loud, soft = noise(1, level=0.5) * 3, noise(2, level=1e-4)  # beyond full scale, and very quiet
    write_song(tmp_path / "s" / "a", {"drums": loud, "bass": soft, "other": noise(3), "vocals": np.zeros_like(loud)})
    track = only_track(prepared(tmp_path, SourceConfig("s", "folders", "s")))
    for stem, wave in {"drums": loud, "bass": soft}.items():
        error = np.abs(track.crop(stem, 0, track.frames) - wave).max()
        assert error <= 0.51 * np.abs(wave).max() / 32767 + 1e-9
    assert not track.has_signal("vocals") and not track.crop("vocals", 0, 100).any()
    assert track.level_db["drums"] == pytest.approx(10 * np.log10(np.square(loud).mean()), abs=0.01)


def test_manifest_has_hash_length_and_levels(tmp_path):
    data = prepared(tmp_path, songs(tmp_path, 1))
    entry = json.loads((source_folder(data, data.sources[0], RATE_HZ) / "manifest.json").read_text())["tracks"][0]
    for file in entry["files"]:
        raw = (tmp_path / file["path"]).read_bytes()
        assert (file["sha256"], file["bytes"]) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert entry["frames"] == 4 * RATE_HZ and entry["stems"] == list(STEMS)
    assert entry["level_db"]["bass"] == pytest.approx(-20, abs=0.2) and len(entry["blocks_db"]["bass"]) == 8


def test_interrupted_and_resumed_equals_one_run(tmp_path):
    source = songs(tmp_path, 5)
    whole, broken = (replace(config(tmp_path, source), prepared=str(tmp_path / name)) for name in ("whole", "broken"))
    assert prepare(whole, STEMS, RATE_HZ).prepared == 5

    def stop(done: int, total: int, name: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(broken, STEMS, RATE_HZ, progress=stop)
    report = prepare(broken, STEMS, RATE_HZ, jobs=2)
    assert report.kept >= 2 and report.kept + report.prepared == 5
    assert contents(Path(broken.prepared)) == contents(Path(whole.prepared))


def test_what_is_unchanged_is_kept_and_what_changed_is_prepared_again(tmp_path):
    data = prepared(tmp_path, songs(tmp_path, 3))
    os.utime(tmp_path / "songs" / "song0" / "bass.wav", (1, 1))  # touched only
    write(tmp_path / "songs" / "song1" / "bass.wav", noise(99))
    target = next(source_folder(data, data.sources[0], RATE_HZ).glob("song2*.npy"))
    target.write_bytes(target.read_bytes()[:1000])
    report = prepare(data, STEMS, RATE_HZ)
    assert (report.prepared, report.kept) == (2, 1)
    track = load_source(data, data.sources[0], STEMS, RATE_HZ)[1]
    assert np.allclose(track.crop("bass", 0, 4 * RATE_HZ), noise(99), atol=1e-4)


def test_a_broken_file_is_named_and_the_rest_goes_on(tmp_path):
    data = config(tmp_path, songs(tmp_path, 3))
    (tmp_path / "songs" / "song1" / "vocals.wav").write_bytes(b"RIFF no sound at all")
    report = prepare(data, STEMS, RATE_HZ)
    assert report.prepared == 2 and len(report.problems) == 1
    assert "song1" in report.problems[0] and "vocals.wav" in report.problems[0]
    assert len(load_source(data, data.sources[0], STEMS, RATE_HZ)) == 2


def test_what_is_the_matter_with_many_songs_is_said_once(tmp_path):
    data = config(tmp_path, songs(tmp_path, 3))
    for report in (prepare(data, STEMS, 2 * RATE_HZ), prepare(data, STEMS, 2 * RATE_HZ)):
        assert report.warnings == (
            "songs: song0 and 2 more: recorded at 8000 Hz, so nothing above 4000 Hz is learned from it",
        )


def test_stems_of_unequal_length_are_cut_with_a_warning(tmp_path):
    write_song(tmp_path / "s" / "a", {stem: noise(i, 2 + i / 10) for i, stem in enumerate(STEMS)})
    data = config(tmp_path, SourceConfig("s", "folders", "s"))
    report = prepare(data, STEMS, RATE_HZ)
    assert "unequal length" in report.warnings[0] and "vocals 2.300 s" in report.warnings[0]
    assert only_track(data).frames == 2 * RATE_HZ


@pytest.mark.parametrize(
    "wave, rate_hz, message",
    [
        (noise(1), 16000, r"16000 Hz.*8000 Hz.*must share one rate"),
        (noise(1, channels=3), RATE_HZ, r"bass.wav has 3 channels"),
        (np.full((1, 8000), np.nan, np.float32), RATE_HZ, r"bass.wav.*finite"),
    ],
)
def test_songs_that_cannot_be_used_are_left_out(tmp_path, wave, rate_hz, message):
    write_song(tmp_path / "s" / "a", {stem: noise(i) for i, stem in enumerate(STEMS)})
    write(tmp_path / "s" / "a" / "bass.wav", wave, rate_hz)
    report = prepare(config(tmp_path, SourceConfig("s", "folders", "s")), STEMS, RATE_HZ)
    assert len(report.problems) == 1
    assert re.search(message, report.problems[0]), report.problems


def test_recordings_are_resampled_to_the_models_rate_and_rates_coexist(tmp_path):
    write_song(tmp_path / "s" / "a", {stem: tone(440, rate_hz=44100) for stem in STEMS}, 44100)
    data = config(tmp_path, SourceConfig("s", "folders", "s"))
    for rate_hz in (8000, 32000):
        prepare(data, STEMS, rate_hz)
    for rate_hz in (8000, 32000):
        wave = only_track(data, rate_hz).crop("drums", rate_hz, rate_hz)
        assert np.abs(wave - tone(440, rate_hz=rate_hz)[:, rate_hz : 2 * rate_hz]).max() < 2e-3


def test_mono_and_stereo_stems_of_one_song(tmp_path):
    mono, stereo = noise(1, channels=1), noise(2)
    write_song(tmp_path / "s" / "a", {"drums": mono, "bass": stereo, "other": stereo, "vocals": stereo})
    track = only_track(prepared(tmp_path, SourceConfig("s", "folders", "s")))
    cut = track.crop("drums", 0, track.frames)
    assert track.channels == 2 and np.array_equal(cut[0], cut[1])


def test_streams_of_a_stem_mp4_stay_aligned(tmp_path):
    rate_hz, clicks = 44100, np.zeros((2, 44100), np.float32)
    clicks[:, 10000:10040] = 0.5
    path = tmp_path / "train" / "a.stem.mp4"
    path.parent.mkdir()
    levels = (1.0, 0.4, 0.3, 0.2, 0.1)
    with audio.MultitrackWriter(path, rate_hz, 2, ("mixture", *STEMS)) as writer:
        writer.write([level * clicks for level in levels])
    data = prepared(tmp_path, SourceConfig("m", "musdb18", "."), rate_hz=32000)
    track = only_track(data, 32000)
    for stem, level in zip(STEMS, levels[1:], strict=True):
        wave = track.crop(stem, 0, track.frames)[0]
        assert abs(int(np.abs(wave).argmax()) - 10020 * 32000 / 44100) < 30
        assert np.abs(wave).max() == pytest.approx(0.5 * level, rel=0.3)


def test_solo_files_have_one_row(tmp_path):
    write(tmp_path / "v" / "a.wav", noise(1, channels=1))
    track = only_track(prepared(tmp_path, songs(tmp_path, 1), SourceConfig("v", "solo", "v", stem="vocals")), source=1)
    assert (
        track.stems == ("vocals",)
        and track.channels == 1
        and track.has_signal("vocals")
        and not track.has_signal("bass")
    )


def test_errors_before_anything_is_prepared(tmp_path):
    data = config(tmp_path, songs(tmp_path, 1))
    with pytest.raises(DataError, match=r"'songs' is not prepared at 8000 Hz .*run hyperstem prepare"):
        load_library(data, STEMS, RATE_HZ)
    prepare(data, STEMS, RATE_HZ)
    with pytest.raises(DataError, match="prepared for stems"):
        load_library(data, ("voice", "rest"), RATE_HZ)
    open_root = replace(data, root="$NOT_SET_ANYWHERE/x").resolved(tmp_path)
    load_library(open_root, STEMS, RATE_HZ)  # what is prepared needs no recordings
    with pytest.raises(ConfigError, match=r"data.root is .*NOT_SET_ANYWHERE"):
        prepare(open_root, STEMS, RATE_HZ)


def test_folders_are_relative_to_the_config_and_take_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_MUSIC", str(tmp_path / "music"))
    data = replace(config(tmp_path, songs(tmp_path)), root="$SOME_MUSIC/a", prepared="../p")
    resolved = data.resolved(tmp_path / "configs")
    assert Path(resolved.root) == tmp_path / "music" / "a" and Path(resolved.prepared) == tmp_path / "p"


def test_a_damaged_prepared_file_is_named(tmp_path):
    data = prepared(tmp_path, songs(tmp_path, 1))
    track = only_track(data)
    track.path.write_bytes(b"no array" * 100_000)
    with pytest.raises(DataError, match=r"is damaged .* run hyperstem prepare again"):
        track.crop("bass", 0, 10)
    track.path.write_bytes(b"x")
    with pytest.raises(DataError, match="truncated; run hyperstem prepare again"):
        only_track(data)


def test_validation_recordings_must_not_train(tmp_path):
    source = songs(tmp_path, 2)
    shutil.copytree(tmp_path / "songs" / "song0", tmp_path / "held" / "other name")
    data = prepared(tmp_path, source, validation=(SourceConfig("held", "folders", "held"),))
    with pytest.raises(DataError, match="trains on 'song0', which validates as 'other name'"):
        load_library(data, STEMS, RATE_HZ)


def test_recordings_shared_with_validation_are_seen_where_stems_have_no_file(tmp_path):
    for song, seed in (("songs/a", 1), ("held/b", 2)):
        write_song(tmp_path / song, {"drums": noise(seed), "bass": np.zeros((2, 4000), np.float32)})
    write(tmp_path / "songs" / "a" / "vocals.wav", noise(3))
    shutil.copy(tmp_path / "songs" / "a" / "vocals.wav", tmp_path / "held" / "b")  # written again, it has a new date
    source, held = (SourceConfig(name, "folders", name, missing="silence") for name in ("songs", "held"))
    data = prepared(tmp_path, source, validation=(held,))
    with pytest.raises(DataError, match="trains on 'a', which validates as 'b'"):  # they share the vocals
        load_library(data, STEMS, RATE_HZ)
    write(tmp_path / "songs" / "a" / "vocals.wav", noise(4))
    prepare(data, STEMS, RATE_HZ)
    assert len(load_library(data, STEMS, RATE_HZ).songs) == 1  # now the silence alone


@pytest.mark.parametrize("changes", [{"exclude": ("song0",)}, {"path": "elsewhere"}, {"missing": "silence"}])
def test_settings_changed_since_preparing_are_named(tmp_path, changes):
    data = prepared(tmp_path, songs(tmp_path, 2))
    changed = replace(data, sources=(replace(data.sources[0], **changes),))
    with pytest.raises(DataError, match=f"prepared with other settings \\({next(iter(changes))}\\)"):
        load_library(changed, STEMS, RATE_HZ)
    louder = replace(data, sources=(replace(data.sources[0], weight=2.0),))
    assert load_library(louder, STEMS, RATE_HZ).songs


def test_an_interrupted_second_run_leaves_nothing_to_train_on(tmp_path, monkeypatch):
    data = prepared(tmp_path, songs(tmp_path, 2))
    write(tmp_path / "songs" / "song0" / "bass.wav", noise(9, level=0.001))
    monkeypatch.setattr(prepare_module, "_write_json", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        prepare(data, STEMS, RATE_HZ)
    with pytest.raises(DataError, match="is not prepared"):
        load_library(data, STEMS, RATE_HZ)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_tracks_do_not_hold_files_open(tmp_path):
    data = prepared(tmp_path, songs(tmp_path, 3))
    ((_, tracks),) = load_library(data, STEMS, RATE_HZ).songs
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    assert [track.crop("bass", 0, 100).any() for track in tracks] == [True] * 3
    assert len(list(open_files.iterdir())) == before


@settings(max_examples=60, deadline=None)
@given(st.integers(-50, 150), st.integers(1, 200), st.integers(1, 100))
def test_a_cut_is_a_slice_with_silence_around(tmp_path_factory, start, length, frames):
    samples = np.random.default_rng(0).integers(-32767, 32767, (1, frames, 2)).astype(np.int16)
    path = tmp_path_factory.getbasetemp() / "track.npy"
    np.save(path, samples)
    track = PreparedTrack(
        "t", "s", path, RATE_HZ, frames, 2, ("bass",), {"bass": 0.5}, {"bass": 0.0}, {"bass": [0]}, {}, frozenset()
    )
    padded = np.pad(samples[0].T * np.float32(0.5), ((0, 0), (1000, 1000)))
    assert np.array_equal(track.crop("bass", start, length), padded[:, 1000 + start : 1000 + start + length])


def test_nothing_but_the_tensors_needs_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import hyperstem.data.prepare, hyperstem.data.tracks, hyperstem.data.mixing, hyperstem.data.sampling, "
        "hyperstem.data.stats, hyperstem.cli.prepare, hyperstem.cli.data"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_damaged_files_are_prepared_with_a_warning_unless_strict(tmp_path):
    source = songs(tmp_path, 2)
    path = tmp_path / "songs" / "song0" / "bass.wav"
    path.write_bytes(path.read_bytes()[:-8000])
    data = config(tmp_path, source)
    report = prepare(data, STEMS, RATE_HZ)
    assert (report.prepared, report.problems) == (2, ())
    assert any(
        re.search(r"song0: bass\.wav is damaged or cut short: 3\.88 s of 4\.00 s", text) for text in report.warnings
    )
    kept = prepare(data, STEMS, RATE_HZ)
    assert (kept.kept, kept.warnings) == (2, report.warnings)
    strict = prepare(data, STEMS, RATE_HZ, strict=True)
    assert (strict.prepared, strict.kept) == (0, 1)
    assert "strict reading refuses it" in strict.problems[0]
