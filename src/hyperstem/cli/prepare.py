"""Decode training recordings once, to memory-mapped 16-bit files at the model's top rate.

Recordings that are prepared already and unchanged are kept, so it may be interrupted and run again. A song that cannot
be read is reported and skipped; the exit status is then 1.
"""

import argparse
import sys

from hyperstem.cli._arguments import positive_int
from hyperstem.cli._data import add_config_arguments, read_settings

HELP = "decode training recordings for fast reading"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_config_arguments(parser)
    parser.add_argument(
        "-j", "--jobs", type=positive_int, default=2, metavar="N", help="songs decoded at the same time (default: 2)"
    )
    parser.add_argument("--strict", action="store_true", help="leave songs with damaged files out")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Prepares every source and validation set of the config."""
    from tqdm import tqdm

    from hyperstem.data.prepare import prepare

    settings = read_settings(args)
    rate_hz = settings.model.rates_hz[-1]
    with tqdm(unit="track", disable=args.quiet or None, leave=False) as bar:

        def show(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.set_postfix_str(name[:50], refresh=False)
            bar.update(done - bar.n)

        report = prepare(
            settings.data, settings.model.stems, rate_hz, jobs=args.jobs, progress=show, strict=args.strict
        )
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in report.problems:
        print(f"left out: {problem}", file=sys.stderr)
    print(
        f"{report.prepared} prepared, {report.kept} kept, {len(report.problems)} left out: "
        f"{report.minutes:.1f} minutes at {rate_hz} Hz in {settings.data.prepared}"
    )
    return 1 if report.problems else 0
