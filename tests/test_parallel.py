"""Many jobs at once: order, errors, and nothing left running."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperstem.parallel import cores, in_processes, in_threads


def square(number):
    return number * number


def thread_limit(_):
    return os.environ["OMP_NUM_THREADS"], os.getpid()


def fails_at_two(number):
    if number == 2:
        raise ValueError("two")
    time.sleep(60 if number > 2 else 0)
    return number


def dies(_):
    os._exit(1)


@given(st.lists(st.integers(), max_size=6), st.integers(1, 3))
def test_threads_give_results_in_order(items, jobs):
    assert list(in_threads(square, items, jobs)) == [square(item) for item in items]


def test_threads_work_side_by_side_and_results_come_when_they_are_there():
    meeting, late = threading.Barrier(2), threading.Event()

    def meet(item):
        if item == 2:
            assert late.wait(30)
        else:
            meeting.wait(30)
        return item

    results = in_threads(meet, range(3), 3)
    assert [next(results), next(results)] == [0, 1]
    late.set()
    assert list(results) == [2]


@pytest.mark.parametrize("how", ["error", "closed"])
def test_threads_end_when_the_caller_does(how):
    begun, stopped, others = [], threading.Event(), set(threading.enumerate())

    def work(item):
        begun.append(item)
        if item == 0:
            if how == "error":
                raise ValueError("zero")
            return item
        assert stopped.wait(30)
        return item

    results = in_threads(work, range(50), 2, stopped.set)
    if how == "error":
        with pytest.raises(ValueError, match="zero"):
            next(results)
    else:
        assert next(results) == 0
        results.close()
    assert stopped.is_set()
    assert len(begun) < 10
    new = set(threading.enumerate()) - others
    assert not [thread for thread in new if thread.name.startswith("ThreadPool")]


def test_one_job_works_in_the_callers_thread_and_process():
    assert set(in_threads(lambda _: threading.get_ident(), range(3), 1)) == {threading.get_ident()}
    assert set(in_processes(lambda _: os.getpid(), range(3), 1)) == {os.getpid()}


def test_processes_give_every_result_and_keep_to_their_threads():
    before = os.environ.get("OMP_NUM_THREADS")
    assert sorted(in_processes(square, range(5), 2)) == [0, 1, 4, 9, 16]
    limits, workers = zip(*in_processes(thread_limit, range(2), 2, threads=3), strict=True)
    assert limits == ("3", "3")
    assert os.getpid() not in workers
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_an_error_in_a_process_is_raised_here_and_ends_the_others():
    begun = time.monotonic()
    with pytest.raises(ValueError, match="two"):
        list(in_processes(fails_at_two, range(6), 2))
    assert time.monotonic() - begun < 55
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_no_result():
    with pytest.raises(BrokenProcessPool):
        list(in_processes(dies, range(2), 2))


PROGRAM = """
import pathlib, sys, time
from hyperstem.parallel import {how}

def work(item):
    pathlib.Path(sys.argv[1], str(item)).touch()
    time.sleep({seconds})

if __name__ == "__main__":
    list({how}(work, range(20), 2))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize(("how", "seconds"), [("in_threads", 2), ("in_processes", 60)])
def test_ctrl_c_stops_the_whole_group_without_noise_from_workers(tmp_path, how, seconds):
    script, begun = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(PROGRAM.format(how=how, seconds=seconds))
    begun.mkdir()
    program = subprocess.Popen(
        [sys.executable, script, begun], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(begun.iterdir())) < 2 and program.poll() is None:
        time.sleep(0.05)
    os.killpg(program.pid, signal.SIGINT)
    errors = program.communicate(timeout=50)[1]
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert len(list(begun.iterdir())) < 6
    deadline = time.monotonic() + 20  # what watches over the processes' resources ends a moment after them
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(program.pid, 0)
            time.sleep(0.1)


def test_cores_are_those_of_this_process():
    assert 1 <= cores() <= (os.cpu_count() or 1)
