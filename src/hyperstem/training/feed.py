"""Batches in order, prepared ahead by worker processes, with the time spent waiting for them."""

import signal
import time
from collections.abc import Iterator
from typing import Any, Protocol, cast

from torch.utils.data import DataLoader, Dataset

from hyperstem.data.dataset import Batch


class Batches(Protocol):
    """An endless row of batches, of which each process sees its share; the same index always gives the same batch."""

    def __getitem__(self, index: int) -> Batch:
        """Batch `index`, from 0."""
        ...


class Feed:
    """The batches from `start` to before `stop`.

    Args:
        workers: processes that prepare batches ahead; 0 prepares them in this one.
        prefetch: batches that each of them prepares ahead.
        pin: whether to put them into page-locked memory, for a GPU.
    """

    def __init__(
        self, batches: Batches, start: int, stop: int, workers: int = 0, prefetch: int = 4, pin: bool = False
    ) -> None:
        ahead: dict[str, Any] = {"prefetch_factor": prefetch, "worker_init_fn": _leave_signals} if workers else {}
        self._batches: Iterator[Batch] = iter(
            DataLoader(
                cast(Dataset[Batch], batches),  # it has what a map-style dataset needs
                sampler=range(start, stop),
                batch_size=None,
                num_workers=workers,
                pin_memory=pin,
                **ahead,  # type: ignore
            )
        )
        self.waited_s = 0.0

    def next(self) -> Batch:
        """The next batch; the time until it is there counts as waiting."""
        started = time.perf_counter()
        batch = next(self._batches)
        self.waited_s += time.perf_counter() - started
        return batch


def _leave_signals(_: int) -> None:
    """Ctrl-C and SIGTERM reach a whole process group; only the training process decides what they mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
