"""Separates many files, and continues when one fails."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperstem import audio
from hyperstem.errors import ExistsError, HyperstemError
from hyperstem.files import remove_leftovers, remove_leftovers_below, replacing, sha256
from hyperstem.parallel import in_threads
from hyperstem.separation import manifest
from hyperstem.separation.contents import manifest_contents, work
from hyperstem.separation.digest import Digest
from hyperstem.separation.folders import Folders
from hyperstem.separation.manifest import MANIFEST
from hyperstem.separation.messages import error_line, reason_of
from hyperstem.separation.output import Output
from hyperstem.separation.separator import Cancelled, Progress, Separator
from hyperstem.separation.sources import Found, find_sources, resolved
from hyperstem.separation.stem_files import StemFiles
from hyperstem.separation.tasks import BatchSettings, Result, Task, plan, require_writable

__all__ = [
    "MANIFEST",
    "BatchSettings",
    "Found",
    "Report",
    "Result",
    "Task",
    "find_sources",
    "is_done",
    "plan",
    "require_writable",
    "run",
    "separate_file",
    "work",
]

Report = Callable[[Result], None]


def run(
    separator: Separator,
    tasks: Sequence[Task],
    settings: BatchSettings,
    report: Report,
    progress: Callable[[float, float | None, Task], None] | None = None,
    cancel: threading.Event | None = None,
) -> list[Result]:
    """Separates every file, several at once if the settings say so; a failure does not stop the others.

    Args:
        separator: a loaded model.
        tasks: what `plan` gave.
        settings: how to write.
        report: called with each result as it arrives, by one thread at a time.
        progress: called with the seconds of a song done, its total where it is known, and its task.
        cancel: set it to stop; unfinished files are removed.

    Raises:
        Cancelled: `cancel` was set.
    """
    cancel = cancel or threading.Event()
    lock = threading.Lock()
    folders = Folders()
    inputs = {resolved(task.source) for task in tasks}
    remove_leftovers_below(settings.folder)

    def one(task: Task) -> Result:
        if cancel.is_set():
            raise Cancelled("cancelled")
        of_task = (lambda done, total: progress(done, total, task)) if progress else None
        replaced = [path for path in (*task.paths.values(), task.manifest) if resolved(path) in inputs]
        if replaced:
            result = Result(
                task.source, "failed", f"{task.source}: would replace {replaced[0]}, which is an input", "exists"
            )
        else:
            result = separate_file(separator, task, settings, of_task, cancel, folders)
        with lock:
            report(result)
        return result

    return list(in_threads(one, tasks, settings.jobs, cancel.set))


def separate_file(
    separator: Separator,
    task: Task,
    settings: BatchSettings,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    folders: Folders | None = None,
) -> Result:
    """Separates one file into its outputs; the result says what failed.

    Folders that were created and are still empty in the end are removed; `folders` tracks them over several calls.

    Raises:
        Cancelled: `cancel` was set.
    """
    begun = time.perf_counter()
    try:
        if task.manifest.name == MANIFEST:  # no other song shares the folder
            remove_leftovers(task.manifest.parent)
        if settings.existing == "skip" and is_done(task, work(separator, task, settings), settings.plot):
            return Result(task.source, "skipped", task=task, facts=manifest.read(task.manifest))
        warnings = _check_existing(task, settings)
        with (folders or Folders()).held({path.parent for path in (*task.paths.values(), task.manifest)}):
            output, facts = _separate_into(separator, task, settings, progress, cancel)
        elapsed_s = time.perf_counter() - begun
        result = Result(
            task.source,
            "done",
            "",
            "",
            output,
            facts["seconds"],
            elapsed_s,
            [*warnings, *facts["warnings"]],
            task,
            facts,
        )
        if output.peak > 1 and settings.output.clip == "scale" and not settings.output.format.lossless:
            result.warnings.append(f"peak {output.peak:.3f} is above 1; some players will clip it")
        return result
    except Cancelled:
        raise
    except (HyperstemError, OSError) as error:
        return Result(task.source, "failed", error_line(task.source, error), reason_of(error))
    except MemoryError as error:
        return Result(task.source, "failed", f"{task.source}: out of memory", reason_of(error))
    except Exception as error:  # a bug that one song hits must not stop the others
        if os.environ.get("HYPERSTEM_DEBUG"):
            raise
        internal = f"{task.source}: internal error: {type(error).__name__}: {error} (set HYPERSTEM_DEBUG=1 for more)"
        return Result(task.source, "failed", " ".join(internal.splitlines()), reason_of(error))


def is_done(task: Task, work: Mapping[str, Any], picture: bool = False, digest: str = "") -> bool:
    """Whether the task's files exist and were made from the current song, by the same model with the same settings.

    Args:
        task: a song and its files.
        work: what `work` gives.
        picture: the picture must exist too.
        digest: the song's SHA-256 if it is known; otherwise the song is read.

    Raises:
        OSError: the song cannot be read. It is read only if everything else agrees.
    """
    contents = manifest.read(task.manifest)
    paths = [*task.paths.values(), *([task.picture] if picture else [])]
    if not (manifest.agrees(contents, work) and all(path.is_file() for path in paths)):
        return False
    return manifest.is_of(contents, digest or sha256(task.source))


def _check_existing(task: Task, settings: BatchSettings) -> list[str]:
    """Checks that no file is replaced against the settings, and returns warnings.

    Raises:
        ExistsError: a file would be.
    """
    written = [*task.paths.values(), *([task.picture] if settings.plot else [])]
    present = [path for path in written if path.exists()]
    ours = manifest.is_ours(task.manifest)
    if settings.existing == "fail" and present:
        raise ExistsError(f"{present[0]} exists; --overwrite replaces it, --skip-existing passes it over")
    if settings.existing != "overwrite" and task.manifest.exists() and not ours:
        raise ExistsError(f"{task.manifest} exists, and is not one of ours; --overwrite replaces it")
    if settings.existing == "skip":
        known = {resolved(path) for path in (*manifest.files(task.manifest), task.picture)} if ours else set()
        foreign = [path for path in present if resolved(path) not in known]
        if foreign:
            raise ExistsError(f"{foreign[0]} exists, and no manifest says what it was made of; --overwrite replaces it")
    folder = next((path for path in (*present, task.manifest) if path.is_dir()), None)
    if folder is not None:
        raise ExistsError(f"{folder} is a folder; a file of that name is to be written")
    if settings.existing == "skip" and present:
        return [f"{present[0]} was made of another song, by another model or with other settings, and was replaced"]
    return []


def _separate_into(
    separator: Separator, task: Task, settings: BatchSettings, progress: Progress | None, cancel: threading.Event | None
) -> tuple[Output, dict[str, Any]]:
    """The output, and the contents of the manifest."""
    info = audio.probe(task.source, settings.stream)
    tags = audio.read_tags(task.source).of_part(settings.start_s, info.rate_hz, info.rate_hz)
    warnings: list[str] = []
    picture = None
    if settings.plot:
        from hyperstem.separation.picture import Picture

        picture = Picture(info.rate_hz, ("mixture", *separator.stems))
    with (
        Digest(task.source) as digest,
        StemFiles(
            task.paths, settings.output, separator.stems, info.rate_hz, info.channels, tags, info.speakers
        ) as files,
    ):
        blocks = separator.stream(
            task.source,
            settings.start_s,
            settings.duration_s,
            progress,
            cancel,
            stream=settings.stream,
            strict=settings.strict,
            warn=warnings.append,
        )
        with contextlib.closing(blocks):
            frames = 0
            for block in blocks:
                files.write(block.mixture, block.waves)
                frames += block.mixture.shape[1]
                if picture is not None:
                    picture.add(block.mixture, *block.waves)
        seconds = frames / info.rate_hz
        output = files.finish()
        facts = manifest_contents(separator, task, settings, output, digest.result(), seconds, warnings)
        text = _json(facts) + "\n"
        if picture is not None:
            picture.save(task.picture, title=task.source.name)
        _publish(task, text, files)
    return output, facts


def _publish(task: Task, text: str, files: StemFiles) -> None:
    """Moves a song's finished files to their final names: deletes the old files, then places the manifest, and last the
    new files. So `is_done` is true only if all are new, even if the program is killed in between."""
    with replacing(task.manifest) as temporary:
        temporary.write_text(text, encoding="utf-8")
        for path in task.paths.values():
            path.unlink(missing_ok=True)
    try:
        files.close()
    except BaseException:
        for path in (*task.paths.values(), task.manifest):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def _json(values: Mapping[str, Any]) -> str:
    """JSON that can be encoded as UTF-8, even with file names that cannot (escaped as \\udcXX)."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(values, indent=2)
    return text
