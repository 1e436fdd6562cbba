import threading
import time
from itertools import count

import pytest

from hyperstem.cluster.catalogue import Unlisted
from hyperstem.cluster.register import Song
from hyperstem.cluster.schedule import TRIES, Turn, Window


def song(name: str, seconds: float = 1.0) -> Song:
    return Song(f"/{name}.mp3", "", name, seconds)


def filled(songs, size: int = 100) -> Window:
    window = Window(songs, size)
    window.fill(pytest.fail, wait_s=2.0)
    return window


def taken(window: Window, *arguments) -> str | None:
    turn = window.take(*arguments)
    return turn and turn.song.track


def test_the_longest_comes_first_within_the_window():
    window = filled([song("a", 1), song("b", 3), song("c", 2), song("d", 9)], size=3)
    assert [taken(window, "n", {"n"}, True) for _ in range(2)] == ["b", "c"]
    window.fill(pytest.fail, wait_s=0.5)
    assert [taken(window, "n", {"n"}, True) for _ in range(3)] == ["d", "a", None]
    window.fill(pytest.fail, wait_s=0.5)
    assert window.empty


def test_a_catalogue_without_end_is_listed_only_as_far_as_the_window():
    listed = []

    def endless():
        for number in count():
            listed.append(number)
            yield song(str(number))

    window = filled(endless(), size=10)
    assert window.waiting == 10
    time.sleep(0.3)
    assert len(listed) <= 25
    window.close()


def test_a_song_that_failed_goes_elsewhere_later_and_not_for_ever(monkeypatch):
    turn, turns = Turn(song("a")), 0
    window = filled([])
    while turn is not None:
        turns += 1
        again = turn.again(f"n{turns % 2}", lost=False)
        turn = again
    assert turns == TRIES
    again = Turn(song("a")).again("n1", lost=True)
    assert again.alone
    window.put(again)
    assert taken(window, "n2", {"n1", "n2"}, True) is None  # not yet
    time.sleep(max(0.0, again.not_before - time.monotonic()) + 0.01)
    assert taken(window, "n1", {"n1", "n2"}, True) is None  # not there
    assert taken(window, "n2", {"n1", "n2"}, False) is None  # not beside another
    assert taken(window, "n2", {"n1", "n2"}, True) == "a"
    window.put(again)
    assert taken(window, "n1", {"n1"}, True) == "a"  # there is no other


def test_what_cannot_be_listed_is_told_and_errors_come_through():
    told = []
    window = Window([Unlisted("/x", "x: gone"), song("a")])
    window.fill(told.append, wait_s=2.0)
    assert [item.place for item in told] == ["/x"]
    assert window.waiting == 1

    def broken():
        yield song("a")
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        filled(broken())


def test_listing_ends_with_the_window():
    window = Window(song(str(number)) for number in count())
    window.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "listing" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
