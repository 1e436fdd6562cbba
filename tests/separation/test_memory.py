"""Memory does not grow with the song: files made on the fly, separated in a process of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.models import store
from separation_standin import COMMAND, HERE

pytest.importorskip("resource")

PEAK = """
import atexit, resource
def peak_kb():
    try:  # getrusage's maximum counts the memory of the process that started this one
        status = open("/proc/self/status").read()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.split("VmHWM:")[1].split()[0])
atexit.register(lambda: print("peak", peak_kb() // 1024))
"""
REAL = """
import sys
from hyperstem.cli import main
sys.exit(main(sys.argv[3:]))
"""


def song(path: Path, seconds: int) -> Path:
    time_s = np.arange(44100) / 44100
    second = 0.3 * np.sin(2 * np.pi * np.array([[220.0], [330.0]]) * time_s)
    second += np.random.default_rng(0).integers(-500, 500, (2, 44100)) / 32768
    with audio.Writer(path, 44100, 2) as writer:
        for _ in range(seconds):
            writer.write(second.astype(np.float32))
    return path


def peak_mb(folder: Path, seconds: int, command: str) -> int:
    path = song(folder / f"{seconds}.flac", seconds)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PEAK + command,
            str(HERE),
            "0",
            "separate",
            str(path),
            "--stems",
            "vocals",
            "-o",
            str(folder / "out"),
        ],
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr
    for stem in (folder / "out").rglob("*.wav"):
        assert audio.probe(stem).frames == seconds * 44100
        stem.unlink()
    path.unlink()
    return int(done.stdout.split()[-1])


def test_ten_times_the_length_takes_no_more_memory(tmp_path):
    assert peak_mb(tmp_path, 200, COMMAND) - peak_mb(tmp_path, 20, COMMAND) < 25


@pytest.mark.slow
def test_an_hour_stays_under_450_mb(tmp_path):
    assert peak_mb(tmp_path, 3600, REAL if "default" in store.names() else COMMAND) < 450
