"""A Prometheus endpoint for one worker process.

Every worker serves its own port, the first --metrics-port and the others the ports after it: a
worker that hangs or dies is then seen as such by the scraper, a worker started again keeps its
port, and nothing has to carry numbers between processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlffdb.errors import ConfigError, MlffdbError
from mlffdb_workers.observer import Observer

#: Buckets of batch sizes, tasks.
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
#: Buckets of times, s.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class MetricsPortError(MlffdbError):
    """The port is taken, or the address is not this machine's."""


def require_client() -> None:
    """Raise ConfigError if prometheus_client is not installed."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--metrics-port needs prometheus-client; install it by pip install 'mlffdb[metrics]'"
        ) from None


class MetricsObserver(Observer):
    """Keeps a worker's numbers in a registry of its own."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            Info,
            ProcessCollector,
        )

        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        info = Info("mlffdb_worker", "What this worker is", registry=registry)
        info.info({key: str(value) for key, value in facts.items() if value is not None})

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"mlffdb_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"mlffdb_{name}", text, buckets=buckets, registry=registry)

        self.claimed = counter("tasks_claimed", "Tasks leased")
        self.done = counter("tasks_done", "Tasks completed")
        self.failed = counter(
            "tasks_failed", "Tasks that did not succeed, by reason; retried ones too", "code"
        )
        self.late = counter("tasks_late", "Results refused because the lease was lost")
        self.batches = counter("batches", "Batches computed")
        self.phases = counter("phase_seconds", "Time by phase; they overlap", "phase")
        self.outages = counter("database_outages", "Times that the database did not answer")
        self.compute = histogram("batch_compute_seconds", "Time to compute a batch", SECONDS)
        self.write = histogram("batch_write_seconds", "Time to write a batch", SECONDS)
        self.size = histogram("batch_size", "Tasks in a computed batch", SIZES)
        self.budget = Gauge(
            "mlffdb_batch_budget", "Largest batch cost, learned for the device", registry=registry
        )
        self.last_beat = time.monotonic()
        age = Gauge(
            "mlffdb_heartbeat_age_seconds", "Since leases were last renewed", registry=registry
        )
        age.set_function(lambda: time.monotonic() - self.last_beat)

    def phase(self, name: str, started: float, ended: float, facts: dict[str, Any]) -> None:
        """Count what ended."""
        seconds = ended - started
        self.phases.labels(name).inc(seconds)
        if "error" in facts:
            return
        if name == "claim":
            self.claimed.inc(facts.get("tasks", 0))
        elif name == "compute":
            self.batches.inc()
            self.compute.observe(seconds)
            self.size.observe(facts["tasks"])
            if facts.get("budget") is not None:
                self.budget.set(facts["budget"])
        elif name == "write":
            self.write.observe(seconds)
            self.done.inc(facts.get("done", 0))
            self.late.inc(facts.get("late", 0))
        elif name == "renew":
            self.last_beat = ended

    def event(self, name: str, **facts: Any) -> None:
        """Count failures and outages."""
        if name == "failed":
            self.failed.labels(facts["code"]).inc()
        elif name == "away":
            self.outages.inc()


@contextmanager
def serving(host: str, port: int, facts: Mapping[str, Any]) -> Iterator[MetricsObserver]:
    """Serve http://host:port/metrics while inside; port 0 takes a free one.

    facts: what this worker is, shown as labels of mlffdb_worker_info
    Raises MetricsPortError if the port cannot be had.
    """
    from prometheus_client import disable_created_metrics, start_http_server

    disable_created_metrics()  # type: ignore[no-untyped-call] # half of the lines, and no news
    observer = MetricsObserver(facts)
    try:
        server, thread = start_http_server(port, addr=host, registry=observer.registry)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MetricsPortError(
            f"metrics cannot be served on {host}:{port}: {reason}; choose another --metrics-port "
            "(each worker takes one, counted up from it) or --metrics-host"
        ) from None
    try:
        yield observer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
