"""Figures for Prometheus: requests, songs, disk, and this process."""

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


class _Songs(Collector):
    """Reads the figures of a runner when they are asked for."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        runner, storage = self._runner, self._runner.storage
        states: Counter[str] = Counter(job.state for job in runner.jobs)
        yield _by_state(GaugeMetricFamily("hyperstem_jobs", "Songs that are there now.", labels=["state"]), states)
        ended = CounterMetricFamily("hyperstem_jobs_ended", "Songs that ended since the start.", labels=["state"])
        yield _by_state(ended, runner.ended)
        yield CounterMetricFamily("hyperstem_separated_seconds", "Length of the songs separated.", runner.separated_s)
        yield CounterMetricFamily("hyperstem_separating_seconds", "Time that they took.", runner.separating_s)
        gauges = {
            "hyperstem_uploads": ("Uploads that are coming in.", runner.uploading),
            "hyperstem_listeners": ("Pages and scripts that follow events.", runner.listeners),
            "hyperstem_downloads_waiting": ("Downloads that are being made or wait.", runner.mixes.waiting),
            "hyperstem_disk_held_bytes": ("Disk space held for songs.", storage.ledger.total),
            "hyperstem_disk_quota_bytes": ("Disk space that songs may take.", storage.ledger.quota_bytes),
            "hyperstem_disk_free_bytes": ("Free space on the disk.", shutil.disk_usage(storage.jobs.folder).free),
        }
        for name, (words, value) in gauges.items():
            yield GaugeMetricFamily(name, words, value)


def _by_state(family: GaugeMetricFamily | CounterMetricFamily, counts: Counter[str]) -> Metric:
    for state in STATES:
        family.add_metric([state], counts[state])
    return family


class Metrics:
    """The figures of one studio."""

    def __init__(self, runner: Runner) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Songs(runner))
        ProcessCollector(registry=self._registry)
        self._requests = CounterMetric(
            "hyperstem_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._first_byte = HistogramMetric(
            "hyperstem_http_first_byte_seconds",
            "Time until an answer began.",
            ["route"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def count(self, scope: Scope, status: int, first_s: float | None) -> None:
        """Takes in one request, by the route below /api/v1 that it met: addresses themselves would be without end."""
        path = getattr(scope.get("route"), "path", "")
        route = path.removeprefix("/api").removeprefix("/v1") or "other"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        if first_s is not None:
            self._first_byte.labels(route).observe(first_s)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
