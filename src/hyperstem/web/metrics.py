"""Metrics for Prometheus: requests, songs, disk, and this process."""

import shutil
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client import Histogram as HistogramMetric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hyperstem.web.guard import Scope
from hyperstem.web.jobs.runner import Runner

METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 60.0)
STATES = ("queued", "running", "done", "failed", "cancelled")


class _RunnerCollector(Collector):
    """Reads a runner's metrics on request."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        runner, storage = self._runner, self._runner.storage
        states: Counter[str] = Counter(job.state for job in runner.jobs)
        yield _by_state(GaugeMetricFamily("hyperstem_jobs", "Songs in the list.", labels=["state"]), states)
        ended = CounterMetricFamily(
            "hyperstem_jobs_ended", "Songs that ended since the studio started.", labels=["state"]
        )
        yield _by_state(ended, runner.ended)
        yield CounterMetricFamily("hyperstem_separated_seconds", "Length of the separated songs.", runner.separated_s)
        yield CounterMetricFamily("hyperstem_separating_seconds", "Time spent on separation.", runner.separating_s)
        gauges = {
            "hyperstem_uploads": ("Uploads in progress.", runner.uploading),
            "hyperstem_listeners": ("Clients that follow events.", len(runner.subscribers)),
            "hyperstem_downloads_waiting": ("Downloads in the queue.", runner.downloads.waiting),
            "hyperstem_disk_held_bytes": ("Disk space reserved for songs.", storage.ledger.total),
            "hyperstem_disk_quota_bytes": ("Disk quota of all songs.", storage.ledger.quota_bytes),
            "hyperstem_disk_free_bytes": ("Free space on the disk.", shutil.disk_usage(storage.jobs.folder).free),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)


def _by_state(family: GaugeMetricFamily | CounterMetricFamily, counts: Counter[str]) -> Metric:
    for state in STATES:
        family.add_metric([state], counts[state])
    return family


class Metrics:
    """The metrics of one studio."""

    def __init__(self, runner: Runner) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_RunnerCollector(runner))
        ProcessCollector(registry=self._registry)
        labels = ["method", "route", "status"]
        self._requests = CounterMetric("hyperstem_http_requests", "Requests.", labels, registry=self._registry)
        name, text = "hyperstem_http_first_byte_seconds", "Time to the first byte of the response."
        self._first_byte = HistogramMetric(name, text, ["route"], buckets=BUCKETS_S, registry=self._registry)

    def count(self, scope: Scope, status: int, first_s: float | None) -> None:
        """Counts one request by its route below /api/v1; addresses would give an unlimited number of series."""
        path = getattr(scope.get("route"), "path", "")
        route = path.removeprefix("/api").removeprefix("/v1") or "other"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        if first_s is not None:
            self._first_byte.labels(route).observe(first_s)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
