import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import networks
from hyperstem import cli, memory
from hyperstem.config import STEMS, TrainConfig, assigned, load_toml
from hyperstem.data.dataset import Batch, ValidationData
from hyperstem.data.prepare import prepare
from hyperstem.dsp.resample import normalise
from hyperstem.errors import ConfigError, ModelError
from hyperstem.models import store
from hyperstem.network import MetaTasNet
from hyperstem.training import checkpoint, journal, validation
from hyperstem.training.initial_weights import load_matching
from hyperstem.training.losses import LossReport, Objective
from hyperstem.training.run import train
from hyperstem.training.settings import from_tables, read, resumable_changes
from hyperstem.training.statistics import spectrogram_statistics
from hyperstem.training.step import TrainingStep
from hyperstem.training.trainer import Trainer
from hyperstem.training.validation import clip_scores, separate, validate

CONFIGS = Path(__file__).parents[2] / "configs"

CONFIG = """
[model]
base_rate_hz = 4000
stages = 2
latent_dim = 32
kernels = [40, 80]
hop = 20
mels = 8
n_fft = 128
stft_hop = 32
bottleneck_dim = 16
hidden_dim = 16
blocks = 2
stacks = 1
norm_groups = 4
segment_s = 0.5

[train]
steps = 4
batch = 4
average = 0.9
device = "cpu"
learning_rate = 3e-3
log_steps = 2
tensorboard = false
threads = 1

[data]
root = "songs"
prepared = "prepared"
workers = 0

[[data.sources]]
name = "songs"
layout = "folders"
path = "."

[[data.validation]]
name = "clips"
layout = "folders"
path = "../clips"
"""


def band(seed: int, seconds: float, rate_hz: int) -> dict[str, np.ndarray]:
    """Four stems that are easy to tell apart: clicks, a low tone, a chord, a gliding tone; (time,) float32 each."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    clicks = rng.standard_normal(len(time_s)) * np.exp(-30 * (time_s % 0.25))
    bass = np.sin(2 * np.pi * rng.uniform(60, 90) * time_s)
    chord = sum(np.sin(2 * np.pi * rng.uniform(400, 700) * ratio * time_s) for ratio in (1, 1.25, 1.5))
    voice = np.sin(2 * np.pi * rng.uniform(1000, 1200) * time_s + 30 * np.sin(2 * np.pi * 3 * time_s))
    waves = zip(STEMS, (clicks, bass, chord, voice), strict=True)
    return {stem: (0.15 * wave).astype(np.float32) for stem, wave in waves}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A config with three prepared songs and two clips."""
    folder = tmp_path_factory.mktemp("band")
    for place, count in (("songs", 3), ("clips", 2)):
        for seed in range(count):
            song = folder / place / f"{place}{seed}"
            song.mkdir(parents=True)
            for stem, wave in band(seed + 10 * count, 2.0, 8000).items():
                soundfile.write(song / f"{stem}.wav", wave, 8000)
    path = folder / "tiny.toml"
    path.write_text(CONFIG)
    prepare(read(path).data.resolved(folder), STEMS, 8000, jobs=1)
    return path


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny networks lose time by waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(config: Path, folder: Path, *arguments: str) -> int:
    return cli.main(["train", str(config), "-o", str(folder), "-q", *arguments])


def same(first: Path, second: Path) -> bool:
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_leaves_its_files(config, tmp_path, capsys, monkeypatch):
    kept = []
    monkeypatch.setattr(memory, "keep_freed", lambda: kept.append(True))
    assert run(config, tmp_path / "run") == 0
    assert kept == [True]
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"best.safetensors", "last.safetensors", "checkpoint", "config.json", "log.jsonl"} <= files
    assert not any(name.startswith(".") for name in files)
    records = journal.read(tmp_path / "run")
    assert [record["event"] for record in records] == ["started", "train", "train", "validation", "ended"]
    assert records[2]["step"] == 4
    assert math.isfinite(records[2]["loss"])
    assert {"stage0/si_snr/drums", "stage1/reconstruction"} <= records[2]["parts"].keys()
    assert set(records[3]["sdr"]) == set(STEMS)
    assert records[3]["best"] is True
    network = store.load(tmp_path / "run" / "best.safetensors")
    assert isinstance(network, MetaTasNet)
    assert "4 of 4 steps" in capsys.readouterr().out
    state, saved = (
        torch.load(tmp_path / "run" / "checkpoint", weights_only=True),
        json.loads((tmp_path / "run" / "config.json").read_text()),
    )
    assert json.loads(state["config"]) == saved
    # The averaged weights are what is saved.
    average = {name.removeprefix("module."): value for name, value in state["state"]["average"].items()}
    for name, tensor in load_file(tmp_path / "run" / "last.safetensors").items():
        assert torch.equal(tensor, average[name])
    assert run(config, tmp_path / "run") == 1
    assert "contains a run already" in capsys.readouterr().err


def test_a_picture_of_the_curves(config, tmp_path):
    pytest.importorskip("matplotlib")
    run(config, tmp_path, "--steps", "2")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("optimizer", "workers"), [("ranger", "2"), pytest.param("adamw", "0", marks=pytest.mark.slow)]
)
def test_resuming_equals_one_run_to_the_bit(config, tmp_path, optimizer, workers):
    options = [
        "--set",
        f"train.optimizer={optimizer}",
        "--set",
        "train.lookahead_steps=2",
        "--set",
        "train.accumulate=2",
        "--set",
        f"data.workers={workers}",
    ]
    run(config, tmp_path / "whole", "--steps", "7", *options)
    run(config, tmp_path / "parts", "--steps", "3", *options)
    run(config, tmp_path / "parts", "--steps", "4", "--resume", *options)
    run(config, tmp_path / "parts", "--steps", "7", "--resume", *options)
    assert same(tmp_path / "whole/last.safetensors", tmp_path / "parts/last.safetensors")
    one, two = (torch.load(tmp_path / name / "checkpoint", weights_only=True)["state"] for name in ("whole", "parts"))
    for name, state in one["optimizer"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(two["optimizer"][name][key])), (name, key)
    assert one["tally"]["step"] == two["tally"]["step"] == 7
    assert one["tally"]["audio_s"] == pytest.approx(7 * 2 * 4 * 0.5)


def test_resuming_needs_the_same_config(config, tmp_path, capsys):
    run(config, tmp_path, "--steps", "1")
    for key, value in (
        ("model.hop", "16"),
        ("loss.similarity", "0.0"),
        ("train.batch", "2"),
        ("data.mixing.remix", "0.25"),
    ):
        assert run(config, tmp_path, "--resume", "--set", f"{key}={value}") == 1
        message = capsys.readouterr().err
        assert f"{key}: " in message
        assert value in message
    assert (
        run(
            config,
            tmp_path,
            "--resume",
            "--steps",
            "2",
            "--set",
            "learning_rate=1e-4",
            "--set",
            "data.sources.0.weight=2",
            "--set",
            "train.schedule=cosine",
        )
        == 0
    )
    changed = [record["change"] for record in journal.read(tmp_path) if record["event"] == "changed"]
    assert changed == [
        "data.sources.0.weight: 1.0 -> 2.0",
        "train.learning_rate: 0.003 -> 0.0001",
        'train.schedule: "sgdr" -> "cosine"',
    ]
    (tmp_path / "checkpoint").write_bytes(b"torn")
    assert run(config, tmp_path, "--resume") == 1
    assert "checkpoint" in capsys.readouterr().err
    assert run(config, tmp_path / "nothing", "--resume") == 1
    assert "nothing to resume" in capsys.readouterr().err


def test_the_log_forgets_what_a_resumed_run_does_again(tmp_path):
    with journal.Journal(tmp_path, tensorboard=False) as log:
        for step in (2, 4, 6):
            log.write("train", step, loss=float(step) if step < 6 else math.nan)
        log.write("resumed", 4)
        log.write("train", 6, loss=1.0)
    kept = [("train", 2), ("train", 4), ("resumed", 4), ("train", 6)]
    assert events(tmp_path) == kept
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def events(folder: Path) -> list[tuple[str, int]]:
    return [(record["event"], record["step"]) for record in journal.read(folder)]


def test_a_line_cut_short_costs_no_other(tmp_path):
    with journal.Journal(tmp_path, tensorboard=False) as log:
        log.write("train", 2)
        log.write("train", 4)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "tra')
    with journal.Journal(tmp_path, tensorboard=False) as log:
        log.write("resumed", 2)
        log.write("train", 4)
    assert events(tmp_path) == [("train", 2), ("resumed", 2), ("train", 4)]


def test_a_run_begun_again_forgets_what_was_before(tmp_path):
    with journal.Journal(tmp_path, tensorboard=False) as log:
        for event, step in (("started", 0), ("train", 50), ("started", 0), ("train", 10)):
            log.write(event, step)
    assert events(tmp_path) == [("started", 0), ("train", 10)]


def _trained(log: Path) -> bool:
    return log.exists() and '"event": "train"' in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(config, tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "hyperstem",
        "train",
        str(config),
        "-o",
        str(tmp_path / "run"),
        "-q",
        "--steps",
        "100000",
        "--set",
        "data.workers=1",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and not _trained(log):
        time.sleep(0.1)
    os.killpg(process.pid, number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == (0 if number == signal.SIGTERM else 130), errors
    assert "Traceback" not in errors
    assert "--resume --steps 100000 --set data.workers=1" in out
    done = torch.load(tmp_path / "run" / "checkpoint", weights_only=True)["state"]["tally"]["step"]
    assert done >= 2
    assert journal.read(tmp_path / "run")[-1]["reason"] == "stopped"
    run(config, tmp_path / "run", "--resume", "--steps", str(done + 1))
    run(config, tmp_path / "whole", "--steps", str(done + 1))
    assert same(tmp_path / "whole/last.safetensors", tmp_path / "run/last.safetensors")


@pytest.mark.slow
def test_minutes_count_this_call(config, tmp_path, capsys):
    started = time.monotonic()
    assert run(config, tmp_path, "--steps", "100000", "--minutes", "0.05") == 0
    assert time.monotonic() - started < 30
    assert "to go on: hyperstem train" in capsys.readouterr().out
    first = journal.read(tmp_path)[-1]
    assert (first["event"], first["reason"]) == ("ended", "minutes")
    run(config, tmp_path, "--resume", "--steps", "100000", "--minutes", "0.05")
    assert journal.read(tmp_path)[-1]["step"] > first["step"]


def test_validation_keeps_the_best_and_its_share_of_time(config, tmp_path):
    run(config, tmp_path / "often", "--steps", "6", "--set", "validate_steps=2", "--set", "validate_share=1.0")
    scores = [record for record in journal.read(tmp_path / "often") if record["event"] == "validation"]
    assert [record["step"] for record in scores] == [2, 4, 6]
    values = [record["mean"]["sdr"] for record in scores]
    assert [record["best"] for record in scores] == [value > max([-99, *values[:i]]) for i, value in enumerate(values)]
    run(config, tmp_path / "seldom", "--steps", "6", "--set", "validate_steps=2", "--set", "validate_share=0.0")
    scores = [record for record in journal.read(tmp_path / "seldom") if record["event"] == "validation"]
    assert [record["step"] for record in scores] == [2, 6]


class Noise:
    """Seeded batches of noise, without files."""

    def __init__(self, batch: int = 4, stages: int = 2, samples: int = 2000, share: slice = slice(None)) -> None:
        self.batch, self.stages, self.samples, self.share = batch, stages, samples, share

    def __getitem__(self, index: int) -> Batch:
        generator = torch.Generator().manual_seed(index)
        top = torch.randn(self.batch, 4, self.samples << (self.stages - 1), generator=generator) * 0.5
        active = (torch.rand(self.batch, 4, generator=generator) > 0.4).float()
        top = top * active.unsqueeze(-1)
        stems = tuple(top[self.share, :, :: 1 << (self.stages - 1 - i)].contiguous() for i in range(self.stages))
        return Batch(tuple(wave.sum(1) for wave in stems), stems, active[self.share], None)


class Breaking(Objective):
    """An objective that gives nothing finite at some of its calls."""

    def __init__(self, broken: set[int]) -> None:
        super().__init__()
        self.broken, self.calls = broken, 0

    def forward(self, *args, **options) -> LossReport:
        report = super().forward(*args, **options)
        self.calls += 1
        return LossReport(report.total * math.nan, report.parts) if self.calls in self.broken else report


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def stepped(self, step: int) -> None: ...

    def report(self, progress) -> None:
        self.texts.append(f"loss {progress.loss}")

    def note(self, text: str) -> None:
        self.texts.append(text)


def noise_trainer(config: Path, folder: Path, objective: torch.nn.Module, observer: Notes, *sets: str) -> Trainer:
    settings = read(config, sets)
    torch.manual_seed(0)
    return Trainer(settings, folder, MetaTasNet(settings.model), objective, Noise(), observer=observer)


def test_steps_without_a_finite_gradient_are_skipped(config, tmp_path):
    notes = Notes()
    trainer = noise_trainer(config, tmp_path, Breaking({2, 3}), notes)
    before = {}

    def look() -> bool:
        before[trainer.tally.step] = trainer.network.stages[0].embedding.detach().clone()
        return False

    trainer.run(4, stop=look)
    assert torch.equal(before[1], before[2])
    assert torch.equal(before[1], before[3])
    assert not torch.equal(before[3], before[4])
    assert trainer.tally.skipped == 2
    assert sum("not finite" in text for text in notes.texts) == 1
    assert "nan" not in " ".join(notes.texts)
    trainer = noise_trainer(config, tmp_path, Breaking(set(range(2, 99))), notes, "max_skipped=5")
    with pytest.raises(ModelError, match="5 steps in a row"):
        trainer.run(50)


@pytest.mark.slow
def test_what_training_runs_is_compiled(config, tmp_path, monkeypatch):
    compiled, compile_module = [], torch.nn.Module.compile

    def eagerly(graph, _):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend=eagerly))
    trainer = noise_trainer(config, tmp_path, Objective(), Notes(), "train.compile=true")
    trainer.run(1)
    assert compiled
    assert trainer.tally.skipped == 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_trains(config, tmp_path, precision):
    notes = Notes()
    trainer = noise_trainer(config, tmp_path, Objective(), notes, f"train.precision={precision}", "train.log_steps=1")
    trainer.run(6)
    losses = [float(text.split()[1]) for text in notes.texts if text.startswith("loss")]
    assert all(map(math.isfinite, losses[:1] + losses[-1:]))
    step = TrainingStep(trainer.network, Objective(), TrainConfig())
    exact = step(Noise()[0]).total.item()
    trainer.config = TrainConfig()
    rough = TrainingStep(trainer.network, Objective(), TrainConfig(precision=precision))(Noise()[0]).total.item()
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.05)


def test_growing_takes_what_fits(config, tmp_path):
    settings = read(config)
    torch.manual_seed(1)
    small, whole = MetaTasNet(settings.model.first_stages(1)), MetaTasNet(settings.model)
    store.save(tmp_path / "small.safetensors", small)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    match = load_matching(whole, tmp_path / "small.safetensors")
    assert set(match.loaded) == small.state_dict().keys()
    assert match.unused == []
    for name, value in whole.state_dict().items():
        assert torch.equal(value, small.state_dict()[name] if name.startswith("stages.0.") else before[name])
    assert all(text.startswith("stages.1.") and text.endswith("not in the file") for text in match.missing)
    with pytest.raises(ModelError, match="init_strict"):
        load_matching(whole, tmp_path / "small.safetensors", strict=True)
    load_matching(small, tmp_path / "small.safetensors", strict=True)
    checkpoint.save(tmp_path / "checkpoint", {"network": small.state_dict()}, {})
    assert set(load_matching(whole, tmp_path / "checkpoint").loaded) == small.state_dict().keys()
    save_file({"stages.0.embedding": torch.zeros(3, 3), "else": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match="no tensor matches"):
        load_matching(whole, tmp_path / "odd.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(ModelError, match="no safetensors file"):
        load_matching(whole, tmp_path / "torn.safetensors")
    with pytest.raises(ModelError, match="no weights"):
        load_matching(whole, tmp_path / "none.safetensors")


def test_a_grown_run_keeps_frozen_parts(config, tmp_path):
    settings = read(config)
    start = tmp_path / "small.safetensors"
    store.save(start, MetaTasNet(settings.model.first_stages(1)))
    options = ["--set", f"train.init={start}", "--set", 'train.freeze=["stages.0"]']
    run(config, tmp_path / "run", "--steps", "2", *options)
    init = next(record for record in journal.read(tmp_path / "run") if record["event"] == "init")
    assert len(init["taken"]) == len(load_file(start))
    assert len(init["kept"]) > 0
    trained = load_file(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(trained[name], value) for name, value in load_file(start).items())
    run(config, tmp_path / "run", "--steps", "3", "--resume", *options)
    later = load_file(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(later[name], value) for name, value in load_file(start).items())
    assert not torch.equal(later["stages.1.embedding"], trained["stages.1.embedding"])


def test_statistics_are_those_of_the_training_mixtures(config):
    settings = read(config)
    network, batches = MetaTasNet(settings.model), Noise()
    found = spectrogram_statistics(network, batches, 3)
    for stage, spectrogram in enumerate(s.encoder.spectrogram for s in network.stages):
        powers = torch.cat([spectrogram.log_power(batches[i].mixture[stage].unsqueeze(1)) for i in range(3)])
        torch.testing.assert_close(found[stage].mean, powers.mean((0, 2)))
        torch.testing.assert_close(found[stage].std, powers.std((0, 2), correction=0), rtol=1e-3, atol=1e-4)


def test_statistics_reach_the_saved_network(config, tmp_path):
    run(config, tmp_path, "--steps", "1")
    mean = load_file(tmp_path / "last.safetensors")["stages.0.encoder.spectrogram.mean"]
    assert mean.std() > 0.1


def test_a_network_without_spectrograms_has_no_statistics_and_trains(config, tmp_path):
    run(config, tmp_path, "--steps", "1", "--set", "model.spectrogram=false")
    assert not any("spectrogram" in name for name in load_file(tmp_path / "last.safetensors"))


def test_a_validation_that_is_stopped_counts_for_nothing(config, tmp_path):
    settings = read(config)
    network = MetaTasNet(settings.model)
    data = ValidationData(settings.data.resolved(config.parent), settings.model)
    asked = []

    def stop() -> bool:
        asked.append(len(asked))
        return len(asked) > 1

    assert validate(network, stop, data, settings.model, torch.device("cpu")) is None
    assert network.training
    trainer = Trainer(settings, tmp_path, network, Objective(), Noise(), lambda *_: None)
    assert trainer.run(1).best == -math.inf
    assert trainer.tally.validated_step == -1
    assert not (tmp_path / "best.safetensors").exists()


def test_long_clips_are_separated_in_parts(monkeypatch):
    config = networks.TINY
    network = networks.small_network(config=config)
    waves = networks.noise_pyramid(config, 8 * config.base_rate_hz + 3, batch=1)
    rates_hz, longest = config.rates_hz, []
    with torch.no_grad():
        whole = network(waves)[-1].stems[0]
    network.register_forward_hook(lambda _, inputs, __: longest.append(inputs[0][0].shape[-1]))
    assert torch.equal(separate(network, waves, rates_hz, torch.device("cpu")), whole)
    monkeypatch.setattr(validation, "PART_S", 2.0)
    parts = separate(network, waves, rates_hz, torch.device("cpu"))
    assert max(longest[1:]) == 2 * rates_hz[0] and len(longest) == 7
    assert parts.shape == whole.shape
    error = (parts - whole).square().sum() / whole.square().sum()
    assert error < 0.3  # norms see another stretch of the noise; a sample too late it would be 2


def test_clip_scores():
    generator = torch.Generator().manual_seed(0)
    stems = torch.randn(4, 2, 5000, generator=generator)
    stems[3] = 0
    noise = 0.1 * torch.randn(4, 2, 5000, generator=generator)
    sdr, fitted, si_snr = clip_scores(stems + noise, stems, stems.sum(0), 8000)
    assert sdr[:3] == pytest.approx([20.6] * 3, abs=0.4)  # what is missing is shared out, and some of it is right
    assert si_snr[:3] == pytest.approx([20, 20, 20], abs=0.5)
    assert np.isnan([sdr[3], fitted[3], si_snr[3]]).all()
    # Levels that are all wrong: SI-SNR is the same, SDR is lost, fitting finds the levels without seeing the stems.
    scales = torch.tensor([0.1, 3.0, 20.0, 1.0])[:, None, None]
    wrong = clip_scores((stems + noise) * scales, stems, stems.sum(0), 8000)
    assert wrong[2][:3] == pytest.approx(si_snr[:3], abs=1e-6)
    assert wrong[0][0] < 2
    assert wrong[1][:3] == pytest.approx([20, 20, 20], abs=1.5)
    # An estimate beside the stem: SI-SNR is far below zero.
    assert (clip_scores(stems.flip(-1), stems, stems.sum(0), 8000)[2][:3] < -15).all()
    broken = stems + noise
    broken[1, 0, 7] = torch.nan
    assert (clip_scores(broken, stems, stems.sum(0), 8000)[:, 1] == -100).all()


def test_settings_are_checked(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    tables = {"model": {}, "data": {"sources": [{"name": "a", "layout": "folders", "path": "."}]}}
    with pytest.raises(ConfigError, match=r"c.toml: unknown table \[sound\]; known are \[model\]"):
        from_tables(tables | {"sound": {}}, path)
    with pytest.raises(ConfigError, match="train is 3; expected a table"):
        from_tables(tables | {"train": 3}, path)
    for key, value in (
        ("speed", 1),
        ("steps", 0),
        ("learning_rate", -1.0),
        ("optimizer", "sgd"),
        ("betas", [0.9]),
        ("average", 1.0),
        ("init_strict", True),
        ("rate_factors", {"stages": 0.0}),
    ):
        with pytest.raises(ConfigError, match=key):
            from_tables(tables | {"train": {key: value}}, path)
    assert read(path, ["learning_rate=1e-2", "data.sources.0.weight=0.5"]).train.learning_rate == 1e-2
    with pytest.raises(ConfigError, match=r"expected table\.key=value"):
        assigned(tables, "learning_rate")


def test_every_setting_of_a_checkpoint_is_compared(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    settings = read(path)
    mapping = settings.mapping()
    assert resumable_changes(mapping, settings, path) == []
    free = {
        "steps",
        "learning_rate",
        "rate_factors",
        "schedule",
        "warmup_steps",
        "schedule_steps",
        "final_factor",
        "period",
        "restart_factor",
        "clip",
        "weight_decay",
        "device",
        "precision",
        "recompute",
        "compile",
        "threads",
        "tensorboard",
        "best",
        "log_steps",
        "max_skipped",
    }
    for key, value in mapping["train"].items():
        if key == "init_strict":
            continue  # not without init
        other = {
            "schedule": "cosine",
            "optimizer": "adamw",
            "precision": "float16",
            "best": "si_snr",
            "device": "cuda:9",
            "rate_factors": {"stages.0": 0.5},
            "freeze": ["x"],
            "betas": [0.5, 0.5],
            "init": "x.st",
            "init_draft": "x.st",
        }.get(key)
        if other is None and isinstance(value, bool):
            other = not value
        elif other is None:
            other = value / 2 + 0.01 if isinstance(value, float) else value + 1
        changed = from_tables({**mapping, "train": mapping["train"] | {key: other}}, path)
        if key in free or key.startswith(("checkpoint_", "validate_")):
            assert [change.key.split(".")[1] for change in resumable_changes(mapping, changed, path)] == [key]
        else:
            with pytest.raises(ConfigError, match=f"another config: train.{key}"):
                resumable_changes(mapping, changed, path)


def test_missing_data_is_an_error_in_one_line(config, tmp_path, capsys):
    assert run(config, tmp_path / "run", "--set", "data.prepared=elsewhere") == 1
    assert "hyperstem prepare" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(config, tmp_path / "run", "--set", "train.device=tpu9") == 1
    assert "tpu9" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(config, tmp_path / "run", "--minutes", "-1")


def test_training_without_validation(config, tmp_path):
    settings = read(config)
    text = CONFIG[: CONFIG.index("[[data.validation]]")].replace('"songs"', f'"{config.parent}/songs"', 1)
    path = tmp_path / "c.toml"
    path.write_text(text.replace('"prepared"', f'"{config.parent}/prepared"'))
    outcome = train(read(path), tmp_path / "run", steps=1)
    assert outcome.best == -math.inf
    assert (tmp_path / "run" / "last.safetensors").is_file()
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert settings.data.validation


class Same:
    """One batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __getitem__(self, index: int) -> Batch:
        return self.batch


@pytest.mark.slow
def test_a_tiny_network_overfits_one_bar(config, tmp_path):
    settings = read(
        config,
        [
            "model.stages=1",
            "model.latent_dim=128",
            "model.bottleneck_dim=32",
            "model.hidden_dim=32",
            "model.blocks=4",
            "loss.dissimilarity=0.0",
            "loss.similarity=0.0",
            "train.optimizer=adamw",
            "train.learning_rate=5e-3",
            "train.schedule=cosine",
            "train.steps=300",
            "train.average=0.0",
            "train.batch=1",
        ],
    )
    bar = np.stack(list(band(5, 2.0, 4000).values()))  # (stem, time)
    mixture = normalise([bar.sum(0)[None]])
    stems = torch.from_numpy(bar / mixture.scales[0])[None]
    batch = Batch((torch.from_numpy(mixture.waves[0]),), (stems,), torch.ones(1, 4), None)
    torch.manual_seed(0)
    network = MetaTasNet(settings.model)
    Trainer(settings, tmp_path, network, Objective(settings.loss), Same(batch)).run(300)
    with torch.no_grad():
        estimates = network(batch.mixture)[-1].stems[0]
    _, fitted, si_snr = clip_scores(estimates, stems[0], batch.mixture[0][0], settings.model.rates_hz[0])
    assert fitted.min() > 15
    assert si_snr.min() > 15


@pytest.mark.slow
def test_the_tiny_config_trains_on_the_built_in_band(tmp_path):
    config = CONFIGS / "tiny.toml"
    place = ["--set", f"data.root={tmp_path}", "--set", f"data.prepared={tmp_path / 'prepared'}"]
    for name, seed in (("songs", 0), ("clips", 1000)):
        assert (
            cli.main(
                [
                    "synth",
                    str(tmp_path / name),
                    "--songs",
                    "2",
                    "--seconds",
                    "8",
                    "--rate",
                    "16000",
                    "--seed",
                    str(seed),
                    "-q",
                ]
            )
            == 0
        )
    assert cli.main(["prepare", str(config), "-q", *place]) == 0
    assert run(config, tmp_path / "run", "--steps", "3", *place) == 0
    assert np.isfinite(journal.read(tmp_path / "run")[-2]["mean"]["sdr"])


@pytest.mark.slow
def test_the_paper_config_takes_a_step(config, tmp_path):
    tables = load_toml(CONFIGS / "paper.toml")
    settings = from_tables(tables | {"data": load_toml(config)["data"]}, config)
    assert settings.train == TrainConfig(**tables.get("train", {}))
    torch.manual_seed(0)
    network = MetaTasNet(settings.model)
    before = network.stages[2].embedding.detach().clone()
    batches = Noise(batch=2, stages=3, samples=4000)
    trainer = Trainer(settings, tmp_path, network, Objective(settings.loss), batches)
    assert trainer.run(1).step == 1
    assert trainer.tally.skipped == 0
    assert not torch.equal(network.stages[2].embedding, before)
