"""Train a network as described by a TOML file.

Weights are kept in RUN/best.safetensors and RUN/last.safetensors, the complete state in RUN/checkpoint, metrics
in RUN/log.jsonl. Ctrl-C and SIGTERM save the state and stop; --resume continues. For several processes use
torchrun --nproc-per-node N -m hyperstem train CONFIG.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstem.cli._arguments import positive, positive_int

if TYPE_CHECKING:
    from hyperstem.training.progress import Progress

HELP = "train a network, or resume a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``hyperstem train``."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file: [model], [loss], [data], [train]")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="RUN", help="folder of the run (default: runs/NAME of CONFIG)"
    )
    resume = parser.add_mutually_exclusive_group()
    resume.add_argument("--resume", action="store_true", help="continue from RUN/checkpoint")
    resume.add_argument(
        "--resume-if-any",
        action="store_true",
        help="the same if there is one, otherwise begin: for jobs that restart",
    )
    parser.add_argument("--steps", type=positive_int, metavar="N", help="stop at N steps since the run's start")
    parser.add_argument("--minutes", type=positive, metavar="M", help="stop this call after M minutes")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="set one value, e.g. train.learning_rate=3e-4 or data.sources.0.weight=2 (repeatable)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Trains; returns 130 after Ctrl-C, otherwise 0."""
    from hyperstem import memory
    from hyperstem.training.run import train
    from hyperstem.training.settings import read

    memory.keep_freed()
    folder = args.output or Path("runs") / args.config.stem
    settings = read(args.config, args.assignments)
    steps = args.steps or settings.train.steps
    with _Bar(steps, args.quiet) as bar, _stop_signals() as received:
        outcome = train(
            settings,
            folder,
            resume=args.resume or (args.resume_if_any and (folder / "checkpoint").exists()),
            steps=steps,
            minutes=args.minutes,
            stop=lambda: bool(received),
            observer=bar,
        )
    if not bar.is_main:
        return 0
    best = f", best {outcome.best:.2f} dB" if outcome.best > float("-inf") else ""
    print(f"{folder}: {outcome.step} of {steps} steps{best}")
    if outcome.step < steps:
        sets = [word for assignment in args.assignments for word in ("--set", assignment)]
        words = ["hyperstem", "train", str(args.config), "-o", str(folder), "--resume", "--steps", str(steps), *sets]
        print(f"to go on: {shlex.join(words)}")
    return 130 if signal.SIGINT in received else 0


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Records SIGTERM and Ctrl-C instead of ending; a second Ctrl-C ends the program at once."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Shows a run's progress on standard error."""

    def __init__(self, steps: int, quiet: bool) -> None:
        from tqdm import tqdm

        from hyperstem.training.distributed import find_world

        self.is_main = find_world().is_main
        self._bar = tqdm(
            total=steps,
            unit="step",
            disable=quiet or not self.is_main,
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5 if sys.stderr.isatty() else 30,
        )

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def stepped(self, step: int) -> None:
        if step > self._bar.n + 1:
            self._bar.initial = self._bar.n = step - 1
        self._bar.update(step - self._bar.n)

    def report(self, progress: "Progress") -> None:
        skipped = f", {progress.skipped} skipped" if progress.skipped else ""
        self._bar.set_postfix_str(
            f"loss {progress.loss:.3f}, {progress.audio_s_per_s:.0f} s audio/s, "
            f"data wait {100 * progress.data_wait:.0f}%{skipped}",
            refresh=False,
        )

    def note(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)
