import threading
import time

import pytest

from hyperstem.separation.pipeline import ordered_map, prefetch


def counted(limit: int, seen: list, closed: list):
    try:
        for i in range(limit):
            seen.append(i)
            yield i
    finally:
        closed.append(True)


def test_prefetch_keeps_order_and_closes():
    seen, closed = [], []
    assert list(prefetch(counted(50, seen, closed), depth=2)) == list(range(50))
    assert closed == [True]


def test_prefetch_stays_a_bounded_number_ahead():
    seen, closed = [], []
    items = prefetch(counted(50, seen, closed), depth=3)
    next(items)
    time.sleep(0.2)
    assert len(seen) <= 6
    items.close()
    assert closed == [True]


def test_errors_come_out_where_the_items_do():
    def broken():
        yield 1
        raise ValueError("inside")

    items = prefetch(broken(), depth=1)
    assert next(items) == 1
    with pytest.raises(ValueError, match="inside"):
        next(items)


def test_ordered_map_keeps_order_with_workers_of_different_speed():
    def slow(i: int) -> int:
        time.sleep(0.02 if i % 3 == 0 else 0)
        return i * i

    assert list(ordered_map(slow, iter(range(30)), workers=4)) == [i * i for i in range(30)]


def test_ordered_map_runs_at_once_and_bounded():
    running, most = [], []
    lock = threading.Lock()

    def work(i: int) -> int:
        with lock:
            running.append(i)
            most.append(len(running))
        time.sleep(0.02)
        with lock:
            running.remove(i)
        return i

    seen, closed = [], []
    items = ordered_map(work, counted(100, seen, closed), workers=3)
    assert [next(items) for _ in range(10)] == list(range(10))
    assert max(most) == 3
    assert len(seen) <= 20
    items.close()
    assert closed == [True]


def test_an_error_in_a_worker_ends_the_map():
    def fail(i: int) -> int:
        if i == 5:
            raise OSError("no room")
        return i

    with pytest.raises(OSError, match="no room"):
        list(ordered_map(fail, iter(range(100)), workers=2))


def test_no_thread_is_left_behind():
    before = threading.active_count()
    items = prefetch(ordered_map(lambda i: i, prefetch(iter(range(1000)), 1), 2), 1)
    next(items)
    items.close()
    time.sleep(0.3)
    assert threading.active_count() <= before
