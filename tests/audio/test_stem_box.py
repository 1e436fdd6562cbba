import av
import numpy as np
import pytest

from hyperstem import audio
from hyperstem.audio import Tags, stem_box
from hyperstem.errors import AudioError
from pictures import png
from separation_standin import noise

NAMES = ("mixture", "drums", "bass", "other", "vocals")


def stem_file(path, channels=2, tags=None):
    with audio.MultitrackWriter(path, 44_100, channels, NAMES, tags) as writer:
        writer.write([noise(channels, 30_000, seed=i) for i in range(5)])
    return path


@pytest.mark.parametrize("tags", [None, {"title": "T"}, Tags({"title": "T", "bpm": "120"}, png())])
def test_a_stem_file_says_what_its_stems_are(tmp_path, tags):
    path = stem_file(tmp_path / "a.stem.mp4", tags=tags)
    with path.open("rb") as file:
        found = stem_box.find(file, path.stat().st_size, b"moov", b"udta", b"stem")
        assert [box.name for box in found] == [b"moov", b"udta", b"stem"]
        tops = list(stem_box.boxes(file, 0, path.stat().st_size))
        assert tops[-1].end == path.stat().st_size
        inner = list(stem_box.boxes(file, found[0].body, found[0].end))
        assert inner[-1].end == found[0].end
    contents = stem_box.read(path)
    assert contents["version"] == 1
    assert [stem["name"] for stem in contents["stems"]] == ["Drums", "Bass", "Other", "Vocals"]
    assert all(len(stem["color"]) == 7 and stem["color"][0] == "#" for stem in contents["stems"])
    assert set(contents["mastering_dsp"]) == {"compressor", "limiter"}
    assert audio.stem_names(path) == ("Drums", "Bass", "Other", "Vocals")
    assert audio.read(path, stream=4)[0].shape == (2, 30_000)
    assert audio.probe(path).tags == dict(Tags.of(tags).texts)


def test_streams_are_stereo_and_the_mixture_is_the_one_that_plays(tmp_path):
    path = stem_file(tmp_path / "a.stem.mp4", channels=1)
    with av.open(str(path)) as file:
        assert [stream.codec_context.channels for stream in file.streams.audio] == [2] * 5
        assert [bool(stream.disposition.value & 1) for stream in file.streams.audio] == [True, *[False] * 4]
    wave, _ = audio.read(path)
    np.testing.assert_allclose(wave[0], wave[1], atol=1e-3)


def test_a_stem_can_be_read_by_its_name(tmp_path):
    path = stem_file(tmp_path / "a.stem.mp4")
    np.testing.assert_array_equal(audio.read(path, stream="vocals")[0], audio.read(path, stream=4)[0])


def test_other_files_are_no_stem_files(tmp_path):
    audio.write(tmp_path / "a.m4a", noise(1, 48_000), 48_000)
    audio.write(tmp_path / "a.wav", noise(1, 48_000), 48_000)
    for name in ("a.m4a", "a.wav"):
        assert audio.stem_names(tmp_path / name) == ()
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.m4a").read_bytes() + b"\0\0\0\x08free")
    with pytest.raises(AudioError, match="no moov box at its end"):
        stem_box.write(tmp_path / "b.mp4", ("x",))
