"""The order of a run, on workers that do as they are told; `test_fleet` has real ones."""

import time
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from hyperstem.cluster import catalogue, run, schedule
from hyperstem.cluster.catalogue import Unlisted
from hyperstem.cluster.fleet import DEPTH, Ended, Member
from hyperstem.cluster.records import FOLDER, Records, earlier
from hyperstem.cluster.register import Song
from hyperstem.cluster.run import Totals, outside
from hyperstem.cluster.schedule import TRIES, Turn
from hyperstem.errors import ClusterError

DONE = {"status": "done", "seconds": 60.0}


class Actors:
    """Stands for a fleet: workers on machines, whose turns end as `does` says (None: the worker dies)."""

    def __init__(self, nodes: str, does: Callable[[str, str, int], dict | None]) -> None:
        self.members = [Member(None, node, None) for node in nodes]
        self.core_s = 3600.0
        self._does, self._refs = does, count()
        self.order: list[str] = []
        self.begun: Counter[str] = Counter()
        self.most_together = 0

    def adjust(self, waiting: int) -> None:
        pass

    @property
    def busy(self) -> bool:
        return any(member.turns for member in self.members)

    @property
    def nodes(self) -> set[str]:
        return {member.node for member in self.members}

    def submit(self, member: Member, turn: Turn) -> None:
        member.turns[next(self._refs)] = turn
        self.most_together = max(self.most_together, len(member.turns))
        if turn.alone:
            assert len(member.turns) == 1
        self.order.append(turn.song.track)
        self.begun[turn.song.track] += 1

    def wait(self, timeout_s: float) -> list[Ended]:
        ended = []
        for member in self.members:
            for ref, turn in list(member.turns.items())[:1]:
                record = self._does(turn.song.track, member.node, self.begun[turn.song.track])
                turns = [member.turns.pop(ref)] if record else list(member.turns.values())
                if not record:
                    member.turns.clear()
                ended += [Ended(turn, member.node, record and record | {"file": turn.song.place}) for turn in turns]
        if not ended:
            time.sleep(0.01)
        return ended


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(schedule, "_FIRST_WAIT_S", 0.001)


def failed(reason: str) -> dict:
    return {"status": "failed", "error": "x", "reason": reason}


def separate(fleet: Actors, songs, tmp_path) -> tuple[dict[str, dict], Totals]:
    records, totals = [], Totals()
    items = [Song(f"/{name}", "in", name, seconds) for name, seconds in songs.items()]
    try:
        run.separate(fleet, items, Records(str(tmp_path)), records.append, totals)
    finally:
        assert len({record["file"] for record in records}) == len(records)
        assert list(earlier(str(tmp_path))) == records
    return {record["file"][1:]: record for record in records}, totals


def test_the_longest_first_and_everyone_at_work_before_anyone_has_two(tmp_path):
    fleet = Actors("abc", lambda *_: DONE)
    records, totals = separate(fleet, {str(number): number for number in range(20)}, tmp_path)
    assert fleet.order[:6] == ["19", "18", "17", "16", "15", "14"]
    assert fleet.most_together == DEPTH
    assert totals.songs == {"done": 20}
    assert {record["tries"] for record in records.values()} == {1}
    table = dict(line.rsplit(maxsplit=1) for line in totals.table().splitlines())
    assert table["songs per core-hour"] == "20.0"
    assert table["hours of sound"] == "0.33"


def test_a_song_that_kills_workers_fails_alone(tmp_path):
    fleet = Actors("ab", lambda track, *_: None if track == "poison" else DONE)
    songs = {"poison": 99} | {str(number): number for number in range(20)}
    records, totals = separate(fleet, songs, tmp_path)
    assert records.pop("poison")["reason"] == "worker lost"
    assert {record["status"] for record in records.values()} == {"done"}
    assert fleet.begun["poison"] == TRIES
    assert max(count for track, count in fleet.begun.items() if track != "poison") <= 2
    assert totals.reasons == {"worker lost": 1}


@pytest.mark.parametrize(("reason", "turns"), [("audio", 1), ("not allowed", 1), ("exists", 1), ("transfer", TRIES)])
def test_only_what_may_mend_is_tried_again(tmp_path, reason, turns):
    fleet = Actors("ab", lambda *_: failed(reason))
    records, totals = separate(fleet, {"a": 1}, tmp_path)
    assert fleet.begun == {"a": turns}
    assert records["a"]["tries"] == turns
    assert totals.reasons == {reason: 1}
    (part,) = (tmp_path / FOLDER).iterdir()
    (again,) = catalogue.songs([str(part)])  # what failed can be given to another run, and goes to the same place
    assert (again.place, again.folder) == ("/a", "in")


def test_what_fails_on_one_machine_goes_to_another(tmp_path):
    fleet = Actors("ab", lambda track, node, _: failed("missing") if node == "a" else DONE)
    records, _ = separate(fleet, {str(number): 1 for number in range(10)}, tmp_path)
    assert {record["status"] for record in records.values()} == {"done"}
    fleet = Actors("a", lambda *_: failed("missing"))
    separate(fleet, {"a": 1}, tmp_path / "one")
    assert fleet.begun == {"a": 1}


def test_a_machine_whose_disk_is_full_gets_no_more_songs(tmp_path):
    seen = Counter()

    def does(track, node, _):
        seen[node] += 1
        return failed("disk full") if node == "a" else DONE

    records, totals = separate(Actors("ab", does), {str(number): 1 for number in range(30)}, tmp_path)
    assert totals.songs == {"done": 30}
    assert seen["a"] <= 2 * DEPTH
    assert {record["status"] for record in records.values()} == {"done"}


def test_a_run_ends_when_all_disks_are_full(tmp_path):
    fleet = Actors("ab", lambda *_: failed("disk full"))
    with pytest.raises(ClusterError, match="no space left"):
        separate(fleet, {str(number): 1 for number in range(1000)}, tmp_path)
    assert sum(fleet.begun.values()) < 20


def test_one_song_too_large_for_a_disk_stops_no_other(tmp_path):
    fleet = Actors("a", lambda track, *_: failed("disk full") if track == "large" else DONE)
    records, totals = separate(fleet, {"large": 99} | {str(number): 1 for number in range(50)}, tmp_path)
    assert records["large"]["reason"] == "disk full"
    assert totals.songs == {"done": 50, "failed": 1}


def test_a_cluster_without_workers_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "PATIENCE_S", 0.1)
    with pytest.raises(ClusterError, match="no worker has been ready"):
        separate(Actors("", lambda *_: DONE), {"a": 1}, tmp_path)


def test_songs_in_the_output_folder_are_not_given_to_overwrite():
    songs = [Song("/out/a/x.wav", "", "x", 1), Song("/output/x.wav", "", "x", 1), Unlisted("/c", "c")]
    first, second, third = outside(songs, "/out")
    assert isinstance(first, Unlisted)
    assert first.reason == "exists"
    assert (second, third) == tuple(songs[1:])
