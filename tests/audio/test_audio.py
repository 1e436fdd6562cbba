import hashlib
import os
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from hyperstem import audio
from hyperstem.errors import AudioError
from separation_standin import clicks, encode, lag, noise

LENGTH = 70_003
TAGS = {"title": "Žluťoučký kůň", "artist": "Band & Co", "album": "First"}
LOSSLESS = [(name, subtype) for name in ("wav", "flac") for subtype in audio.FORMATS[name].subtypes]
LOSSY = ["mp3", "ogg", "opus", "m4a"]


@pytest.mark.parametrize("channels", (1, 2, 6))
@pytest.mark.parametrize(("name", "subtype"), LOSSLESS)
def test_lossless_formats_give_back_what_was_written(tmp_path, name, subtype, channels):
    path = tmp_path / f"sound.{name}"
    wave = noise(channels, LENGTH)
    audio.write(path, wave, 44100, subtype=subtype, tags=TAGS)
    result, rate_hz = audio.read(path)
    assert rate_hz == 44100
    assert result.dtype == np.float32
    assert result.shape == wave.shape
    step = {"pcm16": 2.0**-15, "pcm24": 2.0**-23, "float": 0}[subtype]
    assert np.abs(result - wave).max() <= step / 2
    info = audio.probe(path)
    assert (info.rate_hz, info.channels, info.frames) == (44100, channels, LENGTH)
    assert info.duration_s == pytest.approx(LENGTH / 44100)
    assert info.tags == TAGS
    with av.open(str(path)) as file:  # another reader understands it too
        assert sum(frame.samples for frame in file.decode(audio=0)) == LENGTH


@pytest.mark.parametrize("rate_hz", (8000, 44100, 48000))
@pytest.mark.parametrize("channels", (1, 2))
@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_keep_length_and_place(tmp_path, name, channels, rate_hz):
    path = tmp_path / f"sound.{name}"
    rate_hz = audio.FORMATS[name].rate_for(rate_hz)
    wave = clicks(channels, LENGTH, (3000, 31_000, LENGTH - 2000))
    audio.write(path, wave, rate_hz, tags=TAGS)
    result, got_hz = audio.read(path)
    assert got_hz == rate_hz
    assert result.shape == wave.shape
    assert lag(result[0], wave[0]) == 0
    assert audio.probe(path).tags == TAGS
    if name == "m4a":  # other readers go by the edit list, so it must be exact
        assert audio.probe(path).frames == LENGTH


def tones(channels: int, rate_hz: int) -> np.ndarray:
    """A second of sound whose channels tell themselves apart by their pitch."""
    pitches_hz = 20 * np.arange(1, channels + 1)[:, None]
    return (0.1 * np.sin(2 * np.pi * pitches_hz * np.arange(rate_hz) / rate_hz)).astype(np.float32)


def pitches(wave: np.ndarray) -> list[int]:
    """Which of the tones each channel has, from 1."""
    return [round(float(np.abs(np.fft.rfft(channel)).argmax()) / 20) for channel in wave]


def encode_surround(path: Path, layout: str, wave: np.ndarray) -> Path:
    """Opus for many loudspeakers, at 48 kHz."""
    with av.open(str(path), "w") as file:
        sound = file.add_stream("libopus", rate=48_000, options={"mapping_family": "1"})
        sound.codec_context.layout, sound.codec_context.format = layout, "flt"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T).reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        file.mux([*sound.encode(frame), *sound.encode(None)])
    return path


@pytest.mark.parametrize(("layout", "channels"), [("5.1", 6), ("7.1", 8)])
@pytest.mark.parametrize("name", ["a.mkv", "a.opus"])
def test_surround_sound_is_read(tmp_path, name, layout, channels):
    wave, rate_hz = audio.read(encode_surround(tmp_path / name, layout, tones(channels, 48_000)))
    assert (wave.shape, rate_hz) == ((channels, 48_000), 48_000)
    assert pitches(wave) == [*range(1, channels + 1)]


@pytest.mark.parametrize(
    ("channels", "in_the_file"),
    [
        (2, [1, 2]),
        (3, [1, 3, 2]),
        (4, [1, 2, 3, 4]),
        (5, [1, 3, 2, 4, 5]),
        (6, [1, 3, 2, 5, 6, 4]),
        (7, [1, 3, 2, 6, 7, 5, 4]),
        (8, [1, 3, 2, 7, 8, 5, 6, 4]),
    ],
)
def test_loudspeakers_have_another_order_in_ogg_files_alone(tmp_path, channels, in_the_file):
    path = tmp_path / "a.ogg"
    audio.write(path, tones(channels, 44_100), 44_100)
    as_stored, _ = soundfile.read(path)
    assert pitches(as_stored.T) == in_the_file
    wave, _ = audio.read(path)
    assert wave.shape == (channels, 44_100)
    assert pitches(wave) == [*range(1, channels + 1)]


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "exact"),
    [
        ("lame.mp3", "libmp3lame", 44100, True),
        ("apple.m4a", "aac", 44100, True),
        ("alac.m4a", "alac", 44100, True),
        ("sound.opus", "libopus", 48000, True),
        ("sound.flac", "flac", 44100, True),
        ("web.webm", "libopus", 48000, True),
        ("film.mkv", "aac", 44100, False),
        ("film.mp4", "libmp3lame", 44100, False),
        ("old.wma", "wmav2", 44100, False),
        ("raw.aac", "aac", 44100, False),
        ("disc.ac3", "ac3", 48000, False),
        ("sound.aiff", "pcm_s16be", 44100, True),
        ("sound.wav", "pcm_s24le", 44100, True),
        ("sound.mka", "flac", 44100, True),
        ("eight.wav", "pcm_u8", 44100, True),
    ],
)
def test_containers_of_other_programs(tmp_path, name, codec, rate_hz, exact):
    wave = clicks(2, LENGTH, (3000, 31_000, 60_000))
    path = encode(tmp_path / name, codec, wave, rate_hz)
    result, got_hz = audio.read(path)
    assert got_hz == rate_hz
    assert result.shape[0] == 2
    if exact:
        assert result.shape == wave.shape
        assert lag(result[1], wave[1]) == 0
    else:  # no or a coarse record of where the sound ends
        assert abs(result.shape[1] - LENGTH) < 4096
    blocks = list(audio.stream(path, block_frames=5000))
    assert np.array_equal(np.concatenate(blocks, axis=1), result)


@pytest.mark.parametrize("name", ["sound.wav", "sound.flac", "sound.mp3", "sound.m4a", "sound.ogg", "sound.opus"])
def test_a_part_is_the_same_as_in_the_whole(tmp_path, name):
    path = tmp_path / name
    audio.write(path, noise(2, 48_000 * 2), 48_000)
    whole, _ = audio.read(path)
    part, _ = audio.read(path, start_s=0.5, duration_s=0.25)
    assert part.shape == (2, 12_000)
    tolerance = 1e-6 if name not in ("sound.ogg", "sound.opus") else 1e-3  # decoders converge after a jump
    assert np.abs(part - whole[:, 24_000:36_000]).max() <= tolerance
    rest, _ = audio.read(path, start_s=1.75, duration_s=10)
    assert rest.shape == (2, 12_000)


def test_a_start_past_the_end_is_an_error(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 8000), 8000)
    with pytest.raises(AudioError, match=r"start is 2 s; the file has 1\.00 s"):
        audio.read(tmp_path / "a.wav", start_s=2)
    with pytest.raises(AudioError, match="duration is 0"):
        audio.read(tmp_path / "a.wav", duration_s=0)


def test_stem_mp4_holds_every_track(tmp_path):
    path = tmp_path / "song.stem.mp4"
    names = ("mixture", "drums", "bass", "other", "vocals")
    waves = [clicks(2, LENGTH, (5000 * (i + 1),)) for i in range(5)]
    with audio.MultitrackWriter(path, 44100, 2, names, TAGS) as writer:
        writer.write([wave[:, :40_000] for wave in waves])
        writer.write([wave[:, 40_000:] for wave in waves])
    assert audio.sound_streams(path) == 5
    for index, wave in enumerate(waves):
        result, _ = audio.read(path, stream=index)
        assert result.shape == wave.shape
        assert lag(result[0], wave[0]) == 0
    with pytest.raises(AudioError, match="no sound stream 5; it has 5"):
        audio.read(path, stream=5)


def test_one_stream_in_most_files(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 10), 8000)
    assert audio.sound_streams(tmp_path / "a.wav") == 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.m4a"])  # ogg has a serial number by chance
def test_the_same_input_gives_the_same_bytes(tmp_path, name):
    wave, digests = noise(2, 48_000), set()
    for _ in range(2):
        audio.write(tmp_path / name, wave, 48_000, subtype="float" if name == "a.wav" else "pcm16", tags=TAGS)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        time.sleep(1.1 if name == "a.wav" else 0)  # clocks tell seconds apart
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["a.wav", "a.rf64", "a.aiff", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.mkv", "a.m4a"])
@pytest.mark.parametrize("share", (0.03, 0.5, 0.97))
def test_a_file_cut_short_is_an_error_for_the_strict(tmp_path, name, share):
    whole = tmp_path / name
    wave = noise(2, 96_000)
    if name == "a.mkv":
        encode(whole, "libopus", wave, 48_000)
    elif name in ("a.rf64", "a.aiff"):
        soundfile.write(whole, wave.T, 48_000)
    else:
        audio.write(whole, wave, 48_000)
    cut = tmp_path / f"cut-{name}"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    if name == "a.mkv" and share == 0.97:
        pytest.skip("its header tells the length only to a quarter of a second")
    with pytest.raises(AudioError) as error:
        audio.read(cut, strict=True)
    assert str(cut) in str(error.value)
    assert "\n" not in str(error.value)


def ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def ogg_pages(data: bytes) -> list[slice]:
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
    return [slice(*each) for each in zip(starts, [*starts[1:], at], strict=True)]


def set_ogg_end(data: bytearray, page: slice, end: bool) -> None:
    data[page.start + 5] = data[page.start + 5] | 4 if end else data[page.start + 5] & ~4
    data[page.start + 22 : page.start + 26] = bytes(4)
    data[page.start + 22 : page.start + 26] = ogg_crc(data[page]).to_bytes(4, "little")


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
@pytest.mark.parametrize("missing", [1, 3, 28])
def test_an_ogg_file_whose_last_page_is_unmarked_is_whole_to_its_last_byte(tmp_path, name, missing):
    path = tmp_path / name
    audio.write(path, noise(2, 480_000), 48_000)
    whole, _ = audio.read(path)
    data = bytearray(path.read_bytes())
    set_ogg_end(data, ogg_pages(data)[-1], False)
    path.write_bytes(data)
    again, _ = audio.read(path)
    assert abs(again.shape[1] - whole.shape[1]) < 4000  # what the last block holds beyond the end may be heard
    np.testing.assert_allclose(again[:, :470_000], whole[:, :470_000], atol=1e-3)
    path.write_bytes(data[:-missing])
    with pytest.raises(AudioError, match="cut short"):
        audio.read(path, strict=True)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_an_ogg_file_whose_last_pages_all_say_that_they_are_the_last(tmp_path, name):
    path = tmp_path / name
    audio.write(path, noise(2, 480_000), 48_000)
    whole, _ = audio.read(path)
    data = bytearray(path.read_bytes())
    for page in ogg_pages(data)[-3:-1]:
        set_ogg_end(data, page, True)
    path.write_bytes(data)
    again, _ = audio.read(path)
    assert again.shape == whole.shape
    np.testing.assert_allclose(again, whole, atol=1e-3)
    path.write_bytes(data[:-200])
    with pytest.raises(AudioError, match=r"cut short: 9\.\d+ s"):
        audio.read(path, strict=True)


def test_the_part_before_the_cut_can_be_read(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 8000), 8000)
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    assert audio.read(tmp_path / "cut.wav", duration_s=0.4)[0].shape == (1, 3200)
    with pytest.raises(AudioError, match=r"0\.50 s of 1\.00 s"):
        audio.read(tmp_path / "cut.wav", strict=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp3", b""),
        ("text.mp3", b"This is no music. " * 500),
        ("text.wav", b"RIFF but no more"),
        ("zeros.flac", bytes(5000)),
        ("page.ogg", b"OggS" + bytes(300)),
        ("tag.mp3", b"ID3\x03\x00\x00\x00\x00\x00\x00"),
    ],
)
def test_what_is_no_audio_is_an_error_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError) as error:
        audio.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_video_without_sound_is_an_error(tmp_path):
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match="has no sound"):
        audio.probe(path)


def film(path: Path, wave: np.ndarray, pictures_s: int, later_s: int = 0, codec: str = "flac") -> Path:
    """A video whose sound, at 48 kHz, begins later than its pictures."""
    with av.open(str(path), "w") as file:
        picture, sound = file.add_stream("mpeg4", rate=25), file.add_stream(codec, rate=48_000)
        picture.width = picture.height = 64
        form = "s16" if codec == "flac" else "fltp"
        sound.codec_context.layout, sound.codec_context.format = "stereo", form
        sound.codec_context.bit_rate = 128_000
        for _ in range(25 * pictures_s):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        steps = np.rint(wave.T * 32768).astype(np.int16).reshape(1, -1) if form == "s16" else wave
        frame = av.AudioFrame.from_ndarray(steps, format=form, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, later_s * 48_000, Fraction(1, 48_000)
        file.mux([*sound.encode(frame), *sound.encode(None), *picture.encode(None)])
    return path


def test_the_sound_of_a_video_is_read(tmp_path):
    wave = noise(2, 48_000)
    result, _ = audio.read(film(tmp_path / "film.mkv", wave, pictures_s=1))
    assert np.array_equal(result, np.rint(wave * 32768) / 32768)


@pytest.mark.parametrize(("name", "codec"), [("film.mkv", "flac"), ("film.wmv", "wmav2")])
@pytest.mark.parametrize("later_s", (0, 2))
def test_the_pictures_of_a_video_may_be_longer_than_its_sound(tmp_path, name, codec, later_s):
    whole = film(tmp_path / name, noise(2, 96_000), pictures_s=5, later_s=later_s, codec=codec)
    result, rate_hz = audio.read(whole)
    assert abs(result.shape[1] / rate_hz - 2) < 0.1


def test_a_video_cut_short_is_an_error(tmp_path):
    data = film(tmp_path / "film.mkv", noise(2, 96_000), pictures_s=5, later_s=1).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(AudioError, match=r"of 2\.00 s can be decoded"):
        audio.read(cut, strict=True)


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf, 1e16, -1e38))
@pytest.mark.filterwarnings("error")
def test_samples_that_are_not_finite_are_named(tmp_path, value):
    wave = noise(2, 44_100)
    wave[1, 22_050] = value
    audio.write(tmp_path / "a.wav", wave, 44_100, subtype="float")
    with pytest.raises(AudioError, match=r"sample 22050 \(0\.500 s\) of channel 1 is -?(nan|inf|[19].*at most)"):
        audio.read(tmp_path / "a.wav")


def test_a_file_without_samples_is_an_error(tmp_path):
    audio.write(tmp_path / "a.wav", np.zeros((2, 0), np.float32), 44_100)
    with pytest.raises(AudioError, match="holds no samples"):
        audio.read(tmp_path / "a.wav")


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(AudioError, match="is a folder"):
        audio.probe(tmp_path)
    with pytest.raises(FileNotFoundError):
        audio.probe(tmp_path / "none.wav")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "song.wav")
    with pytest.raises(AudioError, match="is a pipe or a device"):
        audio.probe(tmp_path / "song.wav")


def test_full_scale_is_2_to_the_15_both_ways(tmp_path):
    path = tmp_path / "a.wav"
    audio.write(path, np.array([[-1.5, -1, 0, 32767 / 32768, 1, 1.5]], np.float32), 8000)
    steps, _ = soundfile.read(path, dtype="int16")
    assert steps.tolist() == [-32768, -32768, 0, 32767, 32767, 32767]
    with audio.Writer(path, 8000, 1) as writer:
        writer.write(np.array([[-32768, 5, 32767]], np.int16))
    assert soundfile.read(path, dtype="int16")[0].tolist() == [-32768, 5, 32767]


def test_wav_beyond_4_gib_is_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperstem.audio.wav._UNKNOWN", 1000)
    monkeypatch.setattr("hyperstem.audio.wav.struct.pack", _pack_small, raising=True)
    path = tmp_path / "large.wav"
    audio.write(path, noise(2, 5000), 44100)
    assert path.read_bytes()[:4] == b"RF64"
    assert soundfile.info(path).frames == 5000


_pack = struct.pack


def _pack_small(form: str, *values: int) -> bytes:
    return _pack(form, *(0xFFFFFFFF if value == 1000 else value for value in values))


def test_unicode_and_long_names(tmp_path):
    path = tmp_path / ("Ünïcødé 音楽 " + "x" * 200 + ".wav")
    audio.write(path, noise(1, 100), 8000)
    assert audio.read(path)[0].shape == (1, 100)
    assert audio.probe(path).frames == 100


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels", "subtype", "message"),
    [
        ("a.flac", 44100, 2, "float", "allowed are pcm16, pcm24"),
        ("a.mp3", 96000, 2, "pcm16", "cannot hold 96000 Hz"),
        ("a.mp3", 44100, 3, "pcm16", "at most 2 channels"),
        ("a.xyz", 44100, 2, "pcm16", "ends with none of"),
        ("a.wav", 44100, 2, "pcm8", "allowed are pcm16, pcm24, float"),
        ("a.ogg", 384_000, 2, "pcm16", "cannot hold 384000 Hz; allowed are 1 to 200000"),
        ("a.flac", 96_001, 2, "pcm16", "cannot hold 96001 Hz; allowed are 1 to 65535, 88200"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, rate_hz, channels, subtype, message):
    with pytest.raises(AudioError, match=message):
        audio.write(tmp_path / name, noise(channels, 100), rate_hz, subtype=subtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name, item in audio.FORMATS.items() if not item.multitrack])
@pytest.mark.parametrize("rate_hz", (1000, 44_100, 96_001, 192_000, 384_000, 768_000))
def test_every_rate_has_one_that_the_format_holds(tmp_path, name, rate_hz):
    held_hz = audio.FORMATS[name].rate_for(rate_hz)
    audio.write(tmp_path / f"a.{name}", noise(1, 4000), held_hz)
    wave, got_hz = audio.read(tmp_path / f"a.{name}")
    assert (wave.shape, got_hz) == ((1, 4000), held_hz)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.m4a"])
def test_a_file_appears_whole_or_not_at_all(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="stop"), audio.Writer(path, 48_000, 2) as writer:
        writer.write(noise(2, 50_000))
        raise RuntimeError("stop")
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == b"before"


FULL_DISK = """
import resource, sys

import numpy as np
from hyperstem import audio
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
wave = np.random.default_rng(0).standard_normal((2, 480_000)).astype(np.float32) * 0.1
try:
    audio.write(sys.argv[1], wave, 48_000)
except OSError as error:
    print("refused:", error.strerror)
"""


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.m4a"])
def test_a_full_disk_leaves_no_half_file(tmp_path, name):
    command = [sys.executable, "-c", FULL_DISK, tmp_path / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "refused: File too large\n", done.stderr
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
