"""Names and finds what a batch works on: settings, the files given, and every output's path."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal, NamedTuple

from hyperstem.errors import AudioError, ConfigError
from hyperstem.files import temporary_beside
from hyperstem.separation.stem_files import Output, OutputSettings

SUFFIXES = frozenset(
    (
        ".3gp",
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".ape",
        ".au",
        ".avi",
        ".caf",
        ".dts",
        ".flac",
        ".flv",
        ".m4a",
        ".m4b",
        ".m4v",
        ".mka",
        ".mkv",
        ".mov",
        ".mp2",
        ".mp3",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".oga",
        ".ogg",
        ".ogv",
        ".opus",
        ".rf64",
        ".snd",
        ".spx",
        ".tta",
        ".w64",
        ".wav",
        ".wave",
        ".webm",
        ".wma",
        ".wmv",
        ".wv",
    )
)
"""What is taken for audio inside folders; files named one by one may be called anything."""
MANIFEST = "manifest.json"
_FIELDS = ("track", "stem", "ext")
_LONGEST_TRACK = 200
"""Bytes of a track's name that go into paths; file systems hold 255 with the stem and the ending."""


@dataclass(frozen=True)
class BatchSettings:
    """Where and how files are written."""

    folder: Path
    output: OutputSettings
    template: str = "{track}/{stem}.{ext}"
    existing: Literal["fail", "overwrite", "skip"] = "fail"
    start_s: float = 0.0
    duration_s: float | None = None
    jobs: int = 1
    plot: bool = False

    def __post_init__(self) -> None:
        fields = _fields(self.template)
        if "stem" not in fields and not self.output.format.multitrack:
            raise ConfigError(f"template {self.template!r} has no {{stem}}; all stems would be one file")
        if Path(self.template).is_absolute() or ".." in Path(self.template).parts:
            raise ConfigError(f"template {self.template!r} leads out of the output folder")
        if Path(self.template).name.casefold() == MANIFEST:
            raise ConfigError(f"template {self.template!r} names the files {MANIFEST}, which is written beside them")
        if self.jobs < 1:
            raise ConfigError(f"jobs is {self.jobs}; at least 1 is needed")


def _fields(template: str) -> list[str]:
    """Names of the fields in a template, which stand alone in their braces: a format could make two stems one file."""
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ConfigError(f"template {template!r}: {error}") from None
    for _, name, form, conversion in parts:
        if name not in _FIELDS or form or conversion:
            given = f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
            raise ConfigError(f"template {template!r} has {{{given}}}; allowed are {', '.join(_FIELDS)}")
    return [name for _, name, _, _ in parts if name is not None]


def require_writable(folder: Path) -> None:
    """Finds out before any work whether files can be made in an output folder, which need not exist yet.

    Raises:
        AudioError: they cannot.
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
    """File of each output."""
    manifest: Path

    @property
    def picture(self) -> Path:
        """File of the picture, if one is drawn."""
        return self.manifest.with_name(self.manifest.name.removesuffix(MANIFEST) + "picture.png")


@dataclass
class Result:
    """What became of one file."""

    source: Path
    status: Literal["done", "skipped", "failed"]
    error: str = ""
    output: Output | None = None
    seconds: float = 0.0
    """Of sound."""
    elapsed_s: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        record: dict[str, Any] = {"file": str(self.source), "status": self.status}
        if self.status == "failed":
            return record | {"error": self.error}
        if self.output is not None:
            record |= {
                "stems": {name: str(path) for name, path in self.output.paths.items()},
                "seconds": round(self.seconds, 6),
                "elapsed_s": round(self.elapsed_s, 3),
                "real_time_factor": round(self.seconds / max(self.elapsed_s, 1e-9), 3),
                "peak": self.output.peak,
                "gain": self.output.gain,
                "rate_hz": self.output.rate_hz,
            }
        return record | {"warnings": self.warnings}


class Found(NamedTuple):
    """What the given paths hold."""

    sources: list[Path]
    failures: list[Result]


def find_sources(given: Sequence[Path]) -> Found:
    """The audio files at the given paths: files as they are, folders searched by ending; each file once.

    Hidden files, and what an earlier run has written, are passed over in folders.
    """
    sources: dict[Path, Path] = {}
    failures: list[Result] = []
    for path in given:
        try:
            inside = _audio_files(path) if path.is_dir() else Found([path], [])
        except OSError as error:
            inside = Found([], [_unreadable(path, error)])
        if not any(inside):
            failures.append(Result(path, "failed", f"{path}: no audio files in this folder"))
        failures += inside.failures
        for item in inside.sources:
            sources.setdefault(resolved(item), item)
    return Found(list(sources.values()), failures)


def resolved(path: Path) -> Path:
    """Absolute, links followed where that is possible."""
    with contextlib.suppress(OSError, RuntimeError):
        return path.resolve()
    return path.absolute()


def _unreadable(path: Path, error: OSError) -> Result:
    return Result(path, "failed", f"{path}: {error.strerror}")


def _audio_files(folder: Path) -> Found:
    """Audio files in and under a folder, without those that a manifest there says were written here."""
    files, failures, written = [], [], set()
    for path in _files(folder, failures):
        if path.name.endswith(MANIFEST):
            written |= {resolved(path.parent / name) for name in _written(path)}
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            files.append(path)
    return Found([path for path in files if resolved(path) not in written], failures)


def _files(folder: Path, failures: list[Result]) -> Iterator[Path]:
    """What is not hidden, in order; folders of our own output are passed over whole, and what cannot be looked into is
    added to `failures`."""
    if is_ours(folder / MANIFEST):
        yield folder / MANIFEST
        return
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():
                yield from _files(path, failures)
            else:
                yield path
    except OSError as error:
        failures.append(_unreadable(folder, error))


def is_ours(manifest: Path) -> bool:
    """Whether a manifest is there and was written here."""
    return "hyperstem" in _contents(manifest)


def _written(manifest: Path) -> list[str]:
    """The files that a manifest names, relative to it."""
    stems = _contents(manifest).get("stems")
    return [name for name in stems.values() if isinstance(name, str)] if isinstance(stems, dict) else []


def _contents(manifest: Path) -> dict[str, Any]:
    try:
        contents = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return contents if isinstance(contents, dict) else {}


def plan(sources: Iterable[Path], settings: BatchSettings, stems: tuple[str, ...]) -> list[Task]:
    """Names every output; inputs of one name get -2, -3, ... in their order.

    Raises:
        ConfigError: there are several inputs, and the template gives all of them the same names.
    """
    sources = list(sources)
    if len(sources) > 1 and "track" not in _track_fields(settings):
        raise ConfigError(f"template {settings.template!r} has no {{track}}; {len(sources)} songs would be one")
    tasks, taken = [], set()
    for source in sources:
        track = _track_name(source)
        number = 1
        while True:
            task = _task(source, track if number == 1 else f"{track}-{number}", settings, stems)
            names = {str(path).casefold() for path in (*task.paths.values(), task.manifest)}
            if not names & taken:
                break
            number += 1
        taken |= names
        tasks.append(task)
    return tasks


def _track_fields(settings: BatchSettings) -> list[str]:
    """Fields of the template; the one file of a multitrack format has the track's name for its stem."""
    return [
        "track" if name == "stem" and settings.output.format.multitrack else name for name in _fields(settings.template)
    ]


def _track_name(source: Path) -> str:
    name = source.name.removesuffix(source.suffix) or source.name
    if name.lower().endswith(".stem"):
        name = name[:-5] or name
    if not name.strip("."):
        name = source.name  # "." and ".." are folders of their own
    return name.encode(errors="surrogateescape")[:_LONGEST_TRACK].decode(errors="ignore") or "track"


def _task(source: Path, track: str, settings: BatchSettings, stems: tuple[str, ...]) -> Task:
    extension = settings.output.format.name

    def path(stem: str) -> Path:
        return settings.folder / settings.template.format(track=track, stem=stem, ext=extension)

    if settings.output.format.multitrack:
        paths = {"stems": path(track)}
    else:
        paths = {name: path(name) for name, _ in settings.output.file_groups(stems)}
    first = next(iter(paths.values()))
    own_folder = any("{track}" in part for part in Path(settings.template).parts[:-1])
    return Task(source, paths, first.parent / (MANIFEST if own_folder else f"{track}.{MANIFEST}"))
