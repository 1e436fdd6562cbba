"""``hyperstem separate --ray``: catalogues of songs on many machines."""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hyperstem.cli._arguments import path
from hyperstem.cli._progress import duration
from hyperstem.cli._signals import interrupted_once
from hyperstem.cli._usage import UsageError, usage

if TYPE_CHECKING:
    from hyperstem.cluster.run import Totals
    from hyperstem.separation.batch import BatchSettings

_BAR_EVERY_S, _LINE_EVERY_S = 0.5, 30.0
Groups = tuple[tuple[str, tuple[str, ...]], ...] | None


def run_catalogue(
    args: argparse.Namespace,
    settings_of: Callable[[argparse.Namespace], "BatchSettings"],
    groups_of: Callable[[argparse.Namespace, tuple[str, ...]], Groups],
) -> int:
    """Separates a catalogue; 0 all done, 1 some failed.

    Args:
        args: the arguments of the command.
        settings_of: returns how to write stems.
        groups_of: returns which files to write, given the model's stems.
    """
    if "-" in args.inputs:
        raise UsageError("a song on standard input is for one machine; --files-from - reads a list from it")
    from hyperstem.cluster.fleet import require_ray

    with usage():
        require_ray()
    from hyperstem.cluster.run import Totals

    totals = Totals()
    with usage(), _only_ours() as out, contextlib.ExitStack() as stack:
        launch, job = _prepared(args, stack, settings_of, groups_of)
        reporter = _Reporter(args, totals, out)
        try:
            from hyperstem.cluster.launch import separate_catalogue

            with interrupted_once():
                separate_catalogue(launch, job, reporter.report, totals)
        except KeyboardInterrupt:
            reporter.say("hyperstem: interrupted; unfinished files were removed", sys.stderr)
            return 130
        finally:
            reporter.close()
            if totals.elapsed_s and not args.quiet:
                print(totals.table(), file=sys.stderr if args.json else out, flush=True)
    return 1 if totals.songs["failed"] else 0


def _prepared(
    args: argparse.Namespace, stack: contextlib.ExitStack, settings_of: Callable, groups_of: Callable
) -> tuple[Any, Any]:
    """The songs, and what to do with them. The model is also loaded here, so that problems are reported at once."""
    from hyperstem.cluster.catalogue import absolute
    from hyperstem.cluster.launch import Launch
    from hyperstem.cluster.worker import Job
    from hyperstem.separation import batch
    from hyperstem.separation.separator import OVERLAP, Separator
    from hyperstem.separation.sharding import Shard

    if args.plot:
        from hyperstem.separation.picture import require_matplotlib

        require_matplotlib()
    destination = absolute(str(args.output))
    args.output = Path(destination)  # of a URL, this path is never used
    settings = settings_of(args)
    if destination == str(args.output):
        batch.require_writable(args.output)
    overlap = OVERLAP if args.overlap is None else args.overlap
    separator = Separator.load(args.model, args.quality, args.device, args.threads or 1, args.segment, overlap)
    settings = replace(
        settings,
        output=replace(settings.output, groups=groups_of(args, separator.stems)),
        existing="overwrite" if args.overwrite else "skip",
    )
    model = absolute(args.model) if Path(args.model).exists() else args.model
    threads = args.threads or 1
    job = Job(
        model,
        settings,
        destination,
        separator.model_sha256,
        args.quality,
        args.device,
        threads,
        args.segment,
        overlap,
    )
    root = str(args.root) if args.root else None
    shard = Shard.parse(args.shard or "1/1")
    kind = args.records or "jsonl"
    return Launch(args.inputs, separator.stems, _listed(args, stack), root, shard, args.ray, args.jobs, kind), job


def _listed(args: argparse.Namespace, stack: contextlib.ExitStack) -> Iterator[str]:
    """The songs in the list, which is read lazily."""
    from hyperstem.separation.sources import read_names

    if not args.files_from:
        return iter(())
    by_pipe = args.files_from == "-"
    return read_names(sys.stdin.buffer if by_pipe else stack.enter_context(path(args.files_from).open("rb")))


@contextlib.contextmanager
def _only_ours() -> Iterator[IO[str]]:
    """Yields standard output for our records; drops what Ray prints there, which could break them."""
    out = sys.stdout
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        yield out


class _Reporter:
    """Prints the result of each song, and the overall progress at intervals; the number of songs is unknown."""

    def __init__(self, args: argparse.Namespace, totals: "Totals", out: IO[str]) -> None:
        self._args, self._totals, self._out = args, totals, out
        mode = args.progress or ("none" if args.quiet else "auto")
        self._mode = mode if mode != "auto" else "bar" if sys.stderr.isatty() else "lines"
        self._begun = self._shown = time.monotonic()

    def report(self, record: dict[str, Any]) -> None:
        if record["status"] == "failed":
            self.say(f"hyperstem: {record['error']}", sys.stderr)
        elif not self._args.quiet:
            for warning in record["warnings"]:
                self.say(f"warning: {record['file']}: {warning}", sys.stderr)
            if not self._args.json:
                self.say(_line(record), self._out)
        if self._args.json:
            self.say(json.dumps(record), self._out)
        self._show()

    def say(self, text: str, file: IO[str]) -> None:
        if self._mode == "bar":
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(text, file=file, flush=True)

    def _show(self) -> None:
        now = time.monotonic()
        if self._mode == "none" or now - self._shown < (_LINE_EVERY_S if self._mode == "lines" else _BAR_EVERY_S):
            return
        self._shown = now
        songs = self._totals.songs
        if self._mode == "json":
            record = {"event": "progress", "songs_done": songs.total(), "done_s": round(self._totals.sound_s, 3)}
            print(json.dumps(record), file=sys.stderr, flush=True)
            return
        text = f"{songs.total()} songs ({songs['failed']} failed), {duration(self._totals.sound_s)} of music"
        text += f" in {duration(now - self._begun)}"
        print(
            f"\r\033[K{text}" if self._mode == "bar" else text, end="" if self._mode == "bar" else "\n", file=sys.stderr
        )
        sys.stderr.flush()

    def close(self) -> None:
        if self._mode == "bar":
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _line(record: dict[str, Any]) -> str:
    if record["status"] == "skipped":
        return f"{record['file']}: skipped, its files are there"
    folder = next(iter(record["stems"].values())).rpartition("/")[0]
    took = f"{duration(record['seconds'])} of music in {duration(record['elapsed_s'])}"
    return f"{record['file']} -> {folder}: {', '.join(record['stems'])} ({took})"
