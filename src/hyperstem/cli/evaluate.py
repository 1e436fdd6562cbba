"""Score a model, or a folder of separated stems, on songs whose true stems are known.

DATASET is MUSDB18 or MUSDB18-HQ (with train/ and test/), MoisesDB, or any folder of <song>/<stem>.<suffix>. Songs that
are scored already are not scored again, so a stopped evaluation continues where it was. Scores are BSS Eval v4
(museval's numbers), SI-SDR, plain SDR (also by frequency band and of attacks) and the level of silent stems; the
mixture, an oracle mask and the paper's published numbers are shown for comparison.
"""

import argparse
import sys
from pathlib import Path

from hyperstem.cli._arguments import names, whole
from hyperstem.cli._usage import UsageError
from hyperstem.separation.quality import QUALITIES

HELP = "score a model, or somebody's stems, on songs with known stems"


class _Estimates(argparse.Action):
    """--estimates replaces the model: then MODEL and DATASET are not both needed."""

    positionals: tuple[argparse.Action, ...] = ()

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, values)
        for action in self.positionals:
            action.required = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the subcommand's arguments."""
    add = parser.add_argument
    model = add("model", metavar="MODEL", help="a model's name or file (not with --estimates)")
    dataset = add("dataset", type=Path, metavar="DATASET", help="folder of songs with stems")
    estimates = add(
        "--estimates",
        type=Path,
        metavar="DIR",
        action=_Estimates,
        help="score the stems in DIR/[subset/]<song>/<stem>.<suffix> instead of a model's",
    )
    assert isinstance(estimates, _Estimates)
    estimates.positionals = (model, dataset)
    add(
        "--subset",
        choices=("test", "validation", "train", "all"),
        help="songs to take (default: test, or all where there are no subsets)",
    )
    add("--jobs", type=whole(0), default=0, metavar="N", help="processes (default: one per CPU core)")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for scores and tables (default: evaluation/NAME, with --subset NAME-SUBSET)",
    )
    add(
        "--quality",
        choices=QUALITIES,
        default="full",
        help="the model's quality setting, as for separate (default: full)",
    )
    add(
        "--stems",
        type=names,
        default=(),
        metavar="A,B,...",
        help="stems to score (default: the model's; drums,bass,other,vocals with --estimates)",
    )
    add("--missing", choices=("error", "silence"), default="error", help="what a missing stem file means")
    add("--compare", type=Path, metavar="OLD_DIR", help="show the change against an older evaluation's folder")
    add(
        "--alias",
        action="append",
        default=[],
        metavar="FILE=STEM",
        help="files of the dataset that are part of a stem, e.g. guitar=other; with nothing after = they are left out",
    )
    add("--no-baselines", action="store_true", help="do not score the mixture and the oracle mask")
    add(
        "--engine",
        choices=("fast", "museval"),
        default="fast",
        help="compute BSS Eval here, or call museval itself, which is slower (default: fast)",
    )
    add("--strict", action="store_true", help="refuse damaged files (default: score what can be decoded)")
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Scores and prints; the status is 1 if some song could not be scored."""
    import json

    model, dataset = _check_usage(args)
    from hyperstem.evaluate import Settings, report, score_dataset, summary

    name = args.estimates.resolve().name if args.estimates else Path(model or "").stem
    folder = args.output or Path("evaluation") / "-".join(filter(None, (name, args.subset)))
    settings = Settings(
        dataset,
        folder,
        model,
        args.estimates,
        args.subset,
        args.quality,
        args.stems,
        args.missing,
        dict(alias.split("=", 1) for alias in args.alias),
        not args.no_baselines,
        args.engine,
        args.jobs,
        args.compare,
        args.strict,
    )
    result = score_dataset(settings, _show)
    if args.json:
        print(json.dumps(summary(result), indent=2))
    else:
        print(f"{result.songs} songs ({result.subset}), median over 1 s frames, then over songs\n")
        print(report.shell_table(result.rows, result.stems), end="\n\n")
        print(report.listening_table(result.rows, result.stems))
        for line in result.rows:
            if any(line.left_out.values()):
                counts = ", ".join(f"{stem} {count}" for stem, count in line.left_out.items())
                print(f"\n{line.label}: of {line.frames} frames left out because a stem is silent: {counts}", end="")
        print()
        if result.differences:
            print("\n" + report.difference_table(result.differences, str(args.compare)))
        print(f"\nwritten: {', '.join(str(path) for path in result.files)}")
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in result.problems:
        print(f"hyperstem: not scored: {problem}", file=sys.stderr)
    return 1 if result.problems else 0


def _check_usage(args: argparse.Namespace) -> tuple[str | None, Path]:
    """Model and dataset; wrong usage ends the program with status 2."""
    model, dataset = args.model, args.dataset
    if args.estimates is not None:
        if model is not None and dataset is not None:
            raise UsageError("--estimates takes the place of MODEL; give only DATASET with it")
        if model is None and dataset is None:
            raise UsageError("the following arguments are required: DATASET")
        model, dataset = None, dataset or Path(str(model))
    wrong = next((alias for alias in args.alias if "=" not in alias), None)
    if wrong is not None:
        raise UsageError(f"--alias is {wrong!r}; expected FILE=STEM")
    return model, dataset


def _show(done: int, total: int, outcome) -> None:
    state = "failed" if outcome.error else f"{outcome.seconds:.1f} s"
    print(f"[{done}/{total}] {outcome.name}: {state}", file=sys.stderr, flush=True)
