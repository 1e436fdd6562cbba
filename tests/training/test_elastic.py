"""Processes that are lost: torchrun starts all of them anew, and the run goes on from its checkpoint."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hyperstem.cli import main
from hyperstem.errors import ConfigError
from hyperstem.training import distributed, journal
from hyperstem.training.run import train

CONFIG = """
[model]
base_rate_hz = 4000
stages = 1
latent_dim = 32
kernels = [40, 80]
mels = 8
n_fft = 128
stft_hop = 32
bottleneck_dim = 16
hidden_dim = 16
blocks = 2
stacks = 1
segment_s = 0.5

[train]
steps = 60
batch = 2
device = "cpu"
threads = 1
tensorboard = false
checkpoint_steps = 5
log_steps = 5

[data]
root = "."
prepared = "prepared"
workers = 0

[[data.sources]]
name = "songs"
layout = "folders"
path = "songs"
"""


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("drums", "bass", "other", "vocals"):
        path = tmp_path / "songs" / "One" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(16000), 4000)
    (tmp_path / "toy.toml").write_text(CONFIG)
    assert main(["prepare", str(tmp_path / "toy.toml"), "-q"]) == 0
    return tmp_path / "toy.toml"


def events(folder):
    return [(record["event"], record["step"]) for record in journal.read(folder)]


def test_a_process_that_is_started_anew_goes_on(config, tmp_path, monkeypatch, capsys):
    words = ["train", str(config), "-o", str(tmp_path / "run"), "-q", "--steps"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main([*words, "2"]) == 0  # lost before its first checkpoint: it begins
    assert main([*words, "4"]) == 0
    assert ("resumed", 2) in events(tmp_path / "run")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert main([*words, "6"]) == 1
    assert "contains a run already" in capsys.readouterr().err


def children(parent):
    """The process numbers of a process's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            if int(text.rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_run_outlives_a_process_that_is_killed(config, tmp_path):
    run = tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "hyperstem", "train"]
    with subprocess.Popen(
        [*command, str(config), "-o", str(run), "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as agent:
        try:
            while not (run / "checkpoint").exists() and agent.poll() is None:
                time.sleep(0.02)
            os.kill(max(children(agent.pid)), signal.SIGKILL)
            said, _ = agent.communicate(timeout=300)
        finally:
            agent.kill()
    assert agent.returncode == 0, said
    found = events(run)
    resumed = [step for event, step in found if event == "resumed"]
    assert len(resumed) == 1 and resumed[0] >= 5 and resumed[0] % 5 == 0, found
    assert found[-1] == ("ended", 60)


def test_going_on_if_there_is_something_to_go_on_from(config, tmp_path):
    words = ["train", str(config), "-o", str(tmp_path / "run"), "-q", "--resume-if-any", "--steps"]
    assert main([*words, "2"]) == 0
    assert main([*words, "4"]) == 0
    assert [event for event, _ in events(tmp_path / "run") if event in ("started", "resumed")] == ["started", "resumed"]
    with pytest.raises(SystemExit):
        main([*words, "6", "--resume"])


def test_processes_that_do_not_see_one_folder_do_not_train_together(config, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "total", lambda values: values + 1)
    with pytest.raises(ConfigError, match="only some processes see"):
        train(config, tmp_path / "run", steps=1)
