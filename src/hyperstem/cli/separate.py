"""Separate songs into stems: a folder per song with one file per stem, which sum to the song."""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperstem.separation.batch import BatchSettings, Result
    from hyperstem.separation.separator import Separator

HELP = "separate songs into their stems"
_LONGEST_S = 1e9
"""Longer than any sound."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="songs in any format, or folders of them")
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("separated"),
        metavar="DIR",
        help="output folder (default: %(default)s)",
    )
    add("--stems", metavar="NAMES", help="write only these, e.g. vocals,drums (default: all)")
    add("--karaoke", action="store_true", help="write two files: vocals, and accompaniment, which is the rest")
    add("--model", default="default", metavar="NAME|PATH", help="model name or file (default: %(default)s)")
    add(
        "--format",
        default="wav",
        choices=("wav", "flac", "mp3", "ogg", "opus", "m4a", "stem.mp4"),
        help="format of the files (default: %(default)s)",
    )
    add(
        "--subtype",
        default="pcm16",
        choices=("pcm16", "pcm24", "float"),
        help="samples of wav (all) and flac (not float) (default: %(default)s)",
    )
    add(
        "--clip",
        default="scale",
        choices=("scale", "clamp", "error"),
        help="peaks above full scale, but in float: one gain for all stems, cut off, or fail (default: %(default)s)",
    )
    add("--rate", default="input", metavar="HZ|input", help="sample rate of the files (default: %(default)s)")
    add("--channels", default="input", choices=("input", "mono"), help="channels of the files (default: %(default)s)")
    add(
        "--quality",
        default="full",
        choices=("preview", "standard", "full"),
        help="run one, two or all stages of the network, if it has so many (default: %(default)s)",
    )
    add(
        "--segment",
        type=float,
        metavar="S",
        help="seconds the network sees at once (default: what the model was trained on)",
    )
    add("--overlap", type=float, metavar="0..0.9", help="part of a segment cross-faded with the next (default: 0.1)")
    add(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="where the network runs (default: %(default)s)",
    )
    add("--threads", type=int, metavar="N", help="processor threads (default: all cores)")
    add("--jobs", type=int, default=1, metavar="N", help="files separated at once (default: %(default)s)")
    add("--template", default="{folder}/{track}/{stem}.{ext}", help="names of the files (default: %(default)s)")
    add("--start", type=float, default=0.0, metavar="S", help="begin here, in seconds")
    add("--duration", type=float, metavar="S", help="separate this many seconds")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace files that exist")
    existing.add_argument("--skip-existing", action="store_true", help="pass over songs whose files all exist")
    add("--plot", action="store_true", help="also draw picture.png: waveforms and spectrograms (needs hyperstem[plot])")
    add("--json", action="store_true", help="print one JSON record per song on standard output")
    add("--quiet", action="store_true", help="print failures only")
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Separates every input; 0 all done, 1 some failed, 2 wrong usage."""
    _check_usage(args)
    from hyperstem.errors import ConfigError
    from hyperstem.separation import batch
    from hyperstem.separation.separator import OVERLAP, Separator

    if args.plot:
        from hyperstem.separation.picture import require_matplotlib

        require_matplotlib()
    overlap = OVERLAP if args.overlap is None else args.overlap
    try:
        settings = _settings(args)
        batch.require_writable(settings.folder)
        separator = Separator.load(args.model, args.quality, args.device, args.threads, args.segment, overlap)
        settings = _with_groups(args, settings, separator)
        found = batch.find_sources(args.inputs)
        tasks = batch.plan(found.sources, settings, separator.stems, found.folders)
    except ConfigError as error:
        args.parser.print_usage(sys.stderr)
        _say(f"error: {error}")
        return 2
    if not separator.trained and not args.quiet:
        _say(f"warning: model {separator.model_name!r} is untrained: it shows how separation works, not how it sounds")
    return _separate_all(args, separator, settings, tasks, found.failures)


def _check_usage(args: argparse.Namespace) -> None:
    """Whatever can be refused without loading anything."""
    error = args.parser.error
    if args.karaoke and args.stems:
        error("--karaoke and --stems cannot be given together")
    if args.rate != "input" and not (args.rate.isdecimal() and 1000 <= int(args.rate) <= 768_000):
        error(f"--rate is {args.rate!r}; allowed are 'input' and 1000 to 768000")
    for name in ("threads", "jobs"):
        value = getattr(args, name)
        if value is not None and value < 1:
            error(f"--{name} is {value}; at least 1 is needed")
    if not 0 <= args.start <= _LONGEST_S:
        error(f"--start is {args.start}; allowed are 0 to {_LONGEST_S:g}")
    if args.duration is not None and not 0 < args.duration <= _LONGEST_S:
        error(f"--duration is {args.duration}; it must be positive, and at most {_LONGEST_S:g}")
    if args.format == "flac" and args.subtype == "float":
        error("flac cannot hold 'float' samples; allowed are pcm16, pcm24")


def _settings(args: argparse.Namespace) -> "BatchSettings":
    from hyperstem.audio import named_format
    from hyperstem.errors import ConfigError
    from hyperstem.separation.batch import BatchSettings
    from hyperstem.separation.stem_files import OutputSettings

    kind = named_format(args.format)
    rate_hz = None if args.rate == "input" else int(args.rate)
    if rate_hz is not None and kind.rate_for(rate_hz) != rate_hz:
        raise ConfigError(f"{kind.name} cannot hold {rate_hz} Hz; allowed are {kind.rates}")
    output = OutputSettings(kind, args.subtype, args.clip, rate_hz, args.channels == "mono")
    existing = "overwrite" if args.overwrite else "skip" if args.skip_existing else "fail"
    return BatchSettings(args.output, output, args.template, existing, args.start, args.duration, args.jobs, args.plot)


def _with_groups(args: argparse.Namespace, settings: "BatchSettings", separator: "Separator") -> "BatchSettings":
    """Which files are written, now that the model's stems are known."""
    from dataclasses import replace

    from hyperstem.errors import ConfigError

    if args.karaoke:
        if "vocals" not in separator.stems:
            raise ConfigError(f"--karaoke needs a model with vocals; this one separates {', '.join(separator.stems)}")
        rest = tuple(stem for stem in separator.stems if stem != "vocals")
        groups = (("vocals", ("vocals",)), ("accompaniment", rest))
    elif args.stems:
        names = list(dict.fromkeys(name.strip() for name in args.stems.split(",") if name.strip()))
        unknown = [name for name in names if name not in separator.stems]
        if unknown or not names:
            wrong = unknown[0] if unknown else args.stems
            raise ConfigError(f"no stem {wrong!r}; this model separates {', '.join(separator.stems)}")
        groups = tuple((name, (name,)) for name in separator.stems if name in names)
    else:
        return settings
    return replace(settings, output=replace(settings.output, groups=groups))


def _separate_all(
    args: argparse.Namespace, separator: "Separator", settings: "BatchSettings", tasks: list, failures: list
) -> int:
    from hyperstem.cli._progress import SongProgress
    from hyperstem.separation import batch

    cancel = threading.Event()
    with SongProgress(len(tasks) + len(failures), show=not args.quiet) as progress:

        def report(result: "Result") -> None:
            progress.finished(result.source, result.seconds)
            if result.status == "failed":
                progress.say(f"hyperstem: {result.error}", file=sys.stderr)
            elif not args.quiet:
                for warning in result.warnings:
                    progress.say(f"warning: {result.source}: {warning}", file=sys.stderr)
                if not args.json:
                    progress.say(_summary(result), file=sys.stdout)
            if args.json:
                progress.say(batch.json_line(result.record()), file=sys.stdout)

        for failure in failures:
            report(failure)
        try:
            with _interrupted_once():
                results = batch.run(separator, tasks, settings, report, progress.update, cancel)
        except KeyboardInterrupt:
            cancel.set()
            progress.say("hyperstem: interrupted; unfinished files were removed", file=sys.stderr)
            return 130
    return 1 if failures or any(result.status == "failed" for result in results) else 0


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Ctrl-C, a polite kill (SIGTERM) and a closing terminal (SIGHUP) interrupt.

    A second one does nothing until the process ends: it must not cut the clean-up short. What is ignored, as under
    nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [number for number in numbers if before[number] in (signal.SIG_DFL, signal.default_int_handler)]

    def interrupt(*_: object) -> None:
        for number in ours:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is interrupt:
                signal.signal(number, before[number])


def _summary(result: "Result") -> str:
    if result.output is None:
        return f"{result.source}: skipped, its files exist"
    folder = next(iter(result.output.paths.values())).parent
    gain = f", gain {result.output.gain:.4f}" if result.output.gain != 1 else ""
    speed = result.seconds / max(result.elapsed_s, 1e-9)
    return f"{result.source} -> {folder}: {', '.join(result.output.paths)} ({speed:.1f}x real time{gain})"


def _say(text: str) -> None:
    print(f"hyperstem: {text}", file=sys.stderr)
