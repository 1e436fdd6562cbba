"""Peak memory of `hyperstem separate` over the song's length: ``python benchmarks/memory.py [--minutes 1 10 60]``."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORKER = """
import resource, sys
from hyperstem.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def make_song(path: Path, minutes: float) -> None:
    """Stereo at 44.1 kHz, FLAC, written on the fly."""
    from hyperstem import audio

    rng = np.random.default_rng(0)
    time_s = np.arange(44100) / 44100
    second = (
        0.2 * np.sin(2 * np.pi * np.array([[220.0], [330.0]]) * time_s) + 0.05 * rng.standard_normal((2, 44100))
    ).astype(np.float32)
    with audio.Writer(path, 44100, 2) as writer:
        for _ in range(round(minutes * 60)):
            writer.write(second)


def measure(song: Path, folder: Path, arguments: list[str]) -> dict:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WORKER, "separate", str(song), "-o", str(folder), "--overwrite", "--quiet", *arguments],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"peak_mb": int(done.stdout.split()[-1]) / 1024, "wall_s": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60])
    parser.add_argument("--model", default="default")
    parser.add_argument("--quality", default="full")
    parser.add_argument("--stems", default="vocals", help="stems written; a whole song of 1 hour needs 2.5 GB of disk")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for minutes in args.minutes:
        with tempfile.TemporaryDirectory() as folder:
            song = Path(folder) / "song.flac"
            make_song(song, minutes)
            facts = measure(
                song, Path(folder) / "out", ["--model", args.model, "--quality", args.quality, "--stems", args.stems]
            )
            rows.append({"minutes": minutes, **facts})
            if not args.json:
                print(f"{minutes:g} min: peak {facts['peak_mb']:.0f} MB, {facts['wall_s']:.1f} s", flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
