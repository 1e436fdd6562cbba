"""What the tests of catalogues share: a small model in a file, songs, and a run over them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hyperstem import audio
from hyperstem.cluster.launch import Launch, separate_catalogue
from hyperstem.cluster.run import Totals
from hyperstem.cluster.worker import Job
from hyperstem.models.export import export
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.tasks import BatchSettings
from networks import TINY, small_network
from separation_standin import noise

STEMS = TINY.stems


def save_model(folder: Path) -> str:
    """A network that separates badly and fast."""
    path = folder / "tiny.onnx"
    export(small_network(config=TINY), path)
    return str(path)


def save_songs(folder: Path, names: Sequence[str], seconds: float = 1.0) -> list[str]:
    """Short songs that differ."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, noise(1, round(8000 * seconds) + seed, seed=seed), 8000)
    return [str(folder / name) for name in names]


def job(model: str, destination: str | Path, existing: str = "skip", **changes: Any) -> Job:
    settings = BatchSettings(Path(destination), OutputSettings(audio.named_format("wav")), existing=existing)
    return Job(model, settings, str(destination), **changes)


def run(
    job: Job, sources: Sequence[str], report: Callable[[dict[str, Any]], None] | None = None, **launch: Any
) -> tuple[list[dict[str, Any]], Totals]:
    """Separates the sources; gives all records and what was counted."""
    records: list[dict[str, Any]] = []

    def keep(record: dict[str, Any]) -> None:
        records.append(record)
        if report:
            report(record)

    totals = Totals()
    separate_catalogue(Launch(sources, STEMS, **launch), job, keep, totals)
    return records, totals


def workers() -> list[int]:
    """Processes of workers on this machine, whoever started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::Worker") and _is_ours(int(folder.name)):
            found.append(int(folder.name))
    return found


def _is_ours(pid: int) -> bool:
    """Whether a process descends from this one."""
    while pid > 1 and pid != os.getpid():
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            return False
    return pid == os.getpid()
