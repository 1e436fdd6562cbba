"""Separates a catalogue on a fleet of workers: assigns songs, retries failures that may pass, and counts results."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hyperstem.cluster import objects
from hyperstem.cluster.catalogue import Unlisted
from hyperstem.cluster.fleet import Ended, Fleet
from hyperstem.cluster.records import Records
from hyperstem.cluster.register import Song
from hyperstem.cluster.schedule import RETRIED, Window
from hyperstem.errors import ClusterError

PATIENCE_S = 300.0
"""How long songs wait for a machine at the start, or after all are lost."""
_PAUSE_S = 60.0
"""How long a machine whose disk is full gets no songs."""
_FULL_SONGS = 2
"""After this many songs without enough space, a disk counts as full; a single song may just be too large."""
_TICK_S = 1.0


@dataclass
class Totals:
    """The results of a catalogue."""

    songs: Counter[str] = field(default_factory=Counter)
    """By status: done, skipped, failed."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Failures by their kind."""
    sound_s: float = 0.0
    """Length of the songs done."""
    elapsed_s: float = 0.0
    core_s: float = 0.0
    """Core-seconds that workers used."""

    def add(self, record: dict[str, Any]) -> None:
        """Counts one record."""
        self.songs[record["status"]] += 1
        self.sound_s += record.get("seconds", 0.0)
        if record["status"] == "failed":
            self.reasons[record.get("reason") or "other"] += 1

    def table(self) -> str:
        """The totals as a table of text."""
        rows = [
            ("songs done", f"{self.songs['done']}"),
            ("skipped, done before", f"{self.songs['skipped']}"),
            ("failed", f"{self.songs['failed']}"),
            *((f"  {reason}", f"{number}") for reason, number in self.reasons.most_common()),
            ("hours of sound", f"{self.sound_s / 3600:.2f}"),
            ("time", f"{self.elapsed_s:.1f} s"),
            ("core-hours", f"{self.core_s / 3600:.3f}"),
            ("songs per core-hour", f"{self.songs['done'] / max(self.core_s, 1e-9) * 3600:.1f}"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value:>10}" for name, value in rows)


def outside(songs: Iterable[Song | Unlisted], destination: str) -> Iterator[Song | Unlisted]:
    """The songs, except those in the destination, where stems of other songs might replace them."""
    inside = objects.join(destination, "")
    for song in songs:
        if isinstance(song, Song) and song.place.startswith(inside):
            yield Unlisted(
                song.place, f"{song.place} lies in the output folder, where --overwrite might replace it", "exists"
            )
        else:
            yield song


def separate(
    fleet: Fleet,
    songs: Iterable[Song | Unlisted],
    records: Records,
    report: Callable[[dict[str, Any]], None],
    totals: Totals,
) -> None:
    """Separates every song; a failure does not stop the others.

    Args:
        fleet: the workers.
        songs: the catalogue, listed as it is needed.
        records: collects the result of each song.
        report: called with each record.
        totals: counts the results, also if the run is aborted.

    Raises:
        ClusterError: there are no workers, or the disks of all machines are full.
        OSError: records cannot be written.
    """
    run = _Run(fleet, Window(songs), records, report, totals)
    begun = time.monotonic()
    try:
        run.run()
    finally:
        run.window.close()
        totals.elapsed_s, totals.core_s = time.monotonic() - begun, fleet.core_s
        records.flush()


class _Run:
    def __init__(
        self,
        fleet: Fleet,
        window: Window,
        records: Records,
        report: Callable[[dict[str, Any]], None],
        totals: Totals,
    ) -> None:
        self._fleet, self.window, self._records, self._report, self._totals = fleet, window, records, report, totals
        self._full: defaultdict[str, set[str]] = defaultdict(set)
        """Per machine, songs that its disk had no space for since the last song that it had."""
        self._paused: dict[str, float] = {}
        """Per machine with a full disk, when it gets songs again."""
        self._alive = time.monotonic()

    def run(self) -> None:
        self.window.fill(self._unlisted, wait_s=1.0)
        while True:
            self.window.fill(self._unlisted)
            self._fleet.adjust(self.window.waiting)
            self._assign()
            if self.window.empty and not self._fleet.busy:
                return
            for ended in self._fleet.wait(_TICK_S):
                self._settle(ended)
            self._check()

    def _assign(self) -> None:
        """Assigns songs to available workers: one to each before any gets a second."""
        now = time.monotonic()
        nodes = {node for node in self._fleet.nodes if self._paused.get(node, 0.0) <= now}
        for depth in (0, 1):
            for member in self._fleet.members:
                if not member.available or member.node not in nodes or len(member.turns) > depth:
                    continue
                turn = self.window.take(member.node, nodes, idle=not member.turns)
                if turn is not None:
                    self._fleet.submit(member, turn)

    def _settle(self, ended: Ended) -> None:
        record = ended.record
        if record is None:
            text = f"{ended.turn.song.place}: the worker that had it was lost"
            record = {"file": ended.turn.song.place, "status": "failed", "error": text, "reason": "worker lost"}
        reason = record.get("reason", "")
        if reason == "disk full":
            self._pause_if_full(ended.node, record["file"])
        elif record["status"] == "done":
            self._full.pop(ended.node, None)
        again = ended.turn.again(ended.node, lost=ended.record is None) if self._may_succeed(reason) else None
        if again is not None:
            self.window.put(again)
        else:
            self._keep(record | {"folder": ended.turn.song.folder, "tries": ended.turn.tries + 1})

    def _pause_if_full(self, node: str, place: str) -> None:
        self._full[node].add(place)
        if len(self._full[node]) >= _FULL_SONGS:
            self._paused[node] = time.monotonic() + _PAUSE_S

    def _may_succeed(self, reason: str) -> bool:
        """Whether a retry may succeed. With a single machine, missing files stay missing."""
        return reason in RETRIED and not (reason == "missing" and len(self._fleet.nodes) < 2)

    def _unlisted(self, item: Unlisted) -> None:
        self._keep({"file": item.place, "status": "failed", "error": item.error, "reason": item.reason})

    def _keep(self, record: dict[str, Any]) -> None:
        self._totals.add(record)
        self._records.add(record)
        self._report(record)

    def _check(self) -> None:
        """Aborts a run that cannot continue."""
        now = time.monotonic()
        if self._fleet.nodes or self._fleet.busy:
            self._alive = now
        if now - self._alive > PATIENCE_S:
            raise ClusterError(f"no worker has been ready for {PATIENCE_S:.0f} s: the cluster has no free core for one")
        nodes = self._fleet.nodes
        if nodes and not self._fleet.busy and all(self._paused.get(node, 0.0) > now for node in nodes):
            raise ClusterError("no space left on the disks of all machines; started again, the run goes on from here")
