"""Scores many songs in a pool of processes, leaving out what is scored already."""

import contextlib
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.errors import DataError, HyperstemError
from hyperstem.evaluate import scores
from hyperstem.evaluate.bss import bss_eval
from hyperstem.evaluate.listening import listening_scores
from hyperstem.evaluate.measures import si_sdr, track_sdr
from hyperstem.evaluate.methods import Method
from hyperstem.evaluate.reference import museval_scores
from hyperstem.evaluate.songs import Entry, Song, read_song
from hyperstem.files import write_text

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
    error: str | None  # None if the scores are written


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
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            outcomes.append(perform(task))
            done(outcomes[-1])
        return outcomes
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with _thread_limit(threads), ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context) as pool:
        try:
            with _interrupts_held():
                futures = [pool.submit(perform, task) for task in tasks]
            for future in as_completed(futures):
                outcomes.append(future.result())
                done(outcomes[-1])
        except BrokenProcessPool:
            raise DataError(
                f"a scoring process died, most likely for want of memory; try fewer than --jobs {jobs} "
                "(songs scored so far are kept)"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
    return outcomes


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Holds Ctrl-C back while processes start, for one cut off in the middle of that complains.

    The processes inherit that SIGINT is blocked and never see it: it is this process that ends them. Here blocking it
    is not enough, because a signal may reach any thread.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Limits the threads of processes started inside; numerical libraries read these names as they load."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
