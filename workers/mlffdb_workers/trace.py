"""A trace of what all workers of a command did, for a browser's trace viewer.

One file in the Trace Event Format's JSON array form, which https://ui.perfetto.dev and
chrome://tracing open: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
The supervisor begins it; every worker process appends whole events, one a line and each after its
comma, so that it can be read at any moment and after any kill: the closing bracket is optional in
the format. Times are those of the machine's monotonic clock, the same for all its processes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlffdb.errors import ConfigError
from mlffdb_workers.observer import Observer

#: A trace does not grow beyond: about a million phases, which viewers still open.
MAX_BYTES = 100 * 2**20
#: Events are kept for so long before they are written, s.
FLUSH_SECONDS = 1.0
#: Shorter waits are not worth a place.
SHORTEST_WAIT = 1e-4
COMPUTING, COURIER = 1, 2


@dataclass(slots=True)
class WorkerPhases:
    """How one worker process spent its time, by its trace."""

    name: str
    #: From its first phase to the end of its last, s.
    seconds: float = 0.0
    #: Phase → s. The phases of the two threads overlap.
    phases: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def share(self, phase: str) -> float:
        """Return the share of its time that *phase* took, 0-1."""
        return self.phases.get(phase, 0.0) / self.seconds if self.seconds else 0.0


def begin(path: Path) -> None:
    """Begin a trace, in place of an earlier one; raises ConfigError if it cannot be written."""
    try:
        path.write_text("[\n" + _line(_named("process_name", os.getpid(), 0, "mlffdb")))
    except OSError as error:
        raise ConfigError(
            f"--profile {path} cannot be written: {error.strerror}; name another file"
        ) from None


def finish(path: Path) -> list[WorkerPhases]:
    """Close a trace and return how its workers spent their time.

    What a kill cut off in the middle of a line is taken out.
    """
    lines, whole = [], True
    for line in path.read_text(encoding="utf-8").split("\n")[1:]:
        text = line.strip().removeprefix(",")
        try:
            lines.append(json.loads(text))
        except ValueError:
            whole = whole and not text
    if whole:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n]\n")
    else:
        spare = path.with_name(f"{path.name}.tmp")
        spare.write_text("[\n" + "\n,".join(map(_line, lines)) + "\n]\n", encoding="utf-8")
        spare.replace(path)
    return summary(lines)


def summary(events: list[dict[str, Any]]) -> list[WorkerPhases]:
    """Return how the workers spent their time, by the events of a trace."""
    found: dict[int, WorkerPhases] = {}
    bounds: dict[int, tuple[int, int]] = {}
    for event in events:
        pid = event["pid"]
        if event["ph"] == "M" and event["name"] == "process_name":
            found[pid] = WorkerPhases(event["args"]["name"])
        elif event["ph"] == "X" and pid in found:
            start, end = event["ts"], event["ts"] + event["dur"]
            first, last = bounds.get(pid, (start, end))
            bounds[pid] = min(first, start), max(last, end)
            found[pid].phases[event["name"]] += event["dur"] / 1e6
            found[pid].seconds = (bounds[pid][1] - bounds[pid][0]) / 1e6
    return [worker for worker in found.values() if worker.phases]


class TraceObserver(Observer):
    """Appends what one worker process does to a trace."""

    def __init__(self, path: Path, name: str, *, limit: int = MAX_BYTES) -> None:
        self.limit = limit
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._full = False
        self._flushed = time.monotonic()
        self._events = [
            _named("process_name", self._pid, 0, name),
            _named("thread_name", self._pid, COMPUTING, "computing"),
            _named("thread_name", self._pid, COURIER, "database"),
        ]

    def phase(self, name: str, started: float, ended: float, facts: dict[str, Any]) -> None:
        """Note a phase."""
        if name == "wait" and ended - started < SHORTEST_WAIT:
            return
        start = int(started * 1e6)
        self._add(
            {"name": name, "ph": "X", "ts": start, "dur": int(ended * 1e6) - start, "args": facts}
        )

    def event(self, name: str, **facts: Any) -> None:
        """Note an event; all but failures are written at once, for the process may end now."""
        self._add({"name": name, "ph": "i", "s": "t", "ts": int(time.monotonic() * 1e6),
                   "args": facts}, now=name != "failed")  # fmt: skip

    def _add(self, event: dict[str, Any], *, now: bool = False) -> None:
        main = threading.current_thread() is threading.main_thread()
        with self._lock:
            self._events.append({"pid": self._pid, "tid": COMPUTING if main else COURIER, **event})
            if now or time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._flush()

    def _flush(self) -> None:
        """Append the events by one write, which the kernel does not mix with those of others."""
        events, self._events = self._events, []
        self._flushed = time.monotonic()
        if self._full or not events:
            return
        if os.fstat(self._file).st_size > self.limit:
            self._full = True
            events = [{**events[-1], "name": "the trace is full", "ph": "i", "s": "p", "args": {}}]
            events[0].pop("dur", None)
        os.write(self._file, "".join(f"\n,{_line(event)}" for event in events).encode())

    def close(self) -> None:
        """Write what is left."""
        with self._lock:
            self._flush()
            os.close(self._file)


@contextmanager
def tracing(path: Path, name: str) -> Iterator[TraceObserver]:
    """Append to the trace that the supervisor began while inside, under the worker's *name*."""
    observer = TraceObserver(path, name)
    try:
        yield observer
    finally:
        observer.close()


def _named(kind: str, pid: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": thread, "ts": 0, "args": {"name": name}}


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False, default=str)
