"""Progress over one song or many on standard error: a bar, a line at intervals, or JSON records for programs."""

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from hyperstem.files import TEMPORARY

MODES = ("auto", "bar", "lines", "json", "none")
_BAR_EVERY_S, _RECORD_EVERY_S, _LINE_EVERY_S = 0.1, 0.5, 10.0
_LINES_SLOW_DOWN = 0.2
"""Least time between two lines, as a fraction of the time elapsed: long runs do not fill their logs."""
_WIDEST_NAME = 30
_USUAL_SIZE = (80, 24)


def duration(seconds: float) -> str:
    """A duration as text."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"


def shown(source: Path) -> str:
    """A song as the user named it, standard input as "-"."""
    return "-" if source.parent.match(TEMPORARY) else str(source)


def _has_size() -> bool:
    """Whether the terminal reports its size; in some containers it does not, and tqdm would show nothing there."""
    with contextlib.suppress(OSError, ValueError):
        return all(os.get_terminal_size(sys.stderr.fileno()))
    return False


class _State(NamedTuple):
    """The overall progress."""

    done_s: float
    total_s: float
    what: str


class SongProgress:
    """Shows the seconds of sound done so far.

    Args:
        songs: how many there are.
        mode: one of `MODES`; "auto" is a bar on a terminal and lines elsewhere.
    """

    def __init__(self, songs: int, mode: str = "auto") -> None:
        self._songs, self._done_songs = songs, 0
        self._mode = mode if mode != "auto" else "bar" if sys.stderr.isatty() else "lines"
        self._lock = threading.Lock()
        self._running: dict[Path, tuple[float, float | None]] = {}
        self._finished_s = 0.0
        self._separated = 0
        self._begun = self._shown = time.monotonic()
        self._recorded: dict[Path, float] = {}
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._mode == "bar":
            from tqdm import tqdm

            form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
            columns, rows = (None, None) if _has_size() else _USUAL_SIZE
            self._bar = tqdm(
                total=1.0,
                bar_format=form,
                file=sys.stderr,
                leave=False,
                ncols=columns,
                nrows=rows,
                dynamic_ncols=columns is None,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done_s: float, total_s: float | None, task: Any) -> None:
        """Updates one song: `done_s` of `total_s` are done."""
        if self._mode == "none":
            return
        now = time.monotonic()
        with self._lock:
            self._running[task.source] = (done_s, total_s)
            if self._mode == "bar" and now - self._shown > _BAR_EVERY_S:
                self._draw()
            elif self._mode == "lines" and now - self._shown > max(
                _LINE_EVERY_S, _LINES_SLOW_DOWN * (now - self._begun)
            ):
                self._line()
            elif self._mode == "json" and now - self._recorded.get(task.source, -1e9) > _RECORD_EVERY_S:
                self._recorded[task.source] = now
                self._record(task.source, done_s, total_s)

    def finished(self, source: Path, seconds: float) -> None:
        """Notes that one song is done or has failed."""
        with self._lock:
            self._done_songs += 1
            self._running.pop(source, None)
            self._recorded.pop(source, None)
            self._finished_s += seconds
            self._separated += seconds > 0
            if self._mode == "bar":
                self._draw()
            elif self._mode == "json" and seconds:
                self._record(source, seconds, seconds)

    def _state(self) -> _State:
        """The overall progress; songs not yet begun are assumed to have the mean length of those known."""
        running = [(done, max(done, total or 2 * done)) for done, total in self._running.values()]
        known = self._finished_s + sum(total for _, total in running)
        waiting = max(0, self._songs - self._done_songs - len(running))
        total = max(1e-3, known + waiting * known / max(1, self._separated + len(running)))
        done = min(total, self._finished_s + sum(done for done, _ in running))
        name = next(iter(self._running)).name if len(self._running) == 1 else "songs"
        many = self._songs > 1 and self._done_songs < self._songs
        songs = f" ({self._done_songs + 1}/{self._songs})" if many else ""
        return _State(done, total, f"{name[:_WIDEST_NAME]}{songs}")

    def _draw(self) -> None:
        self._shown = time.monotonic()
        state = self._state()
        self._bar.total, self._bar.n = state.total_s, state.done_s
        self._bar.set_description_str(state.what, refresh=False)
        self._bar.refresh()

    def _line(self) -> None:
        self._shown = now = time.monotonic()
        state = self._state()
        if state.done_s >= state.total_s:
            return
        left_s = (now - self._begun) * (state.total_s / max(state.done_s, 1e-3) - 1)
        done = f"{100 * state.done_s / state.total_s:.0f} %"
        print(f"{state.what}: {done} done, about {duration(left_s)} left", file=sys.stderr, flush=True)

    def _record(self, source: Path, done_s: float, total_s: float | None) -> None:
        record = {
            "event": "progress",
            "file": shown(source),
            "done_s": round(done_s, 3),
            "total_s": None if total_s is None else round(total_s, 3),
            "songs_done": self._done_songs,
            "songs": self._songs,
        }
        print(json.dumps(record), file=sys.stderr, flush=True)

    def say(self, text: str, file: IO[str]) -> None:
        """Prints a line without breaking the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            print(text, file=file, flush=True)
            if self._bar is not None:
                self._bar.refresh()
