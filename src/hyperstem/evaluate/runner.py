"""Scores many songs in a pool of processes, leaving out what is scored already."""

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
    """One song and the methods that still have to be scored on it, each with the file its scores go to."""

    entry: Entry
    stems: tuple[str, ...]
    methods: tuple[tuple[Method, Path], ...]
    engine: Engine
    strict: bool = False
    """Damaged files are an error."""


class Outcome(NamedTuple):
    """How a song went."""

    name: str
    seconds: float
    notes: tuple[str, ...]
    error: str | None
    """None if the scores are written."""


def score_song(song: Song, estimates: Sequence[np.ndarray], engine: Engine = "fast") -> list[scores.SongScores]:
    """The scores of several methods' estimates, each (stem, channel, time).

    Raises:
        DataError: an estimate holds NaN or infinity.
    """
    if not all(math.isfinite(np.abs(estimate).max()) for estimate in estimates):
        raise DataError(f"{song.name}: the estimates hold NaN or infinite samples")
    engines = {"fast": bss_eval, "museval": museval_scores}
    frames = engines[engine](song.references, estimates, song.rate_hz)
    heard = listening_scores(song.references, estimates, song.mixture, song.rate_hz)
    return [
        scores.build(
            song.name,
            song.stems,
            found,
            {
                "SI-SDR": si_sdr(song.references, estimate),
                "track SDR": track_sdr(song.references, estimate),
                **listening,
            },
        )
        for found, listening, estimate in zip(frames, heard, estimates, strict=True)
    ]


def perform(task: Task) -> Outcome:
    """Separates, scores and saves one song; what is wrong with the song is reported, not raised."""
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


def perform_all(tasks: Sequence[Task], jobs: int, threads: int, done: Callable[[Outcome], None]) -> list[Outcome]:
    """Performs `tasks` in `jobs` processes of `threads` threads each, calling `done` as each one ends.

    With one job everything happens in this process.

    Raises:
        DataError: a process died, most often for want of memory.
    """
    outcomes = []
    try:
        for outcome in in_processes(perform, tasks, jobs, threads):
            outcomes.append(outcome)
            done(outcome)
    except BrokenProcessPool:
        raise DataError(
            f"a scoring process died, most likely for want of memory; try fewer than --jobs {jobs} "
            "(songs scored so far are kept)"
        ) from None
    return outcomes


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes `folder` this evaluation's, or checks that it is: scores of different settings never mix.

    Raises:
        DataError: it holds an evaluation with other settings; the first difference is named.
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
