"""Workers on Ray: as many actors as the cluster's cores or GPUs allow, each on a known machine."""

import contextlib
import math
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from hyperstem.cluster.ray_session import request_cores, require_ray, signal_handlers_kept, start
from hyperstem.cluster.schedule import Turn
from hyperstem.cluster.worker import Job, Worker
from hyperstem.errors import ClusterError

DEPTH = 2
"""Songs in progress per worker: one is downloaded or uploaded while another is separated."""
_LOOK_S = 2.0
"""Interval at which machines, which come and go, are counted."""
_STOP_S = 15.0


class Ended(NamedTuple):
    """A turn that has ended."""

    turn: Turn
    node: str
    record: dict[str, Any] | None
    """None if the worker was lost."""


@dataclass
class Member:
    """One worker."""

    actor: Any
    node: str
    loading: Any
    """The call that loads the model, until it has returned; then None."""
    turns: dict[Any, Turn] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether it can take another song."""
        alone = any(turn.alone for turn in self.turns.values())
        return self.loading is None and not alone and len(self.turns) < DEPTH


class Fleet:
    """Starts Ray on this machine or joins a cluster, and manages workers there until it is closed.

    Args:
        address: "local", "auto" (the cluster that this machine belongs to) or HOST:PORT.
        job: the work of the workers.
        most: most workers in total; None for as many as there is room for. A cluster that can scale is asked to.

    Raises:
        ClusterError: there is no such cluster.
    """

    def __init__(self, address: str, job: Job, most: int | None = None) -> None:
        require_ray()
        self._job, self._most = job, most
        self._members: list[Member] = []
        self._bad: dict[str, str] = {}
        self._looked, self._counted = -math.inf, time.monotonic()
        self.core_s = 0.0
        """Core-seconds that workers have used."""
        with signal_handlers_kept():
            self._folder = start(address)
        self._asked = bool(most) and address != "local"
        if self._asked:
            request_cores((most or 0) * job.threads)

    def adjust(self, waiting: int) -> None:
        """Adjusts the number of workers to the room and the songs there are, and drops those of lost machines.

        Raises:
            ClusterError: no machine can load the model.
        """
        now = time.monotonic()
        self.core_s += (now - self._counted) * len(self._members) * self._job.threads
        self._counted = now
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        room = self._rooms()
        for member in [member for member in self._members if member.node not in room and not member.turns]:
            self._drop(member)
        if self._bad and room.keys() <= self._bad.keys():
            raise ClusterError("no worker can load the model: " + next(iter(self._bad.values())))
        under_way = sum(len(member.turns) for member in self._members)
        wanted = min(self._most or sum(room.values()), waiting + under_way)
        taken = Counter(member.node for member in self._members)
        for _ in range(wanted - len(self._members)):
            free = {node: places - taken[node] for node, places in room.items() if node not in self._bad}
            node = max(free, key=free.__getitem__, default=None)
            if node is None or free[node] < 1:
                return
            taken[node] += 1
            self._members.append(self._started(node))

    def _rooms(self) -> dict[str, int]:
        """Number of workers that each live machine has room for."""
        import ray

        cards = self._job.device == "cuda"
        rooms = {}
        for node in ray.nodes():
            resources = node["Resources"]
            places = int(resources.get("CPU", 0) // self._job.threads)
            if node["Alive"]:
                rooms[node["NodeID"]] = min(places, int(resources.get("GPU", 0))) if cards else places
        return {node: places for node, places in rooms.items() if places}

    def _started(self, node: str) -> Member:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kind: Any = ray.remote(Worker).options(
            num_cpus=self._job.threads,
            num_gpus=int(self._job.device == "cuda"),
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=DEPTH + 1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        actor: Any = kind.remote(self._job)
        return Member(actor, node, actor.load.remote())

    @property
    def members(self) -> list[Member]:
        """All workers."""
        return self._members

    @property
    def busy(self) -> bool:
        """Whether a song is in progress."""
        return any(member.turns for member in self._members)

    @property
    def nodes(self) -> set[str]:
        """Machines with workers that have loaded the model."""
        return {member.node for member in self._members if member.loading is None}

    def submit(self, member: Member, turn: Turn) -> None:
        """Gives a worker a song."""
        member.turns[member.actor.separate.remote(turn.song)] = turn

    def wait(self, timeout_s: float) -> list[Ended]:
        """Waits until some turns have ended, or until the timeout, and returns them."""
        import ray

        awaited = {ref: member for member in self._members for ref in member.turns}
        awaited |= {member.loading: member for member in self._members if member.loading is not None}
        if not awaited:
            time.sleep(timeout_s)
            return []
        refs = list(awaited)
        if ray.wait(refs, timeout=timeout_s)[0]:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
            return [ended for ref in ready for ended in self._settled(awaited[ref], ref)]
        return []

    def _settled(self, member: Member, ref: Any) -> list[Ended]:
        import ray

        try:
            value = ray.get(ref)
        except ray.exceptions.RayError:
            return self._lost(member)
        if ref is member.loading:
            member.loading = None
            if value:
                self._bad[member.node] = value
                self._drop(member)
            return []
        turn = member.turns.pop(ref, None)
        return [Ended(turn, member.node, value)] if turn else []

    def _lost(self, member: Member) -> list[Ended]:
        """All songs of a worker: it is not used again after a failed call."""
        turns, member.turns = list(member.turns.values()), {}
        self._drop(member)
        return [Ended(turn, member.node, None) for turn in turns]

    def _drop(self, member: Member) -> None:
        import ray

        self._looked = -math.inf  # so that another one may replace it at once
        if member in self._members:
            self._members.remove(member)
        with contextlib.suppress(Exception):
            ray.kill(member.actor)

    def close(self) -> None:
        """Ends the workers, which remove unfinished files, and Ray if it was started here."""
        import ray

        with contextlib.suppress(Exception):
            under_way = [ref for member in self._members for ref in member.turns]
            for member in self._members:
                member.actor.stop.remote()
            if under_way:
                ray.wait(under_way, num_returns=len(under_way), timeout=_STOP_S)
        for member in list(self._members):
            self._drop(member)
        if self._asked:
            request_cores(0)  # the cluster may shrink again
        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
