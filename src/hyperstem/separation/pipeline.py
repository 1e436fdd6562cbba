"""Concurrent steps of a pipeline: a generator on its own thread, and an ordered map over several workers."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_POLL_S = 0.1
_DONE = object()


def prefetch(items: Iterator[T], depth: int) -> Iterator[T]:
    """Runs a generator on a thread of its own, at most `depth` items ahead; its errors are raised here.

    Closing the result stops the thread and closes the generator.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_DONE, None))
        except BaseException as error:
            put((_DONE, error))
        finally:
            _close(items)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # error and frame would refer to each other, and keep their arrays alive
            if item is _DONE:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def ordered_map(function: Callable[[T], R], items: Iterator[T], workers: int) -> Iterator[R]:
    """``map(function, items)`` over a pool of threads: results in order, a bounded number of items in flight."""
    pool = ThreadPoolExecutor(workers)
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            while pending and (pending[0].done() or len(pending) > workers + 1):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _close(items)


def _close(items: Iterator) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()
