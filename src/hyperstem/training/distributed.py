"""Training in several processes (torchrun): rank, device, and reductions; with one process they do nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import distributed_c10d

from hyperstem.errors import ConfigError

JOIN_TIMEOUT = timedelta(seconds=100)
"""Time that processes have to find each other."""
TIMEOUT = timedelta(hours=12)
"""Longest wait for another process: all wait while the main process validates."""


class World(NamedTuple):
    """This process among all that train together."""

    rank: int = 0
    size: int = 1
    """Number of processes."""
    local_rank: int = 0
    """Rank among the processes of this machine."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that validates, writes the files and shows progress."""
        return self.rank == 0


def find_world() -> World:
    """This process as torchrun describes it in the environment; a single one without torchrun."""
    defaults = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    return World(*(int(os.environ.get(name, default)) for name, default in defaults.items()))


def restarts() -> int:
    """How many times torchrun has restarted the processes because one was lost (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def find_device(name: str = "auto") -> torch.device:
    """The device to train on.

    Args:
        name: ``auto`` (CUDA if available, otherwise the processor), ``cpu``, ``cuda`` or ``cuda:N``. ``cuda`` is the
            first GPU, or with several processes each one's own.

    Raises:
        ConfigError: the name is not one of these, or there is no such GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}; give auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        device = torch.device("cuda", find_world().local_rank if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise ConfigError(f"device is {name!r}, but this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def backends(device: torch.device) -> str:
    """Communication backends: Gloo for tensors on the processor, and NCCL for those on a GPU."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Joins the processes that torchrun started, until the context ends.

    All leave together: an interpreter that exits while a thread of Gloo still releases a tensor is aborted.
    """
    world = find_world()
    if world.size == 1:
        yield world
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, size = next(dist.rendezvous("env://", timeout=JOIN_TIMEOUT))
    store = dist.PrefixStore(f"restart {restarts()}", store)  # torchrun keeps its store, with all keys, over restarts
    dist.init_process_group(backends(device), store=store, rank=rank, world_size=size, timeout=JOIN_TIMEOUT)
    distributed_c10d._set_pg_timeout(TIMEOUT)  # there is no public function
    try:
        yield world
        dist.barrier()  # not after an error: the others may wait elsewhere until torchrun stops them
    finally:
        dist.destroy_process_group()


def process_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def total(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, without a gradient."""
    return _reduced(values, dist.ReduceOp.SUM)


def maximum(values: Tensor) -> Tensor:
    """The elementwise maximum of `values` over all processes, without a gradient."""
    return _reduced(values, dist.ReduceOp.MAX)


def _reduced(values: Tensor, operation: Any) -> Tensor:
    if process_count() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values, operation)
    return values


def all_agree(flag: bool) -> bool:
    """Whether `flag` is the same in all processes."""
    return float(total(torch.tensor(float(flag)))) in (0.0, float(process_count()))
