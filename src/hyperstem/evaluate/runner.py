"""Scores songs in a pool of processes."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.dsp.measures import si_sdr, track_sdr
from hyperstem.errors import DataError, HyperstemError
from hyperstem.evaluate import scores
from hyperstem.evaluate.bss import bss_eval
from hyperstem.evaluate.listening import listening_scores
from hyperstem.evaluate.methods import Method
from hyperstem.evaluate.reference import museval_scores
from hyperstem.evaluate.songs import Entry, Song, read_song
from hyperstem.files import write_text
from hyperstem.parallel import in_processes

Engine = Literal["fast", "museval"]
SETTINGS_FILE = "evaluation.json"


@dataclass(frozen=True)
class Task:
    """One song, and the methods to score on it, each with the file for its scores."""

    entry: Entry
    stems: tuple[str, ...]
    methods: tuple[tuple[Method, Path], ...]
    engine: Engine
    strict: bool = False
    """Whether damaged files are an error."""


class Outcome(NamedTuple):
    """The result of a task."""

    name: str
    seconds: float
    notes: tuple[str, ...]
    error: str | None
    """None if the scores are written."""


def score_song(song: Song, estimates: Sequence[np.ndarray], engine: Engine = "fast") -> list[scores.SongScores]:
    """The scores of several methods' estimates, each (stem, channel, time).

    Raises:
        DataError: an estimate has NaN or infinite samples.
    """
    if not all(math.isfinite(np.abs(estimate).max()) for estimate in estimates):
        raise DataError(f"{song.name}: the estimates have NaN or infinite samples")
    engines = {"fast": bss_eval, "museval": museval_scores}
    frames = engines[engine](song.references, estimates, song.rate_hz)
    listening = listening_scores(song.references, estimates, song.mixture, song.rate_hz)
    results = []
    for estimate, of_frames, of_song in zip(estimates, frames, listening, strict=True):
        whole = {"SI-SDR": si_sdr(song.references, estimate), "track SDR": track_sdr(song.references, estimate)}
        results.append(scores.build(song.name, song.stems, of_frames, {**whole, **of_song}))
    return results


def perform(task: Task) -> Outcome:
    """Separates one song, scores it and saves the scores; its errors are returned, not raised."""
    start = time.monotonic()
    try:
        with audio.collected_warnings() as damage:
            song = read_song(task.entry, task.stems, task.strict)
            estimates = [method.estimate(song) for method, _ in task.methods]
        results = score_song(song, estimates, task.engine)
        for (_, path), result in zip(task.methods, results, strict=True):
            scores.save(path, result, task.engine)
    except (HyperstemError, OSError) as error:
        return Outcome(task.entry.name, time.monotonic() - start, (), str(error))
    return Outcome(task.entry.name, time.monotonic() - start, (*song.notes, *damage), None)


def perform_all(tasks: Sequence[Task], jobs: int, threads: int, done: Callable[[Outcome], None]) -> None:
    """Performs `tasks` in `jobs` processes of `threads` threads each, and calls `done` with each outcome.

    With one job, all tasks run in this process.

    Raises:
        DataError: a process died, usually because memory ran out.
    """
    try:
        for outcome in in_processes(perform, tasks, jobs, threads):
            done(outcome)
    except BrokenProcessPool:
        raise DataError(
            f"a scoring process died, probably because memory ran out; try fewer than --jobs {jobs} "
            "(the scores so far are kept)"
        ) from None


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings to `folder`, or checks that they are equal to those in it.

    Raises:
        DataError: it has an evaluation with other settings; the message names the first difference.
    """
    path = folder / SETTINGS_FILE
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(f"{path} is damaged; remove the folder or choose another with -o") from None
        for key, value in settings.items():
            if before.get(key) != value:
                raise DataError(
                    f"{folder} holds an evaluation with {key} {before.get(key)!r}, this one has {value!r}; "
                    "choose another folder with -o"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dict(settings), indent=2) + "\n")
