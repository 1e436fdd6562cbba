"""Separate songs into stems: a folder per song with one file per stem; the stems sum to the song."""

import argparse
import contextlib
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstem.cli._arguments import path
from hyperstem.cli._progress import SongProgress, duration, shown
from hyperstem.cli._separate_options import add_arguments
from hyperstem.cli._signals import interrupted_once
from hyperstem.cli._usage import UsageError, usage
from hyperstem.errors import AudioError
from hyperstem.files import temporary_beside

if TYPE_CHECKING:
    from hyperstem.separation.batch import BatchSettings, Found, Result, Task
    from hyperstem.separation.separator import Separator

__all__ = ["HELP", "add_arguments", "run"]

HELP = "separate songs into their stems"
STANDARD_INPUT = "-"


def run(args: argparse.Namespace) -> int:
    """Separates every input; 0 all done, 1 some failed."""
    _take_back_song(args)
    _check_usage(args)
    if args.ray:
        from hyperstem.cli._catalogue import run_catalogue

        return run_catalogue(args, _settings, _groups)
    from hyperstem.separation import batch
    from hyperstem.separation.separator import OVERLAP, Separator
    from hyperstem.separation.sharding import Shard
    from hyperstem.separation.tasks import name_below

    if args.plot:
        from hyperstem.separation.picture import require_matplotlib

        require_matplotlib()
    overlap = OVERLAP if args.overlap is None else args.overlap
    with contextlib.ExitStack() as stack, usage():
        settings, shard = _settings(args), Shard.parse(args.shard or "1/1")
        batch.require_writable(settings.folder)
        separator = Separator.load(args.model, args.quality, args.device, args.threads, args.segment, overlap)
        settings = replace(settings, output=replace(settings.output, groups=_groups(args, separator.stems)))
        found = _found(args, stack)
        tasks = batch.plan(found.sources, settings, separator.stems, found.folders)
        tasks = [task for task in tasks if shard.holds(name_below(task, settings))]
        if not separator.trained and not args.quiet:
            _warn_untrained(separator)
        return _separate_all(args, separator, settings, tasks, found.failures)


def _take_back_song(args: argparse.Namespace) -> None:
    """Moves a song that follows --ray, where an address could stand, back to the songs."""
    if args.ray and not re.fullmatch(r"local|auto|[^/\\]+:[0-9]+", args.ray):
        args.inputs, args.ray = [args.ray, *args.inputs], "local"


def _check_usage(args: argparse.Namespace) -> None:
    """Checks everything that can be checked without loading anything."""
    if not args.ray:
        for name in ("output", "root"):
            if isinstance(getattr(args, name), str):
                raise UsageError(f"--{name} {getattr(args, name)} is a URL, which needs --ray")
        if args.records:
            raise UsageError("--records needs --ray; without it, --json prints the same records")
    if not args.inputs and not args.files_from:
        raise UsageError("no songs given; expected files, folders, or - for standard input")
    if args.files_from == STANDARD_INPUT and STANDARD_INPUT in args.inputs:
        raise UsageError("standard input is either a song or a list of songs")
    if args.format == "flac" and args.subtype == "float":
        raise UsageError("flac cannot hold 'float' samples; allowed are pcm16, pcm24")


def _settings(args: argparse.Namespace) -> "BatchSettings":
    from hyperstem.audio import named_format
    from hyperstem.separation.batch import BatchSettings
    from hyperstem.separation.output import OutputSettings

    kind = named_format(args.format)
    if args.rate is not None and kind.rate_for(args.rate) != args.rate:
        raise UsageError(f"{kind.name} cannot hold {args.rate} Hz; allowed are {kind.rates}")
    output = OutputSettings(kind, args.subtype, args.clip, args.rate, args.channels, bitrate=args.bitrate)
    existing = "overwrite" if args.overwrite else "skip" if args.skip_existing else "fail"
    return BatchSettings(
        args.output,
        output,
        args.template,
        existing,
        args.start,
        args.duration,
        args.jobs or 1,
        args.plot,
        args.stream,
        args.strict,
    )


def _groups(args: argparse.Namespace, stems: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Name and stems of each output file; None writes every stem."""
    if args.karaoke:
        if "vocals" not in stems:
            raise UsageError(f"--karaoke needs a model with vocals; this one separates {', '.join(stems)}")
        return ("vocals", ("vocals",)), ("accompaniment", tuple(stem for stem in stems if stem != "vocals"))
    named = args.stems or args.without or ()
    unknown = [name for name in named if name not in stems]
    if unknown:
        raise UsageError(f"no stem {unknown[0]!r}; this model separates {', '.join(stems)}")
    if args.without:
        rest = tuple(stem for stem in stems if stem not in named)
        if not rest:
            raise UsageError(f"--without {','.join(named)} leaves nothing of the song")
        return (("_".join(("no", *(stem for stem in stems if stem in named))), rest),)
    return tuple((stem, (stem,)) for stem in stems if stem in named) or None


def _found(args: argparse.Namespace, stack: contextlib.ExitStack) -> "Found":
    """The songs that the arguments name; a copy of standard input is deleted with the stack."""
    from hyperstem.separation import sources

    given = list(dict.fromkeys(args.inputs))
    paths = [path(text) for text in given if text != STANDARD_INPUT]
    if STANDARD_INPUT in given:
        paths.append(stack.enter_context(_standard_input(args.output)))
    listed: Iterator[Path] = iter(())
    if args.files_from:
        by_pipe = args.files_from == STANDARD_INPUT
        file = sys.stdin.buffer if by_pipe else stack.enter_context(path(args.files_from).open("rb"))
        listed = sources.read_list(file)
    found = sources.find_sources(paths, args.root, listed)
    if not found.sources and not found.failures:
        raise AudioError(f"{args.files_from} names no songs")
    return found


@contextlib.contextmanager
def _standard_input(folder: Path) -> Iterator[Path]:
    """A file in the output folder with a copy of standard input, because songs are read more than once."""
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe a song into it")
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    place = temporary_beside(folder / "stdin")
    try:
        place.mkdir(parents=True)
        song = place / "stdin"
        with song.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        yield song
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _separate_all(
    args: argparse.Namespace,
    separator: "Separator",
    settings: "BatchSettings",
    tasks: Sequence["Task"],
    failures: Sequence["Result"],
) -> int:
    from hyperstem.separation import batch

    begun, cancel, results = time.perf_counter(), threading.Event(), []
    with SongProgress(len(tasks) + len(failures), args.progress or ("none" if args.quiet else "auto")) as progress:

        def report(result: "Result") -> None:
            progress.finished(result.source, result.seconds)
            if (name := shown(result.source)) != str(result.source):
                error = result.error.replace(str(result.source), "standard input")
                result = replace(result, source=Path(name), error=error)
            _print_result(args, progress, result)
            results.append(result)

        for failure in failures:
            report(failure)
        try:
            with interrupted_once():
                batch.run(separator, tasks, settings, report, progress.update, cancel)
        except KeyboardInterrupt:
            cancel.set()
            progress.say("hyperstem: interrupted; unfinished files were removed", file=sys.stderr)
            return 130
    if len(results) > 1 and not (args.json or args.quiet):
        print(_summary(results, settings.folder, time.perf_counter() - begun), flush=True)
    return 1 if any(result.status == "failed" for result in results) else 0


def _print_result(args: argparse.Namespace, progress: SongProgress, result: "Result") -> None:
    from hyperstem.separation.messages import json_line

    if result.status == "failed":
        progress.say(f"hyperstem: {result.error}", file=sys.stderr)
    elif not args.quiet:
        for warning in result.warnings:
            progress.say(f"warning: {result.source}: {warning}", file=sys.stderr)
        if not args.json:
            progress.say(_line(result), file=sys.stdout)
    if args.json:
        progress.say(json_line(result.record()), file=sys.stdout)


def _line(result: "Result") -> str:
    """The result of one song."""
    if result.output is None:
        return f"{result.source}: skipped, its files are there"
    folder = next(iter(result.output.paths.values())).parent
    gain = f", gain {result.output.gain:.4f}" if result.output.gain != 1 else ""
    took = f"{duration(result.seconds)} of music in {duration(result.elapsed_s)}"
    return f"{result.source} -> {folder}: {', '.join(result.output.paths)} ({took}{gain})"


def _summary(results: Sequence["Result"], folder: Path, elapsed_s: float) -> str:
    """The result of all songs."""
    counts = Counter(result.status for result in results)
    states = ", ".join(f"{counts[state]} {state}" for state in ("done", "skipped", "failed") if counts[state])
    music = duration(sum(result.seconds for result in results))
    return f"{len(results)} songs: {states}; {music} of music in {duration(elapsed_s)} -> {folder}"


def _warn_untrained(separator: "Separator") -> None:
    print(
        f"hyperstem: warning: model {separator.model_name!r} is untrained: it shows how separation works, not how it "
        "sounds",
        file=sys.stderr,
    )
