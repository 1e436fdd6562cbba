"""Runs an evaluation: finds songs, scores them with every method in processes, and writes the tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from hyperstem.config import STEMS
from hyperstem.errors import DataError
from hyperstem.evaluate import report, runner, scores
from hyperstem.evaluate.change import Difference, compare
from hyperstem.evaluate.figure import box_plot
from hyperstem.evaluate.methods import (
    FolderMethod,
    Method,
    MixtureMethod,
    ModelFacts,
    ModelMethod,
    OracleMethod,
    Quality,
    describe,
)
from hyperstem.evaluate.reference import museval_metrics
from hyperstem.evaluate.runner import Engine, Outcome, Task
from hyperstem.evaluate.songs import WHOLE_FOLDER, Entry, Subset, find_songs
from hyperstem.files import write_text
from hyperstem.parallel import cores

BASELINES: tuple[Method, ...] = (MixtureMethod(), OracleMethod())


@dataclass(frozen=True)
class Settings:
    """What to score, on which songs, and where to write the scores. Either `model` or `estimates` is given."""

    dataset: Path
    folder: Path
    model: str | None = None
    estimates: Path | None = None
    subset: Subset | None = None
    quality: Quality = "full"
    stems: tuple[str, ...] = ()
    """Stems to score; if empty, all of the model's, or for estimates the usual four."""
    missing: Literal["error", "silence"] = "error"
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Stem of each named file of the dataset; "" leaves a file out."""
    baselines: bool = True
    engine: Engine = "fast"
    jobs: int = 0
    """Number of processes; 0 means one per CPU core."""
    against: Path | None = None
    """Folder of an older evaluation to compare with."""
    strict: bool = False
    """Whether damaged files are an error; otherwise what can be decoded of them is scored."""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.estimates is None):
            raise DataError("give either a model or a folder of estimates, not both or neither")
        if self.jobs < 0:
            raise DataError(f"jobs is {self.jobs}; allowed are 1 or more, and 0 for one per CPU core")
        if self.estimates is not None and not self.estimates.is_dir():
            raise DataError(f"no folder {self.estimates}")


class Evaluation(NamedTuple):
    """A finished evaluation."""

    stems: tuple[str, ...]
    subset: str
    scored: Mapping[str, Sequence[scores.SongScores]]
    """Scores of the songs by method; the model or the estimates come first."""
    rows: tuple[report.Row, ...]
    differences: Mapping[str, Difference] | None
    problems: tuple[str, ...]
    """One line for each song that could not be scored."""
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    """Tables and pictures written."""

    @property
    def songs(self) -> int:
        """Number of songs with scores."""
        return max(len(songs) for songs in self.scored.values())


Progress = Callable[[int, int, Outcome], None]


def score_dataset(settings: Settings, progress: Progress = lambda done, total, outcome: None) -> Evaluation:
    """Scores every song whose scores are not in the folder yet, and writes the tables.

    Args:
        settings: the settings.
        progress: called after each song with the number of songs done, the total, and the song's outcome.

    Raises:
        DataError: the dataset or the folder cannot be used, or no song could be scored.
        ModelError: the model cannot be used.
    """
    old = scores.load_folder(settings.against) if settings.against else None
    if settings.engine == "museval":
        museval_metrics()  # raises if museval is missing, before songs are separated
    facts = describe(settings.model, settings.quality) if settings.model is not None else None
    stems = _stems(settings, facts)
    known = tuple(dict.fromkeys((*stems, *(facts.stems if facts else STEMS))))
    entries, problems = find_songs(settings.dataset, settings.subset, known, settings.missing, settings.aliases)
    subset = entries[0].subset if entries else settings.subset or WHOLE_FOLDER
    jobs = min(settings.jobs or cores(), max(1, len(entries)))
    threads = max(1, cores() // jobs)
    methods = _methods(settings, subset, threads if jobs > 1 else None)
    runner.claim_folder(settings.folder, _identity(settings, facts, stems, subset))
    tasks = [task for entry in entries if (task := _task(settings, entry, stems, methods)).methods]
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        progress(len(outcomes), len(tasks), outcome)

    runner.perform_all(tasks, jobs, threads, done)
    problems = (*problems, *(f"{outcome.name}: {outcome.error}" for outcome in outcomes if outcome.error))
    scored = _collect(entries, methods)
    if not scored:
        raise DataError(f"no song could be scored; {problems[0] if problems else 'none found'}")
    rows = [report.row(label, songs, stems) for label, songs in scored.items()]
    published = report.published_row(stems)
    differences = compare(next(iter(scored.values())), old, stems) if old else None
    result = Evaluation(
        stems,
        subset,
        scored,
        (*rows, *([published] if published else ())),
        differences,
        problems,
        tuple(note for outcome in outcomes for note in outcome.notes),
        (),
    )
    return result._replace(files=_write(settings, result))


def _methods(settings: Settings, subset: str, threads: int | None) -> dict[Method, Path]:
    """Each method and the folder of its scores."""
    if settings.model is not None:
        first: Method = ModelMethod(settings.model, settings.quality, threads)
    else:
        first = FolderMethod(str(settings.estimates), subset, settings.strict)
    baselines = BASELINES if settings.baselines else ()
    if first.label in [method.label for method in baselines]:
        raise DataError(
            f"{first.label!r} is the name of a baseline; rename {settings.estimates or settings.model}, or leave the "
            "baselines out"
        )
    folder = settings.folder / "baselines"
    return {first: settings.folder, **{method: folder / method.label.replace(" ", "-") for method in baselines}}


def _stems(settings: Settings, facts: ModelFacts | None) -> tuple[str, ...]:
    given = facts.stems if facts else settings.stems or STEMS
    unknown = [stem for stem in settings.stems if stem not in given]
    if unknown:
        raise DataError(f"no stem {unknown[0]!r}; {settings.model} separates {', '.join(given)}")
    return settings.stems or given


def _identity(settings: Settings, facts: ModelFacts | None, stems: Sequence[str], subset: str) -> dict[str, object]:
    """What must be equal for scores to share a folder."""
    who: dict[str, object] = {"estimates": str(settings.estimates.resolve())} if settings.estimates else {}
    if facts is not None:
        who = {"model": settings.model, "sha256": facts.sha256, "quality": settings.quality}
    where = {"dataset": str(settings.dataset.resolve()), "subset": subset, "aliases": dict(settings.aliases)}
    return {**who, **where, "stems": list(stems), "engine": settings.engine}


def _path(folder: Path, entry: Entry) -> Path:
    return folder / entry.subset / f"{entry.name}.json"


def _task(settings: Settings, entry: Entry, stems: tuple[str, ...], methods: Mapping[Method, Path]) -> Task:
    """A song with the methods that are not scored yet."""
    pending = tuple(
        (method, _path(folder, entry))
        for method, folder in methods.items()
        if not _is_done(_path(folder, entry), method, entry.name)
    )
    return Task(entry, stems, pending, settings.engine, settings.strict)


def _is_done(path: Path, method: Method, song: str) -> bool:
    try:
        return path.stat().st_mtime >= method.changed_s(song) and scores.load(path).complete
    except (FileNotFoundError, DataError):
        return False


def _collect(entries: Sequence[Entry], methods: Mapping[Method, Path]) -> dict[str, list[scores.SongScores]]:
    """The scores that are in the folders, for every method that has some."""
    found = {
        method.label: [scores.load(path) for entry in entries if (path := _path(folder, entry)).exists()]
        for method, folder in methods.items()
    }
    return {label: songs for label, songs in found.items() if songs}


def _write(settings: Settings, result: Evaluation) -> tuple[Path, ...]:
    """Writes table.md, scores.csv, summary.json and, if matplotlib is installed, sdr.png."""
    where = f"{settings.dataset.resolve().name} ({result.subset})"
    text = report.markdown(result.rows, result.stems, result.songs, where)
    if result.differences:
        text += f"\n## Change\n\n```\n{report.difference_table(result.differences, str(settings.against))}\n```\n"
    if result.problems:
        text += "\n## Not scored\n\n" + "".join(f"- {problem}\n" for problem in result.problems)
    files = {
        "table.md": text,
        "scores.csv": report.csv_table(result.scored, result.stems),
        "summary.json": json.dumps(summary(result), indent=2) + "\n",
    }
    for name, content in files.items():
        write_text(settings.folder / name, content)
    paths = [settings.folder / name for name in files]
    marks = report.PUBLISHED_SDR if report.published_row(result.stems) else None
    if box_plot(settings.folder / "sdr.png", result.scored, result.stems, marks):
        paths.append(settings.folder / "sdr.png")
    return tuple(paths)


def summary(result: Evaluation) -> dict[str, object]:
    """The evaluation as JSON values."""
    differences = {
        stem: {key: None if value != value else value for key, value in found._asdict().items()}
        for stem, found in (result.differences or {}).items()
    }
    return {
        "subset": result.subset,
        "stems": list(result.stems),
        "songs": result.songs,
        "methods": report.plain(result.rows),
        "change": differences or None,
        "not_scored": list(result.problems),
        "notes": list(result.notes),
    }
