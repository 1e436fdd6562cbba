"""One process or many (torchrun): rank, device, and sums over processes; in one process all of it does nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import distributed_c10d

from hyperstem.errors import ConfigError

JOINING = timedelta(seconds=100)
"""How long processes wait to find each other."""
PATIENCE = timedelta(hours=12)
"""How long a process waits for another: the leading one validates while the others wait."""


class World(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks for all."""
        return self.rank == 0


def world() -> World:
    """The processes as torchrun describes them in the environment; one where it does not."""
    return World(
        *(int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    )


def restarted() -> bool:
    """Whether torchrun started this process anew after one of its processes was lost (``--max-restarts``)."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def find_device(name: str = "auto") -> torch.device:
    """The device to train on.

    Args:
        name: ``auto`` (CUDA where there is one, else the processor) or a torch device such as ``cpu`` or ``cuda:1``.
            With several processes a bare ``cuda`` becomes each process's own card.

    Raises:
        ConfigError: the name is no device, or the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is {name!r}; give auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}; give auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        device = torch.device("cuda", world().local_rank if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise ConfigError(f"device is {name!r}, but this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def backends(device: torch.device) -> str:
    """What carries sums between processes: Gloo those of the processor, NCCL those of a graphics card beside it."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


@contextmanager
def launched(device: torch.device) -> Iterator[World]:
    """Joins the processes that torchrun started, for as long as the context lasts.

    They leave together: one that ends its interpreter while a thread of Gloo still lets go of a tensor is aborted.
    """
    here = world()
    if here.size == 1:
        yield here
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, size = next(dist.rendezvous("env://", timeout=JOINING))
    store = dist.PrefixStore(f"restart {_restarts()}", store)  # torchrun's store outlives a restart, and so do its keys
    dist.init_process_group(backends(device), store=store, rank=rank, world_size=size, timeout=JOINING)
    distributed_c10d._set_pg_timeout(PATIENCE)  # (there is no public name for it)
    try:
        yield here
        dist.barrier()  # not after an error: the others may wait elsewhere, until torchrun ends them
    finally:
        dist.destroy_process_group()


def _many() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def total(values: Tensor) -> Tensor:
    """The sum of `values` over all processes; no gradient passes through it."""
    if not _many():
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _many() else 1


def unanimous(value: bool) -> bool:
    """Whether all processes say the same."""
    return float(total(torch.tensor(float(value)))) in (0.0, float(processes()))


def largest(values: Tensor) -> Tensor:
    """The elementwise maximum of `values` over all processes."""
    if not _many():
        return values
    values = values.detach().clone()
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values
