import av
import pytest

from damaged import whole, with_bytes, with_zeros
from hyperstem.audio import mpeg
from separation_standin import encode, noise


@pytest.mark.parametrize(
    ("name", "kind", "samples"), [("a.mp3", "mp3", 1152), ("a.aac", "aac", 1024), ("a.ac3", "ac3", 1536)]
)
def test_frames_are_found(tmp_path, name, kind, samples):
    (sound,) = mpeg.survey(whole(tmp_path / name))
    assert (sound.kind, sound.holes, sound.clean) == (kind, (), True)
    assert sound.counted == (name == "a.mp3")
    assert 3 <= sound.frames_s < 3.2


@pytest.mark.parametrize(
    ("rate_hz", "samples"), [(44_100, 1152), (48_000, 1152), (32_000, 1152), (22_050, 576), (16_000, 576), (8_000, 576)]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_of_mp3(tmp_path, rate_hz, samples, channels):
    path = encode(tmp_path / "a.mp3", "libmp3lame", noise(channels, rate_hz), rate_hz)
    (sound,) = mpeg.survey(path)
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(audio=0) if packet.size]
    assert sound.frames_s == pytest.approx(len(packets) * samples / rate_hz)
    assert sound.counted


def test_foreign_bytes_are_a_hole(tmp_path):
    (sound,) = mpeg.survey(with_bytes(whole(tmp_path / "a.mp3"), bytes(90)))
    (hole,) = sound.holes
    assert (hole.size, hole.lost_s) == (90, 0)
    assert hole.at_s == pytest.approx(1.5, abs=0.1)
    assert len(sound.stretches) == 2


def test_missing_frames_are_counted(tmp_path):
    (before,) = mpeg.survey(whole(tmp_path / "a.mp2"))
    (after,) = mpeg.survey(with_zeros(tmp_path / "a.mp2"))
    assert after.length_s == pytest.approx(before.length_s, abs=1e-6)
    assert after.holes[0].lost_s == pytest.approx(7 * 1152 / 44_100)


def test_tags_between_frames_are_no_holes(tmp_path):
    path = whole(tmp_path / "a.aac")
    data = path.read_bytes()
    tag = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    middle = data.index(data[:3], len(data) // 2)
    path.write_bytes(tag + data[:middle] + tag + data[middle:])
    (sound,) = mpeg.survey(path)
    assert sound.holes == ()
    assert [end - start for start, end in sound.stretches] == [middle, len(data) - middle]


def test_other_files_have_no_frames(tmp_path):
    for name in ("a.wav", "a.flac", "a.ogg"):
        assert mpeg.survey(whole(tmp_path / name, 0.5)) == ()
    (tmp_path / "a.mp3").write_bytes(b"\xff\xfb\x90\x44" * 5)
    assert mpeg.survey(tmp_path / "a.mp3") == ()
