"""A progress bar over one song or many, with the time left."""

import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Self

_EVERY_S = 0.1


class SongProgress:
    """Shows seconds of sound done on standard error if that is a terminal."""

    def __init__(self, songs: int, show: bool) -> None:
        self._songs, self._done_songs = songs, 0
        self._show = show and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._running: dict[Path, tuple[float, float | None]] = {}
        self._finished_s = 0.0
        self._separated = 0
        self._drawn = 0.0
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._show:
            from tqdm import tqdm

            form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
            self._bar = tqdm(total=1.0, bar_format=form, file=sys.stderr, leave=False, dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, task: Any, done_s: float, total_s: float | None) -> None:
        """One song has come to `done_s` of `total_s`."""
        if self._bar is None:
            return
        with self._lock:
            self._running[task.source] = (done_s, total_s)
            if time.monotonic() - self._drawn > _EVERY_S:
                self._draw()

    def finished(self, source: Path, seconds: float) -> None:
        """One song is done, or has failed."""
        with self._lock:
            self._done_songs += 1
            self._running.pop(source, None)
            self._finished_s += seconds
            self._separated += seconds > 0
            if self._bar is not None:
                self._draw()

    def _draw(self) -> None:
        """Songs not yet begun are taken to be as long as the mean of those known."""
        self._drawn = time.monotonic()
        running = [(done, max(done, total or 2 * done)) for done, total in self._running.values()]
        known = self._finished_s + sum(total for _, total in running)
        count = self._done_songs + len(running)
        waiting = max(0, self._songs - count)
        self._bar.total = max(1e-3, known + waiting * known / max(1, self._separated + len(running)))
        self._bar.n = min(self._bar.total, self._finished_s + sum(done for done, _ in running))
        name = next(iter(self._running)).name if len(self._running) == 1 else "songs"
        songs = f" ({self._done_songs + 1}/{self._songs})" if self._songs > 1 and self._done_songs < self._songs else ""
        self._bar.set_description_str(f"{name[:30]}{songs}", refresh=False)
        self._bar.refresh()

    def say(self, text: str, file: IO[str]) -> None:
        """Prints a line without tearing the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            print(text, file=file, flush=True)
            if self._bar is not None:
                self._bar.refresh()
