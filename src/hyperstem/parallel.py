"""Many jobs at once, in threads or in processes. Who stops early leaves nothing running: what waits is dropped, threads
are waited for, processes are ended."""

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
_LOOK_UP_S = 0.1
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Numerical libraries read these as they load."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    do: Callable[[Item], Result], items: Sequence[Item], jobs: int, stop: Callable[[], None] = lambda: None
) -> Iterator[Result]:
    """Results in the order of `items`, each as soon as it and those before it are there.

    Args:
        do: called with each item; its first error is raised here.
        items: what to do it to.
        jobs: threads; one works in the caller's.
        stop: called when the caller stops early, to end what is under way sooner.
    """
    if jobs == 1 or len(items) < 2:
        yield from map(do, items)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(do, item) for item in items]
        try:
            for future in futures:
                # Python acts on signals in the main thread alone, and one that has reached another thread does not end
                # this one's waiting: so it looks up from time to time.
                while not wait([future], _LOOK_UP_S).done:
                    pass
                yield future.result()
        except BaseException:
            stop()
            pool.shutdown(cancel_futures=True)
            raise


def in_processes(
    do: Callable[[Item], Result], items: Sequence[Item], jobs: int, threads: int | None = None
) -> Iterator[Result]:
    """Results as they come.

    Args:
        do: a function of a module; it, the items and the results are sent between processes.
        items: what to do it to.
        jobs: processes, each started afresh; one works in the caller's.
        threads: most threads of numerical libraries in each process.

    Raises:
        BrokenProcessPool: a process died, most often for want of memory.
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
    """Holds Ctrl-C back while processes start: one that is interrupted in the middle of that prints an error.

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
def _thread_limit(threads: int | None) -> Iterator[None]:
    """Limits the threads of processes started inside."""
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
