"""What a caller may hand over: arrays of every number type, contents, open files, paths below the home folder."""

import concurrent.futures
import copy
import io
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import hyperstem
from hyperstem import audio
from hyperstem.errors import AudioError
from hyperstem.models import engines
from hyperstem.separation.separator import Separator
from separation_standin import StandIn, loaded, noise, separator


def total(wave, rate_hz=22_050) -> np.ndarray:
    return sum(separator(segment_s=0.2).separate(wave, rate_hz).values())


@pytest.mark.parametrize("kind", (np.int8, np.int16, np.int32))
def test_signed_integers_are_scaled_by_their_range(kind):
    floats = noise(2, 5000, 0.2)
    wave = np.rint(floats * -float(np.iinfo(kind).min)).astype(kind)
    step = 1 / -float(np.iinfo(kind).min)
    assert np.abs(total(wave) - floats).max() <= step / 2 + 1e-6


@pytest.mark.parametrize("kind", (np.uint8, np.uint16, np.uint32))
def test_unsigned_integers_have_their_middle_at_half_their_range(kind):
    floats = noise(2, 5000, 0.2)
    half = (int(np.iinfo(kind).max) + 1) // 2
    wave = (np.rint(floats.astype(np.float64) * half) + half).astype(kind)
    assert np.abs(total(wave) - floats).max() <= 0.5 / half + 1e-6
    silence = np.full((1, 100), half, kind)
    assert not total(silence).any()


def test_extremes_of_integers_are_full_scale():
    mixture = separator().separate(np.array([-32768, 32767] * 50, np.int16), 8000).mixture
    assert (mixture.min(), mixture.max()) == (-1, 32767 / 32768)


@pytest.mark.parametrize("kind", (np.float16, np.float32, np.float64, np.dtype(">f4"), np.dtype(">i2")))
def test_floats_and_byte_orders(kind):
    wave = noise(1, 4000, 0.2)
    given = (wave * 32768).astype(kind) if np.dtype(kind).kind == "i" else wave.astype(kind)
    assert np.abs(total(given) - wave).max() < 1e-3


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.ones((1, 9), bool), "wave of bool"),
        (np.ones((1, 9), np.complex64), "wave of complex64"),
        (np.ones((1, 9), np.int64), "wave of int64"),
        (np.ones((1, 9), np.uint64), "8, 16 or 32 bits"),
        (np.array([["a", "b"]]), "wave of <U1"),
        (np.array([[None, 1.0]]), "wave of object"),
        ([[1.0, 2.0], [3.0]], "no array of numbers"),
        ("song.wav", "wave of <U8"),
        (np.full((1, 9), 1e300), "NaN or infinite"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(wave, words):
    with pytest.raises(AudioError, match=words.replace("(", r"\(")):
        separator().separate(wave, 44_100)


@pytest.mark.parametrize("rate_hz", (None, "44100", True, float("nan"), float("inf"), 0, -1, 44100.5, [44100]))
def test_what_is_no_rate_is_refused_in_words(rate_hz):
    with pytest.raises(AudioError, match="positive whole number"):
        separator().separate(np.zeros((1, 10), np.float32), rate_hz)


@pytest.mark.parametrize("rate_hz", (44100, 44100.0, np.int32(44100), np.float64(44100)))
def test_whole_numbers_of_any_type_are_rates(rate_hz):
    assert separator().separate(np.zeros((1, 10), np.float32), rate_hz).rate_hz == 44100


@pytest.fixture
def song(tmp_path) -> Path:
    path = tmp_path / "song.flac"
    audio.write(path, noise(2, 8000), 22_050, tags={"title": "Song"})
    return path


def given_ways(song: Path):
    yield song.read_bytes()
    yield bytearray(song.read_bytes())
    yield memoryview(song.read_bytes())
    yield io.BytesIO(song.read_bytes())
    yield song.open("rb")
    yield str(song)


def test_contents_and_open_files_are_like_their_path(song):
    expected = separator().separate_file(song)
    for given in given_ways(song):
        stems = separator().separate_file(given)
        assert np.array_equal(stems.waves, expected.waves) and stems.tags == expected.tags
        assert sum(block.mixture.shape[1] for block in separator().stream(next(given_ways(song)))) == 8000
    assert not list(song.parent.glob("hyperstem-*"))


def test_separate_takes_contents(song, monkeypatch):
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn()))
    assert len(hyperstem.separate(song.read_bytes())) == 4
    with song.open("rb") as file:
        assert hyperstem.separate(file).rate_hz == 22_050


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"no music" * 9, "^the bytes given is no audio file"),
        (io.BytesIO(b""), "^the file given is empty"),
        (io.StringIO("text"), "mode 'rb'"),
        (3, "expected a path, bytes or an open file"),
        (None, "expected a path, bytes or an open file"),
    ],
)
def test_what_holds_no_sound_is_refused_in_words(given, words):
    with pytest.raises(AudioError, match=words):
        separator().separate_file(given)


def test_paths_begin_with_the_home_folder(song, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    stems = separator().separate_file("~/song.flac")
    stems.save("~/stems")
    assert (tmp_path / "stems/bass.wav").is_file()
    stems.save("~no such user/stems")
    assert [path.name for path in work.iterdir()] == ["~no such user"]


def test_a_separator_is_pickled_as_its_path_and_settings(tmp_path, monkeypatch):
    asked = []

    def load(*arguments):
        asked.append(arguments)
        return loaded(StandIn())

    monkeypatch.setattr(engines, "load", load)
    monkeypatch.chdir(tmp_path)
    first = Separator.load("model.onnx", "standard", "cpu", 1, 0.5, 0.2)
    again = pickle.loads(pickle.dumps(first))  # noqa: S301 (our own bytes)
    assert (again.quality, again.overlap, again.segment_s) == (first.quality, first.overlap, first.segment_s)
    assert asked == [("model.onnx", "cpu", 1), (tmp_path / "model.onnx", "cpu", 1)]
    assert len(pickle.dumps(first)) < 1000
    assert copy.deepcopy(first).quality == "standard"


def test_one_that_was_not_loaded_by_name_is_pickled_with_its_network():
    wave = noise(1, 4000)
    ours = separator(segment_s=0.2)
    again = pickle.loads(pickle.dumps(ours))  # noqa: S301 (our own bytes)
    assert np.array_equal(again.separate(wave, 8000).waves, ours.separate(wave, 8000).waves)


def separated(model: Separator, wave: np.ndarray) -> np.ndarray:
    return model.separate(wave, 8000).waves


@pytest.mark.slow
def test_the_shipped_model_in_another_process():
    model, wave = Separator.load(quality="preview", threads=1), noise(1, 8000)
    context = multiprocessing.get_context("spawn")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(model.separate, wave, 8000).result(timeout=120)
    assert np.array_equal(result.waves, separated(model, wave))
