"""Runs many jobs at once, in threads or processes. Nothing keeps running if the caller stops early: waiting jobs are
dropped, threads are joined, and processes are terminated."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_POLL_S = 0.1
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that numerical libraries read when they are loaded."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    do: Callable[[Item], Result], items: Sequence[Item], jobs: int, stop: Callable[[], None] = lambda: None
) -> Iterator[Result]:
    """Results in the order of `items`, each as soon as it and all before it are ready.

    Args:
        do: called with each item; its first error is raised here.
        items: the arguments for `do`.
        jobs: number of threads; 1 runs everything in the calling thread.
        stop: called when the caller stops early, to end running jobs sooner.
    """
    if jobs == 1 or len(items) < 2:
        yield from map(do, items)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(do, item) for item in items]
        try:
            for future in futures:
                # Python handles signals only in the main thread, and a signal that another thread received does not
                # interrupt this wait: so it polls.
                while not wait([future], _POLL_S).done:
                    pass
                yield future.result()
        except BaseException:
            stop()
            pool.shutdown(cancel_futures=True)
            raise


def in_processes(
    do: Callable[[Item], Result], items: Sequence[Item], jobs: int, threads: int | None = None
) -> Iterator[Result]:
    """Results in the order in which they are ready.

    Args:
        do: a function at the top level of a module; it, the items and the results are pickled.
        items: the arguments for `do`.
        jobs: number of processes, which are spawned; 1 runs everything in the calling process.
        threads: most threads that numerical libraries may use in each process.

    Raises:
        BrokenProcessPool: a process died, most often because memory ran out.
    """
    if jobs == 1 or len(items) < 2:
        yield from map(do, items)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with _thread_limit(threads), ProcessPoolExecutor(min(jobs, len(items)), mp_context=context) as pool:
        try:
            with _interrupts_held():
                futures = [pool.submit(do, item) for item in items]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C while processes start: a process interrupted during its start would print an error.

    The processes inherit the blocked SIGINT and never receive it; this process terminates them. Here blocking is not
    enough, because any thread may receive a signal.
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
def _thread_limit(threads: int | None) -> Iterator[None]:
    """Limits the threads of numerical libraries in processes started in the block."""
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_LIMITS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
