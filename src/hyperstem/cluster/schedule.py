"""Decides which song is next: songs wait in a window, longest first, and failed ones that may succeed wait again."""

import bisect
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hyperstem.cluster.catalogue import Unlisted
from hyperstem.cluster.register import Song

WINDOW = 1024
"""Songs among which the longest is chosen; the rest of the catalogue is not listed yet."""
TRIES = 4
"""Most turns of a song."""
RETRIED = ("transfer", "system", "disk full", "out of memory", "missing", "worker lost")
"""Failures for which a retry, preferably on another machine, may succeed."""
_FIRST_WAIT_S = 0.5


class Turn(NamedTuple):
    """A song and its previous attempts."""

    song: Song
    tries: int = 0
    alone: bool = False
    """Whether a worker died while it ran: then it runs alone, so that a song that kills workers harms no other."""
    avoid: frozenset[str] = frozenset()
    """Machines on which it failed."""
    not_before: float = 0.0

    def again(self, node: str, lost: bool) -> "Turn | None":
        """The next turn, later and if possible on another machine; None if there are no more."""
        if self.tries + 1 >= TRIES:
            return None
        wait_s = _FIRST_WAIT_S * 2**self.tries
        avoid = self.avoid | {node}
        return Turn(self.song, self.tries + 1, self.alone or lost, avoid, time.monotonic() + wait_s)


class Window:
    """The next songs of a catalogue, which a thread lists in the background.

    Args:
        songs: the catalogue.
        size: most songs that wait here, not counting retries.
    """

    def __init__(self, songs: Iterable[Song | Unlisted], size: int = WINDOW) -> None:
        self._size = size
        self._turns: list[Turn] = []
        """Longest last."""
        self._listed: queue.Queue[Song | Unlisted | BaseException | None] = queue.Queue(size)
        self._ended = False
        self._closed = threading.Event()
        threading.Thread(target=self._list, args=(songs,), daemon=True, name="listing").start()

    def _list(self, songs: Iterable[Song | Unlisted]) -> None:
        try:
            for song in songs:
                self._put(song)
                if self._closed.is_set():
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Song | Unlisted | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._listed.put(item, timeout=0.2)
            except queue.Full:
                continue
        return None

    def fill(self, unlisted: Callable[[Unlisted], None], wait_s: float = 0.0) -> None:
        """Adds the songs listed since the last call.

        Args:
            unlisted: called with what could not be listed.
            wait_s: how long to wait for the window to be full.
        """
        end = time.monotonic() + wait_s
        while not self._ended and len(self._turns) < self._size:
            try:
                item = (
                    self._listed.get(timeout=max(0.0, end - time.monotonic())) if wait_s else self._listed.get_nowait()
                )
            except queue.Empty:
                return
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Unlisted):
                unlisted(item)
            elif item is None:
                self._ended = True
            else:
                self.put(Turn(item))

    def put(self, turn: Turn) -> None:
        """Adds a turn."""
        bisect.insort(self._turns, turn, key=lambda turn: turn.song.seconds)

    def take(self, node: str, nodes: set[str], idle: bool) -> Turn | None:
        """The longest song that may run now.

        Args:
            node: the machine that asks.
            nodes: all machines; a song returns to a machine where it failed only if it has failed on all of them.
            idle: the worker has no other song in progress.
        """
        now = time.monotonic()
        for at in range(len(self._turns) - 1, -1, -1):
            turn = self._turns[at]
            if turn.not_before <= now and not (node in turn.avoid and nodes - turn.avoid) and (idle or not turn.alone):
                return self._turns.pop(at)
        return None

    @property
    def waiting(self) -> int:
        """Number of songs waiting."""
        return len(self._turns)

    @property
    def empty(self) -> bool:
        """Whether the catalogue is exhausted and no song waits."""
        return self._ended and not self._turns

    def close(self) -> None:
        """Ends the listing."""
        self._closed.set()
