"""Separates many files: finds them, names their outputs, and goes on when one fails."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from string import Formatter
from typing import Any, Literal, NamedTuple

from hyperstem import audio
from hyperstem.audio.writing import temporary_beside
from hyperstem.errors import AudioError, ConfigError, HyperstemError
from hyperstem.outputs import Output, OutputSettings, StemFiles
from hyperstem.separator import Block, Cancelled, Progress, Separator

SUFFIXES = frozenset((
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".ape", ".au", ".avi", ".caf", ".dts", ".flac", ".flv", ".m4a",
    ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".ogv", ".opus",
    ".rf64", ".snd", ".spx", ".tta", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv"))
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
        try:
            fields = [name for _, name, _, _ in Formatter().parse(self.template) if name is not None]
        except ValueError as error:
            raise ConfigError(f"template {self.template!r}: {error}") from None
        for name in fields:
            if name not in _FIELDS:
                raise ConfigError(f"template {self.template!r} has {{{name}}}; allowed are {', '.join(_FIELDS)}")
        if "stem" not in fields and not self.output.format.multitrack:
            raise ConfigError(f"template {self.template!r} has no {{stem}}; all stems would be one file")
        if Path(self.template).is_absolute() or ".." in Path(self.template).parts:
            raise ConfigError(f"template {self.template!r} leads out of the output folder")
        if self.jobs < 1:
            raise ConfigError(f"jobs is {self.jobs}; at least 1 is needed")


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
            record |= {"stems": {name: str(path) for name, path in self.output.paths.items()},
                       "seconds": round(self.seconds, 6), "elapsed_s": round(self.elapsed_s, 3),
                       "real_time_factor": round(self.seconds / max(self.elapsed_s, 1e-9), 3),
                       "peak": self.output.peak, "gain": self.output.gain, "rate_hz": self.output.rate_hz}
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
    failures = []
    for path in given:
        if not path.is_dir():
            sources.setdefault(_resolved(path), path)
            continue
        inside = list(_audio_files(path))
        if not inside:
            failures.append(Result(path, "failed", f"{path}: no audio files in this folder"))
        for item in inside:
            sources.setdefault(_resolved(item), item)
    return Found(list(sources.values()), failures)


def _resolved(path: Path) -> Path:
    with contextlib.suppress(OSError, RuntimeError):
        return path.resolve()
    return path.absolute()


def _audio_files(folder: Path) -> Iterator[Path]:
    if _is_ours(folder / MANIFEST):
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _audio_files(path)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _is_ours(manifest: Path) -> bool:
    try:
        return "hyperstem" in json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def plan(sources: Iterable[Path], settings: BatchSettings, stems: tuple[str, ...]) -> list[Task]:
    """Names every output; inputs of one name get -2, -3, ... in their order."""
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


def _track_name(source: Path) -> str:
    name = source.name.removesuffix(source.suffix) or source.name
    if name.lower().endswith(".stem"):
        name = name[:-5] or name
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


Report = Callable[[Result], None]


def run(separator: Separator, tasks: Sequence[Task], settings: BatchSettings, report: Report,
        progress: Callable[[Task, float, float | None], None] | None = None,
        cancel: threading.Event | None = None) -> list[Result]:
    """Separates every file, several at once if the settings say so; one that fails does not stop the others.

    Args:
        separator: a loaded model.
        tasks: what `plan` gave.
        settings: how to write.
        report: called with each result as it comes, from one thread at a time.
        progress: called with a task, the seconds done and, where it is known, in all.
        cancel: set it to stop; unfinished files vanish.

    Raises:
        Cancelled: `cancel` was set.
    """
    cancel = cancel or threading.Event()
    lock = threading.Lock()
    made: set[Path] = set()

    def one(task: Task) -> Result:
        if cancel.is_set():
            raise Cancelled("cancelled")
        told = (lambda done, total: progress(task, done, total)) if progress else None
        result = separate_file(separator, task, settings, told, cancel, made)
        with lock:
            report(result)
        return result

    if settings.jobs == 1 or len(tasks) < 2:
        return [one(task) for task in tasks]
    with ThreadPoolExecutor(settings.jobs) as pool:
        futures = [pool.submit(one, task) for task in tasks]
        try:
            return [future.result() for future in futures]
        except BaseException:
            cancel.set()
            pool.shutdown(cancel_futures=True)
            raise


def separate_file(separator: Separator, task: Task, settings: BatchSettings, progress: Progress | None = None,
                  cancel: threading.Event | None = None, made: set[Path] | None = None) -> Result:
    """Separates one file into its outputs; what is wrong with it is in the result.

    Folders that had to be made and are still empty when it fails vanish; `made` collects them over several calls.

    Raises:
        Cancelled: `cancel` was set.
    """
    begun = time.perf_counter()
    try:
        present = [path for path in task.paths.values() if path.exists()]
        if settings.existing == "skip" and len(present) == len(task.paths):
            return Result(task.source, "skipped")
        if settings.existing == "fail" and present:
            raise AudioError(f"{present[0]} exists; --overwrite replaces it, --skip-existing passes it over")
        folders = {path.parent for path in (*task.paths.values(), task.manifest)}
        with _folders(folders, set() if made is None else made):
            output, seconds = _separate_into(separator, task, settings, progress, cancel)
        result = Result(task.source, "done", output=output, seconds=seconds, elapsed_s=time.perf_counter() - begun)
        if output.peak > 1 and not settings.output.bits and settings.output.subtype != "float":
            result.warnings.append(f"peak {output.peak:.3f} is above 1; some players will clip it")
        return result
    except Cancelled:
        raise
    except (HyperstemError, OSError) as error:
        return Result(task.source, "failed", _line(task.source, error))
    except MemoryError:
        return Result(task.source, "failed", f"{task.source}: out of memory")


def _separate_into(separator: Separator, task: Task, settings: BatchSettings, progress: Progress | None,
                   cancel: threading.Event | None) -> tuple[Output, float]:
    info = audio.probe(task.source)
    picture = None
    if settings.plot:
        from hyperstem.plot import Picture

        picture = Picture(info.rate_hz, ("mixture", *separator.stems))
    digest = _Digest(task.source)
    with StemFiles(task.paths, settings.output, separator.stems, info.rate_hz, info.channels, info.tags) as files:
        blocks = separator.stream(task.source, settings.start_s, settings.duration_s, progress, cancel)
        with contextlib.closing(blocks):
            frames = 0
            for block in blocks:
                files.write(block.mixture, block.waves)
                frames += block.mixture.shape[1]
                if picture is not None:
                    _show(picture, block)
        seconds = frames / info.rate_hz
        output = files.close()
    manifest = _manifest(separator, task, settings, output, digest.result(), seconds)
    _write_text(task.manifest, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    if picture is not None:
        name = task.manifest.name.removesuffix(MANIFEST) + "picture.png"
        picture.save(task.manifest.with_name(name), title=task.source.name)
    return output, seconds


def _show(picture: Any, block: Block) -> None:
    picture.add(block.mixture, *block.waves)


class _Digest:
    """A file's SHA-256, taken on a thread meanwhile."""

    def __init__(self, path: Path) -> None:
        self._value: str | OSError = ""
        self._thread = threading.Thread(target=self._run, args=(path,), daemon=True)
        self._thread.start()

    def _run(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._value = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            self._value = error

    def result(self) -> str:
        self._thread.join()
        if isinstance(self._value, OSError):
            raise self._value
        return self._value


def _manifest(separator: Separator, task: Task, settings: BatchSettings, output: Output, digest: str,
              seconds: float) -> dict[str, Any]:
    """What was done, without times or places, so that the same work gives the same bytes."""
    chosen = settings.output
    return {
        "hyperstem": version("hyperstem"),
        "source": {"name": task.source.name, "sha256": digest},
        "model": {"name": Path(separator.model_name).name, "sha256": separator.model_sha256,
                  "trained": separator.trained},
        "settings": {
            "quality": separator.quality, "segment_s": separator.segment_s, "overlap": separator.overlap,
            "format": chosen.format.name, "subtype": chosen.subtype if chosen.format.lossless else None,
            "clip": chosen.clip, "mono": chosen.mono, "start_s": settings.start_s, "duration_s": settings.duration_s,
        },
        "stems": {name: path.name for name, path in output.paths.items()},
        "rate_hz": output.rate_hz, "frames": output.frames, "seconds": seconds, "gain": output.gain,
        "peak": output.peak,
    }


def _write_text(path: Path, text: str) -> None:
    temporary = temporary_beside(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _folders(folders: set[Path], made: set[Path]) -> Iterator[None]:
    """Makes the folders and notes them in `made`; if the block fails, those of them still empty vanish again."""
    try:
        for folder in folders:
            missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
            made.update(missing)
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        above = {parent for folder in folders for parent in (folder, *folder.parents)}
        for empty in sorted(above & made, reverse=True):
            with contextlib.suppress(OSError):
                empty.rmdir()
        raise


def _line(source: Path, error: Exception) -> str:
    """File and cause in one line."""
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(source) else ""
        text = f"{error.strerror or error}{where}"
    else:
        text = str(error)
    text = " ".join(text.split())
    return text if text.startswith(str(source)) else f"{source}: {text}"


def json_line(values: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(values, ensure_ascii=False)
