"""What jobs take up on disk."""

import contextlib
from pathlib import Path

from hyperstem.errors import AudioError
from hyperstem.web.jobs.store import Job

USUAL_STEMS = 4
LANES_PER_STEM = 3
"""While a song is separated there are a preview, the better take and the file of each stem."""


def used_bytes(folder: Path) -> int:
    """Bytes of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def still_needed(job: Job, folder: Path, quota_bytes: int) -> int:
    """Bytes that separating `job` will still write into its folder, once its length is known.

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
    return max(0, needed - used_bytes(folder))
