"""What the files of stems hold beside the sound, and how many channels."""

import json

import numpy as np
import pytest
import soundfile

from damaged import whole, with_zeros
from hyperstem import audio
from hyperstem.audio import Tags, read_tags
from hyperstem.audio.chunks import Marker, Placement
from hyperstem.audio.convert import stereo_weights
from hyperstem.errors import AudioError, ConfigError
from hyperstem.separation import batch
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.stem_files import StemFiles
from pictures import png
from separation_standin import noise, separator

STEMS = ("drums", "bass", "other", "vocals")
REFERENCE = 44_100 * 60


def settings(folder, name="wav", output=None, **others) -> batch.BatchSettings:
    chosen = OutputSettings(audio.named_format(name), **(output or {}))
    return batch.BatchSettings(folder, chosen, "{track}/{stem}.{ext}", **others)


def test_a_way_to_clip_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="clip is 'scael'; allowed are scale, clamp, error"):
        OutputSettings(audio.named_format("wav"), clip="scael")


def run(path, chosen) -> batch.Result:
    tasks = batch.plan([path], chosen, STEMS)
    (result,) = batch.run(separator(), tasks, chosen, lambda _: None)
    return result


def tagged(path, rate_hz=44_100):
    bext = bytearray(602)
    bext[338:346] = REFERENCE.to_bytes(8, "little")
    placement = Placement(bytes(bext), (Marker(22_050, "verse"), Marker(66_150, "chorus")))
    texts = {"title": "Song", "artist": "Band", "album_artist": "All", "isrc": "USABC1234567"}
    audio.write(path, noise(2, 2 * rate_hz), rate_hz, tags=Tags(texts, png(), placement))
    return path


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_stems_have_the_songs_tags_and_their_name_in_the_title(tmp_path, name):
    result = run(tagged(tmp_path / "song.wav"), settings(tmp_path / "out", name))
    assert result.status == "done", result.error
    for stem in STEMS:
        found = read_tags(tmp_path / f"out/song/{stem}.{name}")
        assert found.texts["title"] == f"Song ({stem})"
        assert {tag: found.texts[tag] for tag in ("artist", "album_artist", "isrc")} == {
            "artist": "Band",
            "album_artist": "All",
            "isrc": "USABC1234567",
        }
        assert found.cover == png()


def test_time_reference_and_markers_go_along(tmp_path):
    chosen = settings(tmp_path / "out", output={"rate_hz": 22_050}, start_s=0.25)
    assert run(tagged(tmp_path / "song.wav"), chosen).status == "done"
    placement = read_tags(tmp_path / "out/song/vocals.wav").placement
    assert placement.reference == REFERENCE // 2 + round(0.25 * 22_050)
    assert placement.markers == (Marker(5512, "verse"), Marker(27_562, "chorus"))


def test_tags_stay_when_files_are_written_once_more_for_their_gain(tmp_path):
    paths = {stem: tmp_path / f"{stem}.flac" for stem in STEMS}
    waves = noise(8, 30_000, 0.6).reshape(4, 2, -1)
    output = OutputSettings(audio.named_format("flac"))
    with StemFiles(paths, output, STEMS, 44_100, 2, Tags({"title": "S"}, png())) as files:
        files.write(waves.sum(axis=0), waves)
        assert files.close().gain < 1
    assert read_tags(paths["bass"]).texts == {"title": "S (bass)"}


@pytest.mark.parametrize("channels", [1, 2])
def test_stem_mp4_is_stereo_and_names_its_stems(tmp_path, channels):
    audio.write(tmp_path / "song.wav", noise(channels, 44_100), 44_100)
    assert run(tmp_path / "song.wav", settings(tmp_path / "out", "stem.mp4")).status == "done"
    (path,) = (tmp_path / "out").rglob("*.stem.mp4")
    assert audio.stem_names(path) == ("Drums", "Bass", "Other", "Vocals")
    assert [audio.probe(path, stream).channels for stream in range(5)] == [2] * 5


@pytest.mark.parametrize("name", ["wav", "m4a", "stem.mp4"])
def test_surround_is_mixed_down_for_those_who_ask(tmp_path, name):
    wave = np.rint(noise(6, 44_100, 0.05) * 32768) / 32768
    audio.write(tmp_path / "song.wav", wave, 44_100)
    chosen = settings(tmp_path / "out", name, {"channels": "stereo"})
    assert run(tmp_path / "song.wav", chosen).status == "done"
    files = sorted((tmp_path / "out").rglob(f"*.{name}"))
    waves = [audio.read(path)[0] for path in files]
    assert all(len(each) == 2 for each in waves)
    if name == "wav":
        steps = sum(np.rint(each * 32768).astype(int) for each in waves)
        np.testing.assert_array_equal(steps, np.rint((stereo_weights(6) @ wave.astype(np.float32)) * 32768))
    refused = run(tmp_path / "song.wav", settings(tmp_path / "none", name))
    if name != "wav":
        assert "holds at most 2 channels; 6 given; --channels stereo mixes them down" in refused.error


def test_warnings_reach_the_result_and_the_manifest(tmp_path):
    path = with_zeros(whole(tmp_path / "song.mp3"))
    result = run(path, settings(tmp_path / "out"))
    assert result.status == "done"
    (warning,) = result.warnings
    assert warning.startswith("is damaged at 1.")
    assert json.loads((tmp_path / "out/song/manifest.json").read_text())["warnings"] == [warning]
    assert soundfile.info(tmp_path / "out/song/bass.wav").frames == 3 * 44_100
    strict = run(path, settings(tmp_path / "strict", strict=True))
    assert "strict reading refuses it" in strict.error
    assert not (tmp_path / "strict").exists()


def test_a_stream_is_chosen(tmp_path):
    names = ("mixture", "drums", "bass")
    with audio.MultitrackWriter(tmp_path / "song.stem.mp4", 44_100, 2, names) as writer:
        writer.write([noise(2, 44_100, level) for level in (0.1, 0.2, 0.3)])
    result = run(tmp_path / "song.stem.mp4", settings(tmp_path / "out", stream="bass"))
    assert result.status == "done", result.error
    total = sum(audio.read(path)[0] for path in result.output.paths.values())
    np.testing.assert_allclose(total, audio.read(tmp_path / "song.stem.mp4", stream=2)[0], atol=1e-3)
    missing = run(tmp_path / "song.stem.mp4", settings(tmp_path / "none", stream="piano"))
    assert "no sound stream 'piano'" in missing.error


def test_surround_that_is_not_asked_for_says_so():
    with pytest.raises(AudioError, match="--channels stereo"):
        audio.named_format("mp3").check(44_100, 6, "")
