"""Disk usage of jobs, and deletion of the files that the studio created, and no others."""

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hyperstem.errors import AudioError
from hyperstem.files import TEMPORARY
from hyperstem.separation.quality import QUALITIES
from hyperstem.web.jobs.store import JOB_FILE, Job
from hyperstem.web.sound.takes import ANALYSIS, MANIFEST, MIXES, ORIGINAL, PART, STEMS, TAKES

USUAL_STEMS = 4
LANES_PER_STEM = 3
"""During separation each stem has a preview, the final take and its output file."""
UPLOAD, LOG = "upload", "log.txt"


class Ledger:
    """The disk quota: bytes that each job uses or has reserved."""

    def __init__(self, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self.total = 0
        self._bytes: dict[str, int] = {}

    def get(self, job_id: str) -> int:
        """Bytes reserved for a job."""
        return self._bytes.get(job_id, 0)

    def set(self, job_id: str, count: int) -> None:
        """Reserves `count` bytes for a job; 0 releases them."""
        self.total += count - self._bytes.pop(job_id, 0)
        if count:
            self._bytes[job_id] = count

    def excess(self, job_id: str, count: int) -> int:
        """Bytes above the quota if the job reserved `count`; negative if there is room."""
        return self.total - self.get(job_id) + count - self.quota_bytes


def used_bytes(folder: Path) -> int:
    """Bytes of all files in a folder; files that vanish meanwhile count 0."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  (thousands of files)
    return total


def needed_bytes(job: Job, folder: Path, quota_bytes: int) -> int:
    """Largest size of the job's folder during separation, once its length is known.

    Raises:
        AudioError: more than the quota.
    """
    lanes = 1 + LANES_PER_STEM * max(len(job.stems), USUAL_STEMS)
    needed = (job.frames or 0) * (job.channels or 1) * 2 * lanes
    if needed > quota_bytes:
        raise AudioError(
            f"separating this song needs {needed / 2**30:.1f} GiB on disk; the studio's quota is "
            f"{quota_bytes / 2**30:.1f} GiB"
        )
    source = folder / f"source{job.suffix}"
    upload = source.stat().st_size if source.exists() else 0
    return max(upload + needed, used_bytes(folder))


def delete_results(job: Job, folder: Path) -> None:
    """Deletes everything made from a song, but not the song itself."""
    _delete(folder, _result_files(job))
    delete_downloads(folder)


def delete_downloads(folder: Path, kept: Collection[str] = ()) -> None:
    """Deletes a song's rendered downloads, except those with the keys `kept`."""
    with contextlib.suppress(OSError):
        for path in list((folder / MIXES).iterdir()):
            if re.fullmatch("[0-9a-f]{16}", path.name) and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
    _remove_if_empty(folder / MIXES)


def delete_takes(job: Job, folder: Path, takes: Iterable[str]) -> None:
    """Deletes those takes."""
    _delete(folder, [name for take in takes for name in _take_files(job, take)])


def delete_job(job: Job, folder: Path) -> None:
    """Deletes a job's files, job.json last; a folder that contains other files stays."""
    delete_results(job, folder)
    _delete(folder, [f"source{job.suffix}", UPLOAD, LOG])
    _delete(folder, [JOB_FILE])


def _result_files(job: Job) -> Iterator[str]:
    for take in (ORIGINAL, *QUALITIES):
        yield from _take_files(job, take)
    for folder in (STEMS, PART):
        yield from (f"{folder}/{stem}.wav" for stem in job.stems)
        yield f"{folder}/{MANIFEST}"
    yield ANALYSIS


def _take_files(job: Job, take: str) -> Iterator[str]:
    yield from (f"{TAKES}/{take}/{lane}{ending}" for lane in (ORIGINAL, *job.stems) for ending in (".s16", ".peaks"))


def _delete(folder: Path, names: Iterable[str]) -> None:
    """Deletes those files, temporary ones beside them, and the folders that become empty."""
    paths = [folder / name for name in names]
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    for place in sorted({path.parent for path in paths} | {folder / TAKES}, reverse=True):
        _remove_if_empty(place)


def _remove_if_empty(folder: Path) -> None:
    """Deletes temporary files of killed processes, then the folder if it is empty."""
    with contextlib.suppress(OSError):
        for path in folder.glob(TEMPORARY):
            path.unlink()
        folder.rmdir()
