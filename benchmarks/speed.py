"""Speed of `hyperstem separate`, decoding and writing included: ``python benchmarks/speed.py [--json]``.

Separates a 3-minute stereo MP3 at 44.1 kHz with the given model at every quality, in a process of its own each, and
tells how many times faster than real time that is, how much of the processor's time was spent outside the network, and
how long the command takes from the shell to the first block. "By processor time" is what the wall clock would say on
a machine with nothing else to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hyperstem.separation.separator import OVERLAP

WORKER = """
import sys, time
begun = time.perf_counter()
import json, threading
from pathlib import Path
from hyperstem import audio
from hyperstem.separation import batch
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.separator import Separator
song, model, quality, threads, out, form, overlap = sys.argv[1:]
separator = Separator.load(model, quality, threads=int(threads), overlap=float(overlap))
engine, lock, network = separator._loaded.engine, threading.Lock(), {"cpu_s": 0.0, "calls": 0}

class Timed:
    config = engine.config
    stems = getattr(engine, "stems", engine.config.stems)

    def separate(self, pyramid):
        cpu = time.thread_time()
        result = engine.separate(pyramid)
        with lock:
            network["cpu_s"] += time.thread_time() - cpu
            network["calls"] += 1
        return result

separator._separate_segment._engine = Timed()
settings = batch.BatchSettings(Path(out), OutputSettings(audio.named_format(form)), existing="overwrite")
first = []
task, = batch.plan([Path(song)], settings, separator.stems)
loaded_s = time.perf_counter() - begun
result, = batch.run(separator, [task], settings, lambda _: None,
                    lambda *_: first or first.extend([time.perf_counter() - begun, time.process_time()]))
print(json.dumps({"status": result.status, "error": result.error, "seconds": result.seconds,
                  "wall_s": time.perf_counter() - begun, "cpu_s": time.process_time(), "loaded_s": loaded_s,
                  "first_block_s": first[0], "first_block_cpu_s": first[1],
                  "network_cpu_s": network["cpu_s"], "network_calls": network["calls"]}))
"""
"""One run in a process of its own; on the exported network each call runs on the thread that makes it."""


def make_song(path: Path, seconds: float) -> None:
    """Tones, beats and noise: what it is does not matter to the network, and little to the coders."""
    from hyperstem import audio

    rng = np.random.default_rng(0)
    with audio.Writer(path, 44100, 2) as writer:
        for start in range(0, round(seconds * 44100), 441_000):
            time_s = (start + np.arange(min(441_000, round(seconds * 44100) - start))) / 44100
            beat = np.exp(-8 * (time_s % 0.5)) * rng.standard_normal(len(time_s)) * 0.2
            chord = sum(np.sin(2 * np.pi * hz * time_s) for hz in (110, 220, 277, 330, 660)) * 0.05
            writer.write(np.stack([beat + chord, 0.8 * beat + 1.1 * chord]).astype(np.float32))


def measure(song: Path, args: argparse.Namespace, quality: str, threads: int, folder: Path) -> dict:
    command = [sys.executable, "-c", WORKER, song, args.model, quality, threads, folder, args.format, args.overlap]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    begun = time.perf_counter()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    facts = json.loads(done.stdout) | {"quality": quality, "threads": threads, "shell_s": time.perf_counter() - begun}
    facts["real_time_factor"] = facts["seconds"] / facts["shell_s"]
    facts["real_time_factor_by_cpu"] = facts["seconds"] / (facts["cpu_s"] / threads)
    facts["outside_network"] = 1 - facts["network_cpu_s"] / facts["cpu_s"]
    facts["first_block_from_shell_s"] = facts["first_block_s"] + facts["shell_s"] - facts["wall_s"]
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--format", default="wav")
    parser.add_argument("--overlap", type=float, default=OVERLAP)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--qualities", nargs="+", default=["preview", "standard", "full"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.mp3"
        make_song(song, args.seconds)
        for threads in args.threads:
            for quality in args.qualities:
                rows.append(measure(song, args, quality, threads, Path(folder) / "out"))
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        "| quality | threads | x real time | x real time by processor time | outside the network | first block "
        "| its processor time |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['quality']} | {row['threads']} | {row['real_time_factor']:.1f} | "
            f"{row['real_time_factor_by_cpu']:.1f} | {row['outside_network']:.0%} | "
            f"{row['first_block_from_shell_s']:.2f} s | {row['first_block_cpu_s']:.2f} s |"
        )


if __name__ == "__main__":
    main()
