import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from mutagen import aiff, asf, id3, mp4, wave, wavpack

from hyperstem import audio
from hyperstem.audio import Tags, read_tags
from hyperstem.audio.chunks import Marker, Placement, chunk, read_placement, walk
from pictures import png
from separation_standin import encode, noise

FULL = {
    "title": "Žluťoučký kůň",
    "artist": "Band & Co",
    "album": "First",
    "album_artist": "Various",
    "date": "2020",
    "track": "3/9",
    "disc": "1/2",
    "genre": "Rock",
    "composer": "Somebody",
    "comment": "hello",
    "copyright": "© 2020",
    "bpm": "128",
    "key": "Am",
    "isrc": "USABC1234567",
}
FORMATS = [name for name, item in audio.FORMATS.items() if not item.multitrack]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_tags_and_cover(tmp_path, name):
    path = tmp_path / f"a.{name}"
    sound = noise(2, 48_000)
    audio.write(path, sound, 48_000, tags=Tags(FULL, png()))
    found = read_tags(path)
    assert found.texts == FULL
    assert found.cover == png()
    assert audio.probe(path).tags == FULL
    assert audio.read(path)[0].shape == sound.shape


@pytest.mark.parametrize("name", FORMATS)
def test_without_tags_there_are_none(tmp_path, name):
    audio.write(tmp_path / f"a.{name}", noise(1, 48_000), 48_000)
    assert read_tags(tmp_path / f"a.{name}") == Tags()


def id3_frames() -> list[id3.Frame]:
    texts = {"TIT2": "title", "TPE1": "artist", "TPE2": "album_artist", "TBPM": "bpm", "TKEY": "key", "TSRC": "isrc"}
    frames = [getattr(id3, name)(3, [FULL[tag]]) for name, tag in texts.items()]
    return [*frames, id3.APIC(3, "image/png", 3, "", png()), id3.TXXX(3, "replaygain_track_gain", ["-7 dB"])]


@pytest.mark.parametrize("name", ["a.aiff", "a.wav", "a.mp3"])
def test_id3_is_read_in_every_container(tmp_path, name):
    path = tmp_path / name
    if name == "a.mp3":
        encode(path, "libmp3lame", noise(2, 44_100), 44_100)
        file = id3.ID3(path)
    else:
        soundfile.write(path, noise(2, 44_100).T, 44_100)
        opened = aiff.AIFF(path) if name == "a.aiff" else wave.WAVE(path)
        opened.add_tags()
        file = opened.tags
    for frame in id3_frames():
        file.add(frame)
    file.save(path)
    found = read_tags(path)
    wanted = ("title", "artist", "album_artist", "bpm", "key", "isrc")
    assert found.texts == {tag: FULL[tag] for tag in wanted}
    assert found.cover == png()


def test_tags_of_ape_asf_and_matroska(tmp_path):
    encode(tmp_path / "a.wv", "wavpack", noise(2, 44_100), 44_100)
    file = wavpack.WavPack(tmp_path / "a.wv")
    file.tags.update(
        {"Title": "T", "Album Artist": "AA", "Year": "1999", "BPM": "99", "replaygain_track_gain": "-3 dB"}
    )
    file.save()
    assert read_tags(tmp_path / "a.wv").texts == {"title": "T", "album_artist": "AA", "date": "1999", "bpm": "99"}
    encode(tmp_path / "a.wma", "wmav2", noise(2, 44_100), 44_100)
    described = asf.ASF(tmp_path / "a.wma")
    described.tags.update({"Title": ["T"], "WM/AlbumArtist": ["AA"], "WM/BeatsPerMinute": ["99"]})
    described.save()
    assert read_tags(tmp_path / "a.wma").texts == {"title": "T", "album_artist": "AA", "bpm": "99"}
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        out.metadata.update({"title": "T", "album_artist": "AA", "composer": "C"})
        stream = out.add_stream("flac", rate=44_100)
        stream.codec_context.layout, stream.codec_context.format = "stereo", "s16"
        frame = av.AudioFrame.from_ndarray(noise(2, 44_100), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    assert read_tags(tmp_path / "a.mkv").texts == {"title": "T", "album_artist": "AA", "composer": "C"}


@pytest.mark.parametrize("text", ["fast", "", "99999999", "120.5", "0"])
def test_numbers_that_mp4_cannot_hold_are_left_out(tmp_path, text):
    audio.write(tmp_path / "a.m4a", noise(1, 48_000), 48_000, tags={"title": "T", "bpm": text, "track": text})
    assert read_tags(tmp_path / "a.m4a").texts["title"] == "T"


def test_what_is_no_picture_is_no_cover(tmp_path):
    audio.write(tmp_path / "a.m4a", noise(1, 48_000), 48_000)
    file = mp4.MP4(tmp_path / "a.m4a")
    file["covr"] = [mp4.MP4Cover(b"no picture", mp4.MP4Cover.FORMAT_PNG)]
    file.save()
    assert read_tags(tmp_path / "a.m4a").cover == b""


def test_the_stem_is_named_in_the_title():
    assert Tags({"title": "Song"}).of_stem("vocals").texts == {"title": "Song (vocals)"}
    assert Tags({"artist": "A"}).of_stem("vocals").texts == {"artist": "A"}


def bext(reference: int, version: int = 2) -> bytes:
    body = bytearray(602)
    body[:4] = b"Take"
    body[338:346] = reference.to_bytes(8, "little")
    body[346:348] = version.to_bytes(2, "little")
    body[348:412] = b"\x11" * 64
    body[412:422] = struct.pack("<5h", -2300, 500, -100, -1800, -2000)
    return bytes(body) + b"A=PCM"


PLACED = Placement(bext(48_000 * 3600), (Marker(0, "start"), Marker(24_000, "chorus", 12_000), Marker(40_000)))


def test_placement_goes_from_wav_to_wav(tmp_path):
    audio.write(tmp_path / "a.wav", noise(2, 48_000), 48_000, tags=Tags({"title": "T"}, b"", PLACED))
    assert read_placement(tmp_path / "a.wav") == PLACED
    assert read_tags(tmp_path / "a.wav") == Tags({"title": "T", "comment": "Take"}, b"", PLACED)  # the description
    assert soundfile.info(tmp_path / "a.wav").frames == 48_000
    assert read_placement(Path(__file__)) == Placement()


def test_placement_of_a_part_at_another_rate():
    part = PLACED.of_part(0.25, 48_000, 24_000)
    assert part.reference == 24_000 * 3600 + 6_000
    assert part.markers == (Marker(6_000, "chorus", 6_000), Marker(14_000))
    assert part.bext[348:412] == bytes(64)  # the identifier of another recording
    assert struct.unpack("<5h", part.bext[412:422]) == (0x7FFF,) * 5  # the loudness of another sound
    assert part.bext[:4] == b"Take"
    assert part.bext[602:] == b"A=PCM"


def test_chunks_end_where_a_name_is_zeros():
    class Counting(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            return super().read(size)

    content = chunk(b"fmt ", bytes(16)) + chunk(b"odd ", b"abc") + bytes(80_000) + chunk(b"cue ", bytes(4))
    file = Counting(content)
    assert list(walk(file, 0, len(content))) == [(b"fmt ", 8, 16), (b"odd ", 32, 3)]
    assert file.reads == 3  # the silence behind them is not searched


def test_chunks_of_other_programs_may_be_odd(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 100), 8000)
    data = (tmp_path / "a.wav").read_bytes()
    for odd in (chunk(b"cue ", b"\x09\0\0\0"), chunk(b"bext", b"short"), chunk(b"LIST", b"adtl" + b"labl\xff\0\0\0")):
        (tmp_path / "b.wav").write_bytes(data[:12] + odd + data[12:])
        assert read_placement(tmp_path / "b.wav") == Placement()


def test_a_full_disk_while_tags_are_written(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mutagen.flac.FLAC.save", full)
    with pytest.raises(OSError, match="No space left"):
        audio.write(tmp_path / "a.flac", np.zeros((1, 100), np.float32), 8000, tags={"title": "T"})
    assert not list(tmp_path.iterdir())
