"""Progress of a job, and the time it still needs."""

import time
from collections import deque

SHARES = {"decoding": (0.0, 0.04), "preview": (0.04, 0.2), "separating": (0.2, 0.98), "finishing": (0.98, 1.0)}
"""Progress at the start and at the end of each phase."""


class EtaEstimator:
    """Estimates the time left from recent progress."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=40)

    def remaining_s(self, progress: float) -> float | None:
        """Seconds until progress 1.0, or None if it is too early for an estimate."""
        now = time.monotonic()
        self._points.append((now, progress))
        then, before = self._points[0]
        if progress - before < 1e-3 or now - then < 0.5:
            return None
        return round((1 - progress) * (now - then) / (progress - before), 1)


def overall(phase: str, done_s: float, total_s: float | None) -> float:
    """Progress of the job, 0 to 1, when `done_s` of `total_s` seconds of a phase are done."""
    start, end = SHARES[phase]
    return start + (end - start) * min(1.0, done_s / total_s if total_s else 0.0)
