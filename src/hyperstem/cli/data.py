"""Look at training data: ``stats`` prints minutes per stem and source, and writes examples to listen to.

A stem's minutes are those in which it sounds by itself; the data must have been prepared.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstem.cli._arguments import whole
from hyperstem.cli._data import DataSettings, add_config_arguments, read_settings

if TYPE_CHECKING:
    from hyperstem.data.stats import SourceStats

HELP = "show what the training data holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    stats = actions.add_parser("stats", help="minutes per stem and source", description=__doc__)
    add_config_arguments(stats)
    stats.add_argument("--listen", type=Path, metavar="DIR", help="write the first training examples here as wav")
    stats.add_argument("--count", type=whole(0), default=8, metavar="N", help="examples to write (default: 8)")


def run(args: argparse.Namespace) -> int:
    """Prints the table and writes the examples."""
    from hyperstem.data.stats import source_stats, total_stats

    settings = read_settings(args)
    stems, rate_hz = settings.model.stems, settings.model.rates_hz[-1]
    rows = source_stats(settings.data, stems, rate_hz)
    totals = [total_stats(rows, use) for use in dict.fromkeys(row.use for row in rows)]
    print("\n".join(_table(rows + totals, stems)))
    if args.listen:
        _write_examples(settings, args.listen, args.count)
    return 0


def _table(rows: Sequence["SourceStats"], stems: Sequence[str]) -> list[str]:
    head = ["source", "use", "weight", "tracks", "minutes", *stems]
    cells = [
        [
            row.name,
            row.use,
            f"{row.weight:g}",
            str(row.tracks),
            f"{row.minutes:.1f}",
            *(f"{row.active_minutes[stem]:.1f}" for stem in stems),
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *cells]
    ]


def _write_examples(settings: DataSettings, folder: Path, count: int) -> None:
    from hyperstem.data.sampling import ExampleSource
    from hyperstem.data.stats import write_example

    source = ExampleSource(settings.data, settings.model)
    for i in range(count):
        example = source.example(0, i)
        kind = "remix" if source.is_remix(0, i) else "song"
        write_example(folder / f"{i:02d}-{kind}", example, settings.model.stems, settings.model.rates_hz[-1])
    print(f"{count} examples in {folder}")
