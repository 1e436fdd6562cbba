"""The data of a batch: its settings, its songs with the path of every output, and their results."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

from hyperstem.audio import Choice
from hyperstem.errors import AudioError, ConfigError
from hyperstem.files import name_in, reachable, sha256, temporary_beside
from hyperstem.separation import manifest, names
from hyperstem.separation.manifest import MANIFEST
from hyperstem.separation.output import Output, OutputSettings


@dataclass(frozen=True)
class BatchSettings:
    """Where and how files are written."""

    folder: Path
    output: OutputSettings
    template: str = "{folder}/{track}/{stem}.{ext}"
    existing: Literal["fail", "overwrite", "skip"] = "fail"
    """What to do with a song whose files exist; "skip" still replaces them if they were made from another song, by
    another model or with other settings."""
    start_s: float = 0.0
    duration_s: float | None = None
    jobs: int = 1
    plot: bool = False
    stream: Choice = None
    """Which sound stream of a file: a number from 0, a language or title; None for the default one."""
    strict: bool = False
    """Refuse damaged files; otherwise what can be decoded is separated."""

    def __post_init__(self) -> None:
        names.check_template(self.template, one_file=self.output.format.multitrack)
        if self.jobs < 1:
            raise ConfigError(f"jobs is {self.jobs}; at least 1 is needed")


def require_writable(folder: Path) -> None:
    """Checks, before any work, that files can be created in an output folder, which need not exist yet.

    Raises:
        AudioError: they cannot be created.
    """
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    probe = temporary_beside(nearest / "x")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise AudioError(f"output folder {folder}: {error.strerror}") from None


class Task(NamedTuple):
    """One file to separate."""

    source: Path
    paths: dict[str, Path]
    """The file of each output."""
    manifest: Path

    @property
    def picture(self) -> Path:
        """The file of the picture, if one is drawn."""
        return self.manifest.with_name(self.manifest.name.removesuffix(MANIFEST) + "picture.png")


@dataclass
class Result:
    """The result for one file."""

    source: Path
    status: Literal["done", "skipped", "failed"]
    error: str = ""
    reason: str = ""
    """The kind of failure in a word or two, such as "audio", "missing" or "disk full"; failures are counted by it."""
    output: Output | None = None
    seconds: float = 0.0
    """Length of the sound."""
    elapsed_s: float = 0.0
    warnings: list[str] = field(default_factory=list)
    task: Task | None = None
    """The files, unless it failed."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The contents of the manifest."""

    def record(self) -> dict[str, Any]:
        """As JSON values; docs/separation.md has the fields."""
        record: dict[str, Any] = {"file": str(self.source), "status": self.status}
        if self.status == "failed":
            return record | {"error": self.error, "reason": self.reason}
        if self.task is not None:
            record |= {
                "stems": {name: str(path) for name, path in self.task.paths.items()},
                "manifest": str(self.task.manifest),
                "source_sha256": self.facts["source"]["sha256"],
                "model": self.facts["model"]["name"],
                "model_sha256": self.facts["model"]["sha256"],
            }
        if self.output is not None:
            record |= {
                "seconds": round(self.seconds, 6),
                "elapsed_s": round(self.elapsed_s, 3),
                "real_time_factor": round(self.seconds / max(self.elapsed_s, 1e-9), 3),
                "peak": self.output.peak,
                "gain": self.output.gain,
                "rate_hz": self.output.rate_hz,
                "frames": self.output.frames,
            }
        return record | {"warnings": self.warnings}


def plan(
    sources: Iterable[Path],
    settings: BatchSettings,
    stems: tuple[str, ...],
    folders: Mapping[Path, str] | None = None,
) -> list[Task]:
    """Names every output; songs whose names would collide get -2, -3, ... in order.

    If existing stems may be skipped, a song keeps the number that its stems already have.

    Args:
        sources: the songs.
        settings: how to write.
        stems: names of the model's stems.
        folders: the folder of each song below the output folder, if it has one.

    Raises:
        ConfigError: there are several songs, and the template gives all of them the same names.
    """
    sources, folders = list(sources), folders or {}
    if len(sources) > 1 and "track" not in track_fields(settings):
        raise ConfigError(f"template {settings.template!r} has no {{track}}; {len(sources)} songs would be one")
    planner = _Planner(settings, stems, {source: folders.get(source, "") for source in sources})
    earlier = {source: planner.earlier(source) for source in sources} if settings.existing == "skip" else {}
    return [earlier.get(source) or planner.new(source) for source in sources]


class _Planner:
    """Gives every song paths of its own."""

    def __init__(self, settings: BatchSettings, stems: tuple[str, ...], folders: Mapping[Path, str]) -> None:
        self._settings, self._stems, self._folders = settings, stems, folders
        self._taken: set[str] = set()
        self._alike = Counter(self._key(self._task(source, 1)) for source in folders)

    def earlier(self, source: Path) -> Task | None:
        """The task whose manifest belongs to this song, if any; the song is read only if names are ambiguous."""
        known = list(self._known(source))
        first = self._task(source, 1)
        if len(known) == 1 and self._alike[self._key(first)] == 1 and _is_named(manifest.read(first.manifest), source):
            return self._take(first)
        digest = _digest(source) if known else ""
        found = (task for task in known if manifest.is_of(manifest.read(task.manifest), digest) and self._is_free(task))
        task = next(found, None)
        return self._take(task) if task else None

    def new(self, source: Path) -> Task:
        """The first free task; one that has stems only if they must be from an older version of this song."""
        older = (
            [task for task in self._known(source) if self._is_free(task)] if self._settings.existing == "skip" else []
        )
        if len(older) == 1 and _is_named(manifest.read(older[0].manifest), source):
            return self._take(older[0])
        reserved = {self._key(task) for task in older}
        candidates = (self._task(source, number) for number in count(1))
        return self._take(next(c for c in candidates if self._is_free(c) and self._key(c) not in reserved))

    def _known(self, source: Path) -> Iterator[Task]:
        """The tasks of this name that have manifests."""
        for number in count(1):
            task = self._task(source, number)
            if not manifest.is_ours(task.manifest):
                return
            yield task

    def _is_free(self, task: Task) -> bool:
        return self._taken.isdisjoint(_names(task))

    def _take(self, task: Task) -> Task:
        self._taken |= _names(task)
        return task

    def _key(self, task: Task) -> str:
        return str(task.manifest).casefold()

    def _task(self, source: Path, number: int) -> Task:
        track = names.track_name(source)
        track = track if number == 1 else f"{track}-{number}"
        return task_of(source, track, self._folders[source], self._settings, self._stems)


def _digest(source: Path) -> str:
    """The song's SHA-256; empty if it cannot be read, which is reported later."""
    try:
        return sha256(source)
    except OSError:
        return ""


def _is_named(contents: Mapping[str, Any], source: Path) -> bool:
    origin = contents.get("source")
    return isinstance(origin, dict) and origin.get("name") == source.name


def _names(task: Task) -> set[str]:
    return {str(path).casefold() for path in (*task.paths.values(), task.manifest)}


def track_fields(settings: BatchSettings) -> list[str]:
    """Fields of the template; the single file of a multitrack format has the track's name in place of {stem}."""
    multitrack = settings.output.format.multitrack
    return ["track" if name == "stem" and multitrack else name for name in names.fields(settings.template)]


def name_below(task: Task, settings: BatchSettings) -> str:
    """A song's unique name below the output folder, the same on every machine."""
    return name_in(settings.folder, task.manifest).casefold()


def task_of(source: Path, track: str, folder: str, settings: BatchSettings, stems: tuple[str, ...]) -> Task:
    """A song and its files, given their name and folder below the output folder."""
    extension = settings.output.format.name

    def below(stem: str) -> PurePath:
        return names.filled(settings.template, track, stem, extension, folder)

    if settings.output.format.multitrack:
        relative = {"stems": below(track)}
    else:
        relative = {name: below(name) for name, _ in settings.output.file_groups(stems)}
    output = reachable(settings.folder, max(len(str(path)) for path in relative.values()))
    paths = {name: output / path for name, path in relative.items()}
    first = next(iter(paths.values()))
    own_folder = any("{track}" in part for part in Path(settings.template).parts[:-1])
    return Task(source, paths, first.parent / (MANIFEST if own_folder else f"{track}.{MANIFEST}"))
