"""What a command and its workers tell of themselves: logs, metrics, a trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlffdb_workers import logs, metrics, trace
from mlffdb_workers.observer import Observer, Observers


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What is told, and where to; the same for a command and its workers but for the port."""

    log_level: str = "warning"
    log_format: logs.Format = "text"
    #: File that is appended to; None for standard error.
    log_file: Path | None = None
    #: Port of the first worker's metrics, the others take those after it; None for none.
    metrics_port: int | None = None
    #: Address that metrics are served on.
    metrics_host: str = "127.0.0.1"
    #: File of the trace; None for none.
    profile: Path | None = None

    def arguments(self, index: int) -> tuple[str, ...]:
        """Return the arguments for worker number *index* of a command, from 0."""
        port = None if self.metrics_port is None else self.metrics_port + index
        return "--telemetry", json.dumps(asdict(replace(self, metrics_port=port)), default=str)

    @classmethod
    def parse(cls, text: str) -> Telemetry:
        """Return what `arguments` wrote."""
        given = json.loads(text)
        for key in ("log_file", "profile"):
            given[key] = None if given[key] is None else Path(given[key])
        return cls(**given)

    def logging(self) -> AbstractContextManager[dict[str, Any]]:
        """Return the context manager that writes the log; see `logs.writing`."""
        return logs.writing(level=self.log_level, style=self.log_format, file=self.log_file)

    @contextmanager
    def observing(self, context: dict[str, Any], facts: Mapping[str, Any]) -> Iterator[Observer]:
        """Give the observer of a worker.

        context: what `logging` gave; gets the facts
        facts: worker, kind, device, run, teacher or plan
        Raises MetricsPortError.
        """
        context.update(facts)
        observers: list[Observer] = [logs.LogObserver()]
        with ExitStack() as stack:
            if self.metrics_port is not None:
                serving = metrics.serving(self.metrics_host, self.metrics_port, context)
                observers.append(stack.enter_context(serving))
            if self.profile is not None:
                name = " ".join(str(facts[key]) for key in ("kind", "teacher", "plan", "device")
                                if facts.get(key) is not None)  # fmt: skip
                name = f"{name} on {context['host']}:{context['pid']}"
                observers.append(stack.enter_context(trace.tracing(self.profile, name)))
            yield Observers(observers)


#: Gives the observer of a worker, from what it is.
Observing = Callable[[Mapping[str, Any]], AbstractContextManager[Observer]]


@contextmanager
def worker_telemetry(argument: str) -> Iterator[Observing]:
    """Write a worker's log while inside; gives what makes its observer once it knows what it is.

    argument: what `Telemetry.arguments` wrote, or nothing for the defaults
    """
    telemetry = Telemetry.parse(argument) if argument else Telemetry()
    with telemetry.logging() as context:
        yield partial(telemetry.observing, context)


@contextmanager
def telling(
    telemetry: Telemetry,
    on_trace: Callable[[list[trace.WorkerPhases]], None] = lambda _phases: None,
) -> Iterator[None]:
    """Write a command's log and begin and close its trace; its workers add to both.

    on_trace: called at the end with how the workers spent their time, if there is a trace
    Raises ConfigError if a file cannot be written or the extra for metrics is missing.
    """
    if telemetry.metrics_port is not None:
        metrics.require_client()
    with telemetry.logging():
        if telemetry.profile is None:
            yield
            return
        trace.begin(telemetry.profile)
        try:
            yield
        finally:
            on_trace(trace.finish(telemetry.profile))
