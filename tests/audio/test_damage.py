"""Files that are damaged, joined, or have headers that are out of date: all that is there is read, and what is not is
named."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from damaged import CODECS, RATE_HZ, SECONDS, joined, variable_mp3, whole, with_bytes, with_zeros
from hyperstem import audio
from hyperstem.errors import AudioError
from separation_standin import encode, lag, noise

EVERY = [
    *CODECS,
    *("a.mp3", "a.ogg", "a.opus", "a.flac", "a.wav", "a.aiff", "a.au", "a.caf", "a.w64", "a.rf64"),
]


def read(path: Path, **settings) -> tuple[np.ndarray, list[str]]:
    told: list[str] = []
    wave, _ = audio.read(path, warn=told.append, **settings)
    return wave, told


def refused(path: Path, match: str = "strict") -> None:
    with pytest.raises(AudioError, match=match) as error:
        audio.read(path, strict=True, warn=lambda _: None)
    assert not re.search(r"Error number|psf_|temporarily|\n", str(error.value))


@pytest.mark.parametrize("name", EVERY)
def test_whole_files_raise_no_alarm(tmp_path, name):
    path = whole(tmp_path / name)
    wave, told = read(path, strict=True)
    assert told == []
    assert abs(wave.shape[1] / audio.probe(path).rate_hz - SECONDS) < 0.3


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.oga"])
def test_chained_ogg_is_read_whole_and_exactly(tmp_path, name):
    first, second = whole(tmp_path / f"1-{name}", 2), whole(tmp_path / f"2-{name}", 4, seed=1)
    path = joined(tmp_path / name, first, second)
    wave, told = read(path, strict=True)
    assert told == []
    expected = np.concatenate([audio.read(first)[0], audio.read(second)[0]], axis=1)
    assert wave.shape == expected.shape
    np.testing.assert_allclose(wave, expected, atol=2e-3)
    info = audio.probe(path)
    assert info.duration_s == pytest.approx(6, abs=0.01)
    part, _ = read(path, start_s=3, duration_s=1)
    at = 3 * info.rate_hz
    np.testing.assert_allclose(part, expected[:, at : at + info.rate_hz], atol=2e-3)


def test_links_of_another_rate_and_channel_count_are_converted(tmp_path):
    audio.write(tmp_path / "1.ogg", noise(2, 2 * 44_100), 44_100)
    audio.write(tmp_path / "2.ogg", noise(1, 4 * 48_000), 48_000)
    wave, told = read(joined(tmp_path / "a.ogg", tmp_path / "1.ogg", tmp_path / "2.ogg"))
    assert wave.shape[0] == 2
    assert abs(wave.shape[1] / 44_100 - 6) < 0.001
    assert told == ["is made of 2 parts of unlike rate or channels; all have those of the first"]
    np.testing.assert_array_equal(wave[0, 3 * 44_100 :], wave[1, 3 * 44_100 :])


def test_links_that_cannot_be_decoded_are_told(tmp_path):
    first = whole(tmp_path / "1.ogg", 2)
    data = bytearray(whole(tmp_path / "2.opus", 2).read_bytes())
    stranger = data.replace(b"OpusHead", b"Stranger").replace(b"OpusTags", b"StraTags")
    (tmp_path / "2.ogg").write_bytes(stranger)
    wave, told = read(joined(tmp_path / "a.ogg", first, tmp_path / "2.ogg"))
    assert 0 <= wave.shape[1] - 2 * RATE_HZ < 1024
    assert told  # its pages' checksums are wrong as well


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav", "a.aiff", "a.au", "a.caf", "a.w64", "a.rf64", "a.m4a"])
def test_files_joined_end_to_end_are_read_whole(tmp_path, name):
    first, second = whole(tmp_path / f"1-{name}", 1.5), whole(tmp_path / f"2-{name}", 2, seed=1)
    path = joined(tmp_path / name, first, second)
    wave, told = read(path)
    expected = np.concatenate([audio.read(first)[0], audio.read(second)[0]], axis=1)
    assert told == ["is made of 2 files joined end to end; all of them are read"]
    np.testing.assert_allclose(wave, expected, atol=1e-4)
    assert audio.probe(path).frames == expected.shape[1]
    refused(path)


@pytest.mark.parametrize("name", ["a.mp2", "a.aac", "a.ac3", "a.ts"])
def test_streams_that_are_made_to_be_joined_raise_no_alarm(tmp_path, name):
    first, second = whole(tmp_path / f"1-{name}", 2), whole(tmp_path / f"2-{name}", 2, seed=1)
    wave, _ = read(joined(tmp_path / name, first, second))
    assert wave.shape[1] >= 2 * 2 * RATE_HZ


def test_flac_without_a_length(tmp_path):
    data = bytearray(whole(tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(data)
    wave, told = read(tmp_path / "b.flac", strict=True)
    np.testing.assert_array_equal(wave, audio.read(tmp_path / "a.flac")[0])
    assert told == []
    part, _ = read(tmp_path / "b.flac", start_s=1, duration_s=1)
    np.testing.assert_array_equal(part, wave[:, RATE_HZ : 2 * RATE_HZ])


def test_flac_with_the_length_of_its_first_half(tmp_path):
    data = bytearray(whole(tmp_path / "a.flac").read_bytes())
    data[22:26] = struct.pack(">I", RATE_HZ)
    (tmp_path / "b.flac").write_bytes(data)
    wave, told = read(tmp_path / "b.flac", strict=True)
    np.testing.assert_array_equal(wave, audio.read(tmp_path / "a.flac")[0])
    assert told == ["says that it has 1.00 s, but has more; all of it is read"]


SIZES = {  # mark before the size of the sound, how far behind it, bytes, byte order
    "a.wav": (b"data", 4, 4, "little"),
    "a.aiff": (b"SSND", 4, 4, "big"),
    "a.au": (b".snd", 8, 4, "big"),
    "a.caf": (b"data", 4, 8, "big"),
    "a.rf64": (b"ds64", 16, 8, "little"),
}


@pytest.mark.parametrize("value", ["zero", "ones", "older"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_in_headers_that_are_wrong(tmp_path, name, value):
    path = whole(tmp_path / name)
    expected, _ = audio.read(path)
    mark, behind, size, order = SIZES[name]
    data = bytearray(path.read_bytes())
    at = data.index(mark) + behind
    real = int.from_bytes(data[at : at + size], order)
    number = {"zero": 0, "ones": (1 << 8 * size) - 1, "older": real // 3}[value]
    data[at : at + size] = number.to_bytes(size, order)
    path.write_bytes(data)
    wave, told = read(path, strict=True)  # nothing is lost
    np.testing.assert_array_equal(wave, expected)
    if name != "a.rf64":
        assert told == [
            f"has a header that does not tell {'of all its sound' if value == 'older' else 'how long it is'}; "
            "what is there is read"
        ]


@pytest.mark.slow
def test_a_wav_of_more_than_4_gib_whose_size_wrapped_around(tmp_path):
    path = whole(tmp_path / "a.wav")
    size = (1 << 32) + 3_000_000
    begin = path.read_bytes().index(b"data") + 8
    with path.open("r+b") as file:
        file.truncate(size + begin)
        file.seek(begin - 4)
        file.write(struct.pack("<I", size & 0xFFFFFFFF))
        file.seek(-400_000, 2)
        file.write(noise(1, 100_000).astype("<f4").tobytes())  # not silence alone
    assert audio.probe(path).frames == size // 4
    wave, _ = read(path, start_s=24_000, duration_s=0.1)
    assert wave.shape == (2, 4410)


@pytest.mark.parametrize(
    "rest", [bytes(128), b"TAG" + bytes(125), b"LIST\x04\0\0\0INFO", b"junk\x80\0\0\0" + bytes(128), bytes(100_000)]
)
def test_what_stands_behind_the_sound_of_a_wav_is_no_sound(tmp_path, rest):
    path = with_bytes(whole(tmp_path / "a.wav"), rest, share=1)
    wave, told = read(path, strict=True)
    assert wave.shape[1] == SECONDS * RATE_HZ
    assert told == []


def test_an_empty_wav_is_empty_whatever_chunk_follows(tmp_path):
    audio.write(tmp_path / "a.wav", np.zeros((2, 0), np.float32), RATE_HZ)
    with_bytes(tmp_path / "a.wav", b"LIST\x04\0\0\0INFO", share=1)
    with pytest.raises(AudioError, match="holds no samples"):
        audio.read(tmp_path / "a.wav")


LYRICS = b"LYRICSBEGININD0000200LYR00012some words  000044LYRICS200"
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)


@pytest.mark.parametrize("rest", [bytes(128), LYRICS, LYRICS + b"TAG" + bytes(125), APE, b"\r\n", b"\xff" * 50])
@pytest.mark.parametrize("name", ["a.mp3", "a.aac", "a.mp2", "a.ac3", "a.ts"])
def test_bytes_behind_the_last_frame_are_no_damage(tmp_path, name, rest):
    path = whole(tmp_path / name)
    expected, _ = audio.read(path)
    wave, told = read(with_bytes(path, rest, share=1), strict=True)
    np.testing.assert_array_equal(wave[:, : expected.shape[1] - 2048], expected[:, : expected.shape[1] - 2048])
    assert wave.shape == expected.shape
    assert told == []


@pytest.mark.parametrize("name", ["a.mp3", "a.aac", "a.mp2", "a.ac3"])
def test_foreign_bytes_in_the_middle_cost_nothing_else(tmp_path, name):
    path = whole(tmp_path / name)
    expected, rate_hz = audio.read(path)
    with_bytes(path, b"foreign" * 11)
    wave, told = read(path)
    assert wave.shape == expected.shape
    np.testing.assert_allclose(wave[:, : rate_hz // 1], expected[:, : rate_hz // 1], atol=1e-4)
    np.testing.assert_allclose(wave[:, 2 * rate_hz :], expected[:, 2 * rate_hz :], atol=1e-4)
    assert any(re.search(r"77 foreign bytes at 1\.[345]\d s", text) for text in told)
    refused(path)
    later, told_later = read(path, start_s=2)
    np.testing.assert_array_equal(later, wave[:, 2 * rate_hz :])
    assert told_later == []


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.aac", "a.mp2", "a.ac3", "a.ts", "a.flac", "a.oga", "a.opus", "a.m4a", "a.flv", "a.wma", "a.wv"]
)
def test_a_hole_is_filled_with_silence_and_named(tmp_path, name):
    path = whole(tmp_path / name)
    expected, rate_hz = audio.read(path)
    with_zeros(path)
    wave, told = read(path)
    assert abs(wave.shape[1] - expected.shape[1]) <= 64
    assert any(re.search(r"damaged (at|in \d+ places from) [12]\.\d\d s.*: \d\.\d\d s cannot", text) for text in told)
    longer = wave.shape[1] - expected.shape[1]
    assert abs(lag(wave[0, -rate_hz // 2 :], expected[0, -rate_hz // 2 :]) + longer) <= 64
    refused(path)


def test_windows_of_many_lengths_in_vorbis_are_no_holes(tmp_path):
    rng = np.random.default_rng(0)
    time = np.arange(4 * RATE_HZ)
    beats = (
        np.exp(-(time % (RATE_HZ // 7)) / 300) * rng.standard_normal(len(time)) * 0.3
    )  # changes windows all the time
    path, cut = tmp_path / "whole.ogg", tmp_path / "cut.ogg"
    audio.write(path, (beats + 0.2 * np.sin(time * 0.05)).astype(np.float32), RATE_HZ)
    content = path.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    wave, told = read(cut)
    assert len(told) == 1 and "cut short" in told[0]
    expected, _ = audio.read(path)
    assert np.abs(wave - expected[:, : wave.shape[1]]).max() < 1e-4


def test_a_hole_in_vorbis(tmp_path):
    path = whole(tmp_path / "a.ogg")
    expected, _ = audio.read(path)
    wave, told = read(with_zeros(path, 5000))
    assert abs(wave.shape[1] - expected.shape[1]) < 2048
    assert told[0].startswith("is damaged")
    assert "has damaged or missing pages in 1 place" in told
    refused(path)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_hole_that_has_no_place_is_named_as_well(tmp_path, name):
    _, told = read(with_zeros(whole(tmp_path / name), 8000))
    assert any(re.search(r"damaged or cut short: [12]\.\d\d s of \d\.\d\d s", text) for text in told)
    refused(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.caf", "a.w64", "a.flac", "a.mp3", "a.ogg", "a.opus"])
def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path, name):
    path = whole(tmp_path / name)
    expected, _ = audio.read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    wave, told = read(path)
    count = wave.shape[1] - 2048
    assert count > expected.shape[1] // 2
    np.testing.assert_allclose(wave[:, :count], expected[:, :count], atol=2e-3)
    assert any("is damaged" in text for text in told)
    refused(path)


def first_frame(data: bytes) -> int:
    """Where the first frame with sound begins in an MP3 made here: behind the one that counts."""
    return data.index(b"\xff\xfb", data.index(b"\xff\xfb") + 4)


@pytest.mark.parametrize("broken", [slice(0, 4), slice(4, 60), slice(200, 700)])
def test_a_broken_first_frame_does_not_shift_the_sound(tmp_path, broken):
    path = whole(tmp_path / "a.mp3")
    expected, _ = audio.read(path)
    data = bytearray(path.read_bytes())
    at = first_frame(data)
    data[at + broken.start : at + broken.stop] = b"\x55" * (broken.stop - broken.start)
    path.write_bytes(data)
    wave, _ = read(path)
    assert wave.shape == expected.shape
    np.testing.assert_allclose(wave[:, 4000:], expected[:, 4000:], atol=1e-4)


def test_an_mp3_cut_out_of_a_longer_one_may_be_read_by_the_strict(tmp_path):
    path = encode(tmp_path / "a.mp3", "libmp3lame", noise(2, 3 * RATE_HZ), RATE_HZ)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 2 :])
    wave, _ = read(path, strict=True)
    assert abs(wave.shape[1] - 1.5 * RATE_HZ) < 3000


@pytest.mark.parametrize("second", [(48_000, 1), (44_100, 1), (22_050, 2)])
def test_an_mp3_that_changes_midway_is_converted(tmp_path, second):
    rate_hz, channels = second
    audio.write(tmp_path / "1.mp3", noise(2, 2 * RATE_HZ), RATE_HZ)
    audio.write(tmp_path / "2.mp3", noise(channels, 2 * rate_hz), rate_hz)
    data = (tmp_path / "2.mp3").read_bytes()
    bare = data[first_frame(data) :] if rate_hz != 22_050 else data
    (tmp_path / "a.mp3").write_bytes((tmp_path / "1.mp3").read_bytes() + bare)
    wave, told = read(tmp_path / "a.mp3")
    assert wave.shape[0] == 2
    assert abs(wave.shape[1] / RATE_HZ - 4) < 0.1
    assert told


def test_an_estimate_of_the_length_is_not_believed(tmp_path):
    quiet, loud = np.zeros((2, 3 * RATE_HZ), np.float32), noise(2, RATE_HZ)
    path = tmp_path / "a.mp3"
    variable_mp3(path, np.concatenate([quiet, loud], axis=1))
    wave, told = read(path, strict=True)
    assert told == []
    assert audio.probe(path).duration_s == pytest.approx(wave.shape[1] / RATE_HZ, abs=0.03)


@pytest.mark.parametrize("content", [b"RIFF\x10\0\0\0WAVEfmt ", b"fLaC" + bytes(40), b"\xff\xfb\x90\x44", b"OggS" * 9])
def test_reasons_are_given_in_words(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    refused(tmp_path / "a.bin", match="a.bin")


def test_without_somebody_to_tell_python_is_told(tmp_path):
    path = with_zeros(whole(tmp_path / "a.mp3"))
    with pytest.warns(audio.AudioWarning, match=r"a\.mp3 is damaged at 1\."):
        audio.read(path)
    with audio.collected_warnings() as told:
        audio.read(path)
    assert len(told) == 1


def test_the_part_before_the_damage_is_read_without_a_word(tmp_path):
    path = with_zeros(whole(tmp_path / "a.mp3"))
    wave, told = read(path, duration_s=1, strict=True)
    assert (wave.shape[1], told) == (RATE_HZ, [])


def test_soundfile_and_pyav_agree_where_one_takes_over(tmp_path):
    path = whole(tmp_path / "a.flac")
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    data = bytearray(path.read_bytes())
    data[-2000:-1000] = bytes(1000)
    path.write_bytes(data)
    wave, told = read(path)
    np.testing.assert_array_equal(wave[:, : 2 * RATE_HZ], expected.T[:, : 2 * RATE_HZ])
    assert len(expected) - wave.shape[1] < 4096
    assert told
