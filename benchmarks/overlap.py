"""What the overlap of segments changes: ``python benchmarks/overlap.py SONG_OR_FOLDER_OF_STEMS [--model M]``.

Separates a song at several overlaps. Tells how far below the stems the difference to the largest overlap lies and,
for a folder with the true stems, the signal-to-distortion ratio of each (plain, over the whole song).
"""

import argparse
from pathlib import Path

import numpy as np


def load(path: Path, seconds: float) -> tuple[np.ndarray, int, dict[str, np.ndarray]]:
    """Mixture, rate, and the true stems where they are known."""
    from hyperstem import audio

    if path.is_file():
        return *audio.read(path, duration_s=seconds), {}
    stems = {
        file.stem: audio.read(file, duration_s=seconds)
        for file in sorted(path.iterdir())
        if file.stem in ("drums", "bass", "other", "vocals")
    }
    rate_hz = next(iter(stems.values()))[1]
    waves = {name: wave for name, (wave, _) in stems.items()}
    return sum(waves.values()), rate_hz, waves


def decibels(power: float, other: float) -> float:
    return 10 * np.log10(max(power, 1e-20) / max(other, 1e-20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("song", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2, 0.4, 0.75])
    args = parser.parse_args()
    from hyperstem.separation.separator import Separator

    mixture, rate_hz, truth = load(args.song, args.seconds)
    results = {
        overlap: Separator.load(args.model, overlap=overlap).separate(mixture, rate_hz) for overlap in args.overlaps
    }
    best = results[max(args.overlaps)]
    names = list(best)
    titles = [f"{name}: difference" + (", SDR" if name in truth else "") for name in names]
    print("| " + " | ".join(["overlap", *titles]) + " |")
    print("|---" * (len(names) + 1) + "|")
    for overlap, stems in results.items():
        cells = []
        for name in names:
            far = decibels(np.square(stems[name] - best[name]).sum(), np.square(best[name]).sum())
            cell = f"{far:.1f} dB" if overlap != max(args.overlaps) else "-"
            if name in truth:
                error = np.square(truth[name] - stems[name]).sum()
                cell += f", {decibels(np.square(truth[name]).sum(), error):.2f} dB"
            cells.append(cell)
        print(f"| {overlap:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
