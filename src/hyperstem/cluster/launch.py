"""Sets up a run over a catalogue: what to separate, where to, and on which machines."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperstem.cluster import catalogue, objects, records, run
from hyperstem.cluster.fleet import Fleet
from hyperstem.cluster.register import Register
from hyperstem.cluster.run import Totals
from hyperstem.cluster.worker import Job
from hyperstem.files import remove_leftovers_below
from hyperstem.separation.sharding import WHOLE, Shard


@dataclass(frozen=True)
class Launch:
    """Where a run's songs come from, and where it runs."""

    sources: Iterable[str]
    """Paths and URLs of songs, of folders and prefixes with songs, and of manifests."""
    stems: tuple[str, ...]
    """Names of the model's stems."""
    listed: Iterable[str] = ()
    """More of them, from a list, which is read lazily."""
    root: str | None = None
    """Songs keep their folders relative to it; None is the source, or the current folder for songs from the list."""
    shard: Shard = WHOLE
    address: str = "local"
    """"local", "auto" or HOST:PORT: see `Fleet`."""
    workers: int | None = None
    """Most workers; None for as many as there is room for."""
    kind: records.Kind = "jsonl"
    """File format of the records."""


def separate_catalogue(launch: Launch, job: Job, report: Callable[[dict[str, Any]], None], totals: Totals) -> None:
    """Separates all songs of a catalogue; songs done by earlier runs into the same destination are skipped.

    Args:
        launch: which songs, and on which machines.
        job: what to do with each.
        report: called with each song's record.
        totals: counts the results, also if the run is aborted.

    Raises:
        ConfigError: the template cannot name many songs, or a URL cannot be read or written.
        ClusterError: there is no cluster, no worker, or no disk space.
        OSError: records cannot be read or written.
    """
    if objects.is_url(job.destination):
        objects.check(job.destination, writable=True)
    else:
        remove_leftovers_below(Path(job.destination))
    with Register(job.settings, launch.stems) as register:
        if job.settings.existing == "skip":
            register.remember(records.earlier(job.destination))
        here = launch.root or str(Path.cwd())
        listing = itertools.chain(
            catalogue.songs(launch.sources, launch.root, job.destination),
            catalogue.songs(launch.listed, here, job.destination),
        )
        songs = register.named(listing, launch.shard)
        if job.settings.existing == "overwrite":
            songs = run.outside(songs, job.destination)
        with Fleet(launch.address, job, launch.workers) as fleet:
            run.separate(fleet, songs, records.Records(job.destination, launch.kind), report, totals)
