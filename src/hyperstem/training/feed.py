"""Batches in order, prefetched by worker processes, and the time spent waiting for them."""

import signal
import time
from collections.abc import Iterator
from typing import Any, Protocol, cast

from torch.utils.data import DataLoader, Dataset

from hyperstem.data.dataset import Batch


class Batches(Protocol):
    """An endless sequence of batches, or of one process's share of each; an index always gives the same batch."""

    def __getitem__(self, index: int) -> Batch:
        """Batch `index`, from 0."""
        ...


class Feed:
    """The batches from index `start` up to, not including, `stop`.

    Args:
        batches: all batches.
        start: first index.
        stop: end of the indices.
        workers: number of processes that prepare batches; 0 prepares them in this one.
        prefetch: number of batches that each worker prepares ahead.
        pin: whether to pin the batches in memory, for a GPU.
    """

    def __init__(
        self, batches: Batches, start: int, stop: int, workers: int = 0, prefetch: int = 4, pin: bool = False
    ) -> None:
        options: dict[str, Any] = {"prefetch_factor": prefetch, "worker_init_fn": _ignore_signals} if workers else {}
        self._batches: Iterator[Batch] = iter(
            DataLoader(
                cast(Dataset[Batch], batches),  # a map-style dataset needs no more
                sampler=range(start, stop),
                batch_size=None,
                num_workers=workers,
                pin_memory=pin,
                **options,  # type: ignore
            )
        )
        self.waited_s = 0.0
        """Time spent waiting for batches so far."""

    def next(self) -> Batch:
        """The next batch; adds the time it takes to `waited_s`."""
        started = time.perf_counter()
        batch = next(self._batches)
        self.waited_s += time.perf_counter() - started
        return batch


def _ignore_signals(_: int) -> None:
    """Ctrl-C and SIGTERM reach all processes of a group; only the training process handles them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
