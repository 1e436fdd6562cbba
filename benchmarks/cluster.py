"""Catalogues on Ray against one process: ``python benchmarks/cluster.py [--songs 12] [--seconds 60] [--write]``.

The same songs are separated with `--jobs` in one process and with workers of Ray, one for each core, in turns, both
with the model already loaded: hours of sound per core-hour of each, by the clock and by processor time (of all of Ray's
processes, which is what a machine with nothing else to do would take), and the share that Ray keeps. Then the same on
machines that `ray.cluster_utils` simulates with one core each, from one to as many as there are cores. What a million
songs cost is computed from it for a price per core-hour.

With ``--ray-data`` the workers are compared with the same work as a Ray Data pipeline, both with the time to start
workers and load models (Ray Data needs pandas).
"""

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from _results import machine, write_section
from speed import make_song

from hyperstem import audio
from hyperstem.cluster.fleet import Fleet
from hyperstem.cluster.records import Records
from hyperstem.cluster.register import Song
from hyperstem.cluster.run import Totals, separate
from hyperstem.cluster.worker import Job, Worker
from hyperstem.parallel import cores
from hyperstem.separation import batch
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.separator import Separator
from hyperstem.separation.tasks import BatchSettings


class Took(NamedTuple):
    """What a run took, in seconds."""

    clock: float
    cpu: float


def cpu_s() -> float:
    """Processor time of this process and all that descend from it, as far as they live."""
    times, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            times[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ours(pid: int) -> bool:
        while pid not in (0, os.getpid()):
            pid = parents.get(pid, 0)
        return pid != 0

    return sum(time_s for pid, time_s in times.items() if ours(pid))


@contextlib.contextmanager
def timed(took: list[Took]) -> Iterator[None]:
    begun, cpu = time.perf_counter(), cpu_s()
    yield
    took.append(Took(time.perf_counter() - begun, cpu_s() - cpu))


def registered(path: str | Path) -> Song:
    """A song as a worker takes it."""
    return Song(str(path), "", Path(path).stem, 1.0)


class Bench:
    """Songs in a folder, and the ways to separate them."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.quality, self.model = folder, args.quality, args.model
        song = folder / "in" / "0.mp3"
        song.parent.mkdir()
        make_song(song, args.seconds)
        self.songs = [song, *(shutil.copy(song, song.with_name(f"{number}.mp3")) for number in range(1, args.songs))]
        self.settings = BatchSettings(folder / "out", OutputSettings(audio.named_format("wav")), existing="overwrite")
        self.separator = Separator.load(self.model, self.quality, threads=cores())

    def in_one_process(self) -> Took:
        """`--jobs` on all cores."""
        settings = replace(self.settings, jobs=cores())
        tasks = batch.plan(self.songs, settings, self.separator.stems)
        took: list[Took] = []
        with timed(took):
            results = batch.run(self.separator, tasks, settings, lambda _: None)
        if any(result.status != "done" for result in results):
            raise SystemExit(str(results))
        return took[0]

    def on(self, fleet: Fleet) -> Took:
        """A fleet that stands ready."""
        songs = [registered(song) for song in self.songs]
        totals = Totals()
        took: list[Took] = []
        with timed(took):
            separate(fleet, songs, Records(str(self.folder / "out")), lambda _: None, totals)
        if totals.songs["done"] != len(songs):
            raise SystemExit(totals.table())
        return took[0]

    @contextlib.contextmanager
    def fleet(self, address: str, workers: int) -> Iterator[Fleet]:
        """Workers that have their models."""
        job = Job(self.model, self.settings, str(self.settings.folder), quality=self.quality)
        with Fleet(address, job, workers) as fleet:
            while len([member for member in fleet.members if member.loading is None]) < workers:
                fleet.adjust(workers)
                fleet.wait(0.5)
            yield fleet


class DataWorker:
    """A worker as Ray Data calls it."""

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)
        self._worker.load()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        record = self._worker.separate(registered(row["item"]))
        return {"status": record["status"] if record else "stopped"}


def against_ray_data(bench: Bench, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds by the clock of our workers and of Ray Data's, in turns, each started anew on a Ray that runs already."""
    import ray

    job = Job(bench.model, bench.settings, str(bench.settings.folder), quality=bench.quality)
    files = [str(song) for song in bench.songs]
    ours, theirs = [], []
    for _ in range(rounds + 1):  # the first round is not counted
        with simulated(cores()) as address:
            begun = time.perf_counter()
            with bench.fleet(address, cores()) as fleet:
                bench.on(fleet)
            ours.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            ray.init(address, log_to_driver=False)
            songs = ray.data.from_items(files, override_num_blocks=len(files))
            pool = ray.data.ActorPoolStrategy(size=cores())
            rows = songs.map(DataWorker, fn_constructor_args=(job,), compute=pool, num_cpus=1).take_all()
            ray.shutdown()
            theirs.append(time.perf_counter() - begun)
        if [row["status"] for row in rows] != ["done"] * len(files):
            raise SystemExit(str(rows))
    return ours[1:], theirs[1:]


@contextlib.contextmanager
def simulated(nodes: int) -> Iterator[str]:
    """The address of a cluster of so many machines with one core each."""
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**small)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def against_jobs(bench: Bench, rounds: int) -> list[tuple[Took, Took]]:
    """One process and Ray, in turns, so that both meet the same machine."""
    with bench.fleet("local", cores()) as fleet:
        bench.on(fleet), bench.in_one_process()
        return [(bench.in_one_process(), bench.on(fleet)) for _ in range(rounds)]


def scaling(bench: Bench, nodes: int, rounds: int) -> list[Took]:
    """Medians for 1, 2, ... machines."""
    times = []
    for count in range(1, nodes + 1):
        with simulated(count) as address, bench.fleet(address, count) as fleet:
            bench.on(fleet)
            times.append(median([bench.on(fleet) for _ in range(rounds)]))
    return times


def median(took: list[Took]) -> Took:
    return Took(*(statistics.median(column) for column in zip(*took, strict=True)))


def report(args: argparse.Namespace, most: int, pairs: list[tuple[Took, Took]], nodes: list[Took]) -> str:
    sound_s = args.songs * args.seconds  # hours of sound per core-hour are this over the time of a core
    jobs, ray = (median(list(way)) for way in zip(*pairs, strict=True))
    shares = sorted(one.cpu / many.cpu for one, many in pairs)
    hours = 1e6 * args.minutes / 60 / (sound_s / ray.cpu)
    lines = [
        f"`python benchmarks/cluster.py --songs {args.songs} --seconds {args.seconds:g} --rounds {args.rounds} "
        f"--quality {args.quality}` on {machine()}, which other work kept busy: processor time is what counts.",
        "",
        "| | clock | processor | hours of sound per core-hour, by processor time |",
        "|---|---:|---:|---:|",
        f"| one process, `--jobs {most}` | {jobs.clock:.1f} s | {jobs.cpu:.1f} s | {sound_s / jobs.cpu:.1f} |",
        f"| Ray, {most} workers | {ray.clock:.1f} s | {ray.cpu:.1f} s | {sound_s / ray.cpu:.1f} |",
        "",
        f"Ray keeps {statistics.median(shares):.0%} (median of {len(shares)} pairs, {shares[0]:.0%} to "
        f"{shares[-1]:.0%}).",
        "",
        "| simulated machines of one core | clock | processor | of one machine's processor time |",
        "|---:|---:|---:|---:|",
        *(
            f"| {count} | {took.clock:.1f} s | {took.cpu:.1f} s | {took.cpu / nodes[0].cpu:.2f} |"
            for count, took in enumerate(nodes, 1)
        ),
        "",
        f"A million songs of {args.minutes:g} minutes take {hours:,.0f} core-hours: at {args.price:g} a core-hour, "
        f"{hours * args.price:,.0f}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quality", default="full")
    parser.add_argument("--model", default="default")
    parser.add_argument("--minutes", type=float, default=4.0, help="length of a catalogue's song")
    parser.add_argument("--price", type=float, default=0.02, help="of a core-hour")
    parser.add_argument("--write", action="store_true", help="put the figures into RESULTS.md")
    parser.add_argument("--ray-data", action="store_true", help="compare with Ray Data, and nothing else")
    args = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    most = cores()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args)
        if args.ray_data:
            for name, took_s in zip(("workers", "Ray Data"), against_ray_data(bench, args.rounds), strict=True):
                print(f"{name}: {statistics.median(took_s):.1f} s ({min(took_s):.1f} to {max(took_s):.1f})")
            return
        pairs = against_jobs(bench, args.rounds)
        times = scaling(bench, most, args.rounds)
    text = report(args, most, pairs, times)
    if args.write:
        write_section("Catalogues on Ray (cluster.py)", text)
    print(text)


if __name__ == "__main__":
    main()
