"""What jobs take up on disk, what they may yet take up, and the deletion of what the studio made, and nothing else."""

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
"""While a song is separated there are a preview, the better take and the file of each stem."""
UPLOAD, LOG = "upload", "log.txt"


class Ledger:
    """The disk quota: bytes that each job takes up or has been promised."""

    def __init__(self, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self.total = 0
        self._bytes: dict[str, int] = {}

    def get(self, job_id: str) -> int:
        """What is held for that job."""
        return self._bytes.get(job_id, 0)

    def set(self, job_id: str, count: int) -> None:
        """Holds `count` bytes for that job, 0 for none."""
        self.total += count - self._bytes.pop(job_id, 0)
        if count:
            self._bytes[job_id] = count

    def excess(self, job_id: str, count: int) -> int:
        """By how much the quota would be passed if `count` bytes were held for that job."""
        return self.total - self.get(job_id) + count - self.quota_bytes


def used_bytes(folder: Path) -> int:
    """Bytes of all files in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  (thousands of files)
    return total


def full_size(job: Job, folder: Path, quota_bytes: int) -> int:
    """Bytes that `job`'s folder will hold at most while it is separated, once its length is known.

    Raises:
        AudioError: more than the quota holds.
    """
    lanes = 1 + LANES_PER_STEM * max(len(job.stems), USUAL_STEMS)
    needed = (job.frames or 0) * (job.channels or 1) * 2 * lanes
    if needed > quota_bytes:
        raise AudioError(
            f"separating this song takes {needed / 2**30:.1f} GiB on disk; the studio's quota is "
            f"{quota_bytes / 2**30:.1f} GiB"
        )
    source = folder / f"source{job.suffix}"
    kept = source.stat().st_size if source.exists() else 0
    return max(kept + needed, used_bytes(folder))


def delete_separated(job: Job, folder: Path) -> None:
    """Deletes all that was made of a song; the song itself stays."""
    _delete(folder, _separated(job))
    delete_mixes(folder)


def delete_mixes(folder: Path, kept: Collection[str] = ()) -> None:
    """Deletes the downloads that were made of a song, but for those of the keys `kept`."""
    for path in _listed(folder / MIXES):
        if re.fullmatch("[0-9a-f]{16}", path.name) and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
    _tidy(folder / MIXES)


def delete_takes(job: Job, folder: Path, takes: Iterable[str]) -> None:
    """Deletes those takes."""
    _delete(folder, [name for take in takes for name in _take(job, take)])


def delete_job(job: Job, folder: Path) -> None:
    """Deletes all that the studio keeps of a job, job.json last; a folder with files of somebody else's stays."""
    delete_separated(job, folder)
    _delete(folder, [f"source{job.suffix}", UPLOAD, LOG])
    _delete(folder, [JOB_FILE])


def _separated(job: Job) -> Iterator[str]:
    for take in (ORIGINAL, *QUALITIES):
        yield from _take(job, take)
    for folder in (STEMS, PART):
        yield from (f"{folder}/{stem}.wav" for stem in job.stems)
        yield f"{folder}/{MANIFEST}"
    yield ANALYSIS


def _take(job: Job, take: str) -> Iterator[str]:
    yield from (f"{TAKES}/{take}/{lane}{ending}" for lane in (ORIGINAL, *job.stems) for ending in (".s16", ".peaks"))


def _delete(folder: Path, names: Iterable[str]) -> None:
    """Deletes those files, temporary ones beside them, and the folders that are empty then."""
    paths = [folder / name for name in names]
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    for place in sorted({path.parent for path in paths} | {folder / TAKES}, reverse=True):
        _tidy(place)


def _tidy(folder: Path) -> None:
    """Deletes what a killed process left in a folder, and the folder if that leaves it empty."""
    with contextlib.suppress(OSError):
        for left in folder.glob(TEMPORARY):
            left.unlink()
        folder.rmdir()


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
