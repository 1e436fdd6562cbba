"""Whole evaluations: songs found and read, scores kept, tables written."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from evaluate_signals import noise
from hyperstem.cli import main
from hyperstem.config import STEMS
from hyperstem.dsp.measures import nanmedian
from hyperstem.dsp.resample import resample
from hyperstem.errors import DataError
from hyperstem.evaluate import Settings, bss, change, methods, oracle, report, runner, score_dataset, scores, songs

RATE_HZ = 8000
SECONDS = 2


def stem(song, name, channels=1):
    level = {"drums": 0.2, "bass": 0.15, "other": 0.1, "vocals": 0.12}.get(name, 0.1)
    return noise(f"{song} {name}", channels, SECONDS * RATE_HZ) * np.float32(level)


def write(path, wave, rate_hz=RATE_HZ):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, rate_hz, subtype="PCM_16")


@pytest.fixture(autouse=True)
def short_filters(monkeypatch):
    """BSS Eval's filters cut to 16 samples: these tests are about everything around them."""
    monkeypatch.setattr(bss, "FILTER_SAMPLES", 16)


@pytest.fixture
def dataset(tmp_path):
    """MUSDB18-HQ's layout: two test songs of four mono stems and their mixture."""
    for song in ("One", "Two"):
        folder = tmp_path / "dataset" / "test" / song
        for name in STEMS:
            write(folder / f"{name}.wav", stem(song, name))
        write(folder / "mixture.wav", sum(stem(song, name) for name in STEMS))
    return tmp_path / "dataset"


@pytest.fixture
def estimates(tmp_path, dataset):
    """Stems in which a tenth of the mixture is left."""
    for song in ("One", "Two"):
        mixture = sum(stem(song, name) for name in STEMS)
        for name in STEMS:
            write(tmp_path / "estimates" / song / f"{name}.wav", stem(song, name) + 0.1 * mixture)
    return tmp_path / "estimates"


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments), "--jobs", "1"])


def test_estimates_are_scored_beside_the_baselines(dataset, estimates, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate("--estimates", estimates, dataset, "-o", out) == 0
    text = capsys.readouterr().out
    assert "2 songs (test)" in text
    assert "Meta-TasNet, published (MUSDB18 test)     5.91     5.58     4.19     6.40     5.52" in text
    lines = {(row["method"], row["song"], row["stem"]): row for row in csv.DictReader((out / "scores.csv").open())}
    assert len(lines) == 3 * 2 * 4
    line = lines["estimates", "One", "drums"]
    true = stem("One", "drums")
    expected = 10 * np.log10(np.square(true).sum() / np.square(0.1 * sum(stem("One", name) for name in STEMS)).sum())
    assert float(line["track SDR"]) == pytest.approx(expected, abs=0.01)
    assert float(line["SDR"]) == pytest.approx(expected, abs=0.2)
    assert (line["frames"], line["frames left out"]) == ("2", "0")
    table = (out / "table.md").read_text()
    assert "| estimates |" in table and "| ideal ratio mask |" in table and "## SIR" in table
    found = {row["method"]: row["average"]["SDR"] for row in json.loads((out / "summary.json").read_text())["methods"]}
    assert found["mixture"] < 0 < found["ideal ratio mask"] < 10 < found["estimates"]


def test_estimates_named_like_a_baseline_are_refused(dataset, estimates, tmp_path, capsys):
    folder = estimates.rename(tmp_path / "mixture")
    assert evaluate("--estimates", folder, dataset, "-o", tmp_path / "out") == 1
    assert "'mixture' is the name of a baseline" in capsys.readouterr().err
    assert evaluate("--estimates", folder, dataset, "-o", tmp_path / "out", "--no-baselines") == 0


def test_a_missing_museval_is_told_before_any_song_is_separated(dataset, estimates, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(methods.FolderMethod, "estimate", lambda *_: pytest.fail("a song was read"))
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--engine", "museval") == 1
    assert "museval is not installed" in capsys.readouterr().err


def test_the_folder_of_scores_is_named_after_model_and_subset(dataset, estimates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate("--estimates", estimates, dataset) == 0
    assert evaluate("--estimates", estimates, dataset, "--subset", "test") == 0
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["estimates", "estimates-test"]


def test_scores_are_musevals_json(dataset, estimates, tmp_path):
    out = tmp_path / "out"
    assert evaluate("--estimates", estimates, dataset, "-o", out, "--no-baselines") == 0
    written = json.loads((out / "test" / "One.json").read_text())
    assert [target["name"] for target in written["targets"]] == list(STEMS)
    frame = written["targets"][0]["frames"][1]
    assert (frame["time"], frame["duration"]) == (1.0, 1.0)
    assert set(frame["metrics"]) == {"SDR", "ISR", "SIR", "SAR"}
    assert set(written["targets"][0]["track"]) == set(scores.TRACK_MEASURES)


def test_what_is_scored_is_not_scored_again(dataset, estimates, tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = ("--estimates", estimates, dataset, "-o", out, "--no-baselines")
    assert evaluate(*arguments) == 0
    (out / "test" / "Two.json").write_text('{"targets": [')
    done = []
    perform = runner.perform
    monkeypatch.setattr(runner, "perform", lambda task: done.append(task.entry.name) or perform(task))
    assert evaluate(*arguments) == 0
    assert done == ["Two"]
    first = (out / "scores.csv").read_bytes()
    write(estimates / "One" / "drums.wav", noise("new", 1, SECONDS * RATE_HZ))
    assert evaluate(*arguments) == 0
    assert done == ["Two", "One"]
    assert (out / "scores.csv").read_bytes() != first


def test_a_folder_keeps_one_evaluation(dataset, estimates, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate("--estimates", estimates, dataset, "-o", out, "--no-baselines") == 0
    assert evaluate("--estimates", estimates, dataset, "-o", out, "--stems", "drums,bass") == 1
    assert "holds an evaluation with stems" in capsys.readouterr().err


def test_several_processes_give_the_same_scores(dataset, estimates, tmp_path, monkeypatch):
    monkeypatch.undo()  # the other processes have the full filters
    arguments = ["evaluate", "--estimates", str(estimates), str(dataset), "--no-baselines", "--stems", "drums", "-o"]
    assert main([*arguments, str(tmp_path / "one"), "--jobs", "1"]) == 0
    assert main([*arguments, str(tmp_path / "two"), "--jobs", "2"]) == 0
    for song in ("One", "Two"):
        one, two = (scores.load(tmp_path / name / "test" / f"{song}.json") for name in ("one", "two"))
        np.testing.assert_allclose(one.frames["drums"], two.frames["drums"], atol=1e-4)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_evaluation_stops_at_once_and_leaves_no_half_file(dataset, tmp_path):
    for song in ("One", "Two"):
        shutil.copytree(dataset / "test" / song, tmp_path / "estimates" / song)
    command = [sys.executable, "-m", "hyperstem", "evaluate", "--estimates", str(tmp_path / "estimates"), str(dataset)]
    command += ["-o", str(tmp_path / "out"), "--jobs", "2", "--engine", "museval", "--stems", "drums,bass"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "out" / "evaluation.json").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "hyperstem: interrupted" and "Traceback" not in errors
    for path in (tmp_path / "out").rglob("*.*"):
        assert path.suffix == ".json"
        json.loads(path.read_text())


class Separated(dict):
    rate_hz = 2 * RATE_HZ


class QuarterSeparator:
    """Stands for a model: every stem is a quarter of the mixture, at twice the rate."""

    stems = STEMS
    model_sha256 = "abc"

    def separate(self, wave, rate_hz):
        return Separated({name: resample(wave / 4, rate_hz, Separated.rate_hz) for name in STEMS})


def test_a_model_is_scored_at_the_songs_rate(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "_separator", lambda model, quality, threads: QuarterSeparator())
    result = score_dataset(Settings(dataset, tmp_path / "out", model="some/mine.onnx", jobs=1))
    assert list(result.scored) == ["mine", "mixture", "ideal ratio mask"]
    quarter, mixture = (line.cells["SDR"]["other"].value for line in result.rows[:2])
    expected = []
    for song in ("One", "Two"):
        true, error = stem(song, "other"), stem(song, "other") - sum(stem(song, name) for name in STEMS) / 4
        expected.append(10 * np.log10(np.square(true).sum() / np.square(error).sum()))
    assert quarter == pytest.approx(np.median(expected), abs=0.3)
    assert mixture < -3
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["sha256"] == "abc"
    with pytest.raises(DataError, match=r"no stem 'piano'; some/mine\.onnx separates drums, bass, other, vocals"):
        score_dataset(Settings(dataset, tmp_path / "out", model="some/mine.onnx", stems=("piano",)))


def test_a_song_that_cannot_be_scored_is_named_and_the_rest_goes_on(dataset, estimates, tmp_path, capsys):
    shutil.rmtree(estimates / "One")
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--no-baselines") == 1
    captured = capsys.readouterr()
    assert "1 songs" in captured.out
    assert "no estimates of 'One'" in captured.err
    assert (tmp_path / "out" / "test" / "Two.json").exists()


def test_a_broken_file_is_named(dataset, estimates, tmp_path, capsys):
    (dataset / "test" / "One" / "bass.wav").write_bytes(b"no sound")
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--no-baselines") == 1
    assert "bass.wav" in capsys.readouterr().err


def test_json_output_is_json_even_without_numbers(dataset, estimates, tmp_path, capsys):
    for song in ("One", "Two"):
        write(dataset / "test" / song / "vocals.wav", 0 * stem(song, "vocals"))
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--no-baselines", "--json") == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    row = printed["methods"][0]
    assert row["median"]["SDR"]["vocals"] is None and row["median"]["SDR"]["drums"] > 0
    assert row["frames_left_out"] == {"drums": 0, "bass": 0, "other": 0, "vocals": 4}


@pytest.mark.parametrize("subset", ["validation", "train"])
def test_a_subset_that_is_not_there(dataset, estimates, tmp_path, capsys, subset):
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--subset", subset) == 1
    assert "train" in capsys.readouterr().err


def test_a_plain_folder_of_songs_is_scored_whole_and_has_no_subsets(dataset, estimates, tmp_path, capsys):
    plain = dataset / "test"
    assert evaluate("--estimates", estimates, plain, "-o", tmp_path / "out", "--no-baselines") == 0
    assert "2 songs (all)" in capsys.readouterr().out
    assert evaluate("--estimates", estimates, plain, "-o", tmp_path / "out2", "--subset", "test") == 1
    assert "no subset 'test'" in capsys.readouterr().err


def test_arguments_in_any_order(dataset, estimates, tmp_path, capsys):
    assert evaluate(dataset, "--estimates", estimates, "-o", tmp_path / "out", "--no-baselines") == 0
    for wrong, words in (
        (["model", dataset, "--estimates", estimates], "takes the place of MODEL"),
        (["--estimates", estimates], "required: DATASET"),
        ([dataset], "required: DATASET"),
        (["model", dataset, "--alias", "guitar"], "expected FILE=STEM"),
    ):
        with pytest.raises(SystemExit) as ended:
            evaluate(*wrong)
        assert ended.value.code == 2 and words in capsys.readouterr().err


def test_files_of_other_names_are_part_of_a_stem(dataset, estimates, tmp_path, capsys):
    folder = dataset / "test"
    for song in ("One", "Two"):
        half = stem(song, "other") / 2
        (folder / song / "other.wav").unlink()
        write(folder / song / "guitar.wav", half)
        write(folder / song / "piano.wav", half)
        write(folder / song / "click.wav", stem(song, "click"))
    arguments = ("--estimates", estimates, folder, "--no-baselines", "-o", tmp_path / "out")
    assert evaluate(*arguments) == 1
    assert "no stem 'click'" in capsys.readouterr().err
    aliases = [word for alias in ("guitar=other", "piano=other", "click=") for word in ("--alias", alias)]
    assert evaluate(*arguments, *aliases, "-o", tmp_path / "mapped") == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("estimates"))
    assert float(line.split()[3]) > 8


def test_songs_of_unequal_files_are_cut_and_noted(dataset, estimates, tmp_path, capsys):
    write(dataset / "test" / "One" / "bass.wav", stem("One", "bass")[:, :-100])
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--no-baselines") == 0
    assert "15900 to 16000 samples" in capsys.readouterr().err


def test_rates_that_differ_are_an_error(dataset):
    write(dataset / "test" / "One" / "bass.wav", stem("One", "bass"), 16000)
    entry = songs.find_songs(dataset, "test", STEMS).songs[0]
    with pytest.raises(DataError, match=r"sample rates differ: .*bass\.wav 16000 Hz"):
        songs.read_song(entry, STEMS)


def test_estimates_of_another_rate_are_an_error(dataset, estimates, tmp_path, capsys):
    write(estimates / "One" / "drums.wav", stem("One", "drums"), 44100)
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "out", "--no-baselines") == 1
    assert "drums.wav has 44100 Hz, the reference 8000 Hz" in capsys.readouterr().err


def test_some_stems_only(dataset, estimates, tmp_path):
    result = score_dataset(Settings(dataset, tmp_path / "out", estimates=estimates, stems=("vocals",), jobs=1))
    assert result.rows[0].cells["SDR"]["vocals"].songs == 2
    mixture, masked = (line.cells["SDR"]["vocals"].value for line in result.rows[1:3])
    assert masked > mixture + 3  # the mask is made from the other stems too
    assert all(line.label != report.PUBLISHED_LABEL for line in result.rows)
    plain = Settings(dataset / "test", tmp_path / "plain", estimates=estimates, stems=("vocals",), jobs=1)
    assert score_dataset(plain).rows[2].cells["SDR"]["vocals"].value == masked


def test_nan_estimates_are_refused(dataset):
    song = songs.read_song(songs.find_songs(dataset, "test", STEMS).songs[0], STEMS)
    with pytest.raises(DataError, match="NaN"):
        runner.score_song(song, [np.full_like(song.references, np.nan)])


def test_compare_shows_change_and_interval(dataset, estimates, tmp_path, capsys):
    assert evaluate("--estimates", estimates, dataset, "-o", tmp_path / "old", "--no-baselines") == 0
    worse = tmp_path / "worse"
    for song in ("One", "Two"):
        mixture = sum(stem(song, name) for name in STEMS)
        for name in STEMS:
            write(worse / song / f"{name}.wav", stem(song, name) + 0.2 * mixture)
    capsys.readouterr()
    arguments = ("--estimates", worse, dataset, "-o", tmp_path / "new", "--no-baselines", "--compare", tmp_path / "old")
    assert evaluate(*arguments) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("average"))
    assert line.split()[3] == "-6.02"
    assert evaluate("--estimates", worse, dataset, "-o", tmp_path / "new", "--compare", tmp_path / "none") == 1


def made_up(values):
    return [scores.SongScores(str(i), {"drums": np.full((4, 1), value)}, {}) for i, value in enumerate(values)]


@given(values=st.lists(st.floats(-20, 20), min_size=1, max_size=9), shift=st.floats(-5, 5))
def test_a_shift_of_all_songs_has_no_uncertainty(values, shift):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change, "RESAMPLES", 50)
        found = change.compare(made_up([value + shift for value in values]), made_up(values), ["drums"])["drums"]
    np.testing.assert_allclose([found.change, found.low, found.high], shift, atol=1e-9)


def test_the_interval_covers_the_spread_of_the_changes():
    rng = np.random.default_rng(3)
    changes = rng.normal(1.0, 1.0, 40)
    found = change.compare(made_up(changes), made_up(np.zeros(40)), ["drums"])["drums"]
    assert found.low < found.change < found.high
    assert 0.2 < found.high - found.low < 1.5  # about 4 * 1.25 / sqrt(40)


def test_compare_uses_common_songs_and_leaves_out_nan():
    old = [*made_up([1.0, np.nan, 3.0]), scores.SongScores("extra", {"drums": np.zeros((4, 1))}, {})]
    found = change.compare(made_up([2.0, 5.0, 4.0]), old, ["drums"])["drums"]
    assert (found.old, found.new, found.songs) == (2.0, 3.0, 2)
    with pytest.raises(DataError, match="in common"):
        change.compare(made_up([1.0]), [scores.SongScores("else", {}, {})], ["drums"])


@given(st.lists(st.one_of(st.floats(-9, 9), st.just(float("nan"))), min_size=1, max_size=8))
def test_medians_leave_out_nan(values):
    known = sorted(value for value in values if value == value)
    expected = statistics.median(known) if known else np.nan
    rows = np.array([[values, values[::-1]]])  # (1, 2, value)
    np.testing.assert_allclose([nanmedian(values), *nanmedian(rows, axis=2)[0], *nanmedian(rows.T)[:, 0]], expected)


def test_the_median_is_over_frames_then_over_songs():
    one = scores.SongScores("one", {"drums": np.array([[1.0, np.nan, 5.0, 9.0]] * 4)}, {})
    two = scores.SongScores("two", {"drums": np.array([[2.0, 2.0, 2.0, 2.0]] * 4)}, {})
    line = report.row("x", [one, two], ["drums"])
    assert line.cells["SDR"]["drums"].value == 3.5
    assert (line.frames, line.left_out) == (8, {"drums": 1})


def test_oracle_masks_add_up_to_the_mixture_and_part_tones():
    time = np.arange(30000) / RATE_HZ
    stems = np.stack([np.sin(2 * np.pi * hz * time)[None] for hz in (200.0, 1500.0)]).astype(np.float32)
    found = oracle.ideal_ratio_mask(stems, stems.sum(axis=0))
    assert found.shape == stems.shape
    np.testing.assert_allclose(found.sum(axis=0), stems.sum(axis=0), atol=1e-5)
    middle = slice(3000, -3000)
    assert np.abs(found - stems)[..., middle].max() < 0.02


def test_oracle_shares_equally_what_no_stem_explains():
    mixture = noise("rest", 1, 3000)
    found = oracle.ideal_ratio_mask(np.zeros((4, 1, 3000), np.float32), mixture)
    np.testing.assert_allclose(found, np.broadcast_to(mixture / 4, found.shape), atol=1e-5)


@given(st.integers(1, 5000))
def test_oracle_gives_back_a_lone_stem_of_any_length(samples):
    wave = noise("lone", 2, samples)
    np.testing.assert_allclose(oracle.ideal_ratio_mask(wave[None], wave)[0], wave, atol=1e-5)


def test_box_plot(tmp_path):
    pytest.importorskip("matplotlib")
    from hyperstem.evaluate.figure import box_plot

    assert box_plot(tmp_path / "a.png", {"x": made_up([1.0, 2.0]), "y": made_up([np.nan])}, ["drums"], {"drums": 5.91})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_lossy_references_are_rounded_to_16_bits(tmp_path):
    soundfile.write(tmp_path / "song.ogg", stem("x", "drums").T, RATE_HZ)
    wave = songs._read(songs.Part(tmp_path / "song.ogg"), strict=True)
    np.testing.assert_array_equal(wave * 32768, np.round(wave * 32768))
    assert np.abs(wave).max() > 0.1


def test_damaged_files_are_scored_with_a_note_unless_strict(dataset, estimates, tmp_path, capsys):
    for path in (dataset / "test" / "One" / "bass.wav", estimates / "Two" / "drums.wav"):
        path.write_bytes(path.read_bytes()[:-400])
    arguments = ("--estimates", estimates, dataset, "--no-baselines", "-o")
    assert evaluate(*arguments, tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert "bass.wav is damaged or cut short: 1.98 s of 2.00 s" in err
    assert "drums.wav is damaged or cut short: 1.98 s of 2.00 s" in err
    assert evaluate(*arguments, tmp_path / "strict", "--strict") == 1
    err = capsys.readouterr().err
    assert "One: failed" in err
    assert "Two: failed" in err
    assert "strict reading refuses it" in err
