"""What a worker tells of itself while it works, to logs, metrics and traces.

The loop calls an `Observer`: `phase` when something that takes time has ended, `event` when
something happened. Both come from either thread of the worker, which an observer sees by
`threading.current_thread`; neither may block or raise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: What takes time. On the main thread: `load` (the teacher, once), `wait` (for a batch to compute,
#: because the database is slow or the queue empty) and `compute`. On the courier's thread: `claim`,
#: `prepare` (rows to structures), `write` and `renew` (leases and heartbeat).
PHASES = ("load", "wait", "compute", "claim", "prepare", "write", "renew")


class Observer:
    """Hears what a worker does; this one forgets it."""

    def phase(self, name: str, started: float, ended: float, facts: dict[str, Any]) -> None:
        """Hear that phase *name* lasted from *started* to *ended* (time.monotonic, s).

        facts: of ``claim``: tasks; of ``compute``: tasks, cost, budget; of ``write``: tasks, done,
            failed, late; ``error`` is the name of an exception that ended the phase
        """

    def event(self, name: str, **facts: Any) -> None:
        """Hear that something happened.

        started; failed (code, message, key, retry: of one task); away (error, next_try_seconds:
        the database does not answer); back; paused (its teacher is); recovered (tasks: of dead
        workers, taken back); released (tasks: given back); stopping (reason); stopped (reason,
        done, failed, late).
        """


class Observers(Observer):
    """Tells several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = tuple(observers)

    def phase(self, name: str, started: float, ended: float, facts: dict[str, Any]) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.phase(name, started, ended, facts)

    def event(self, name: str, **facts: Any) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.event(name, **facts)


#: Hears nothing; for where nobody listens.
NOBODY = Observer()


@contextmanager
def timed(observer: Observer, phase: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Tell *observer* how long the inside took; facts may be added to what this yields."""
    started = time.monotonic()
    try:
        yield facts
    except BaseException as error:
        facts["error"] = type(error).__name__
        raise
    finally:
        observer.phase(phase, started, time.monotonic(), facts)
