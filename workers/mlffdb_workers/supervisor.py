"""Several worker processes as one: started, watched, restarted, stopped together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from mlffdb.errors import MlffdbError
from mlffdb.store import workers
from mlffdb.store.database import Database

TICK_SECONDS = 0.5
#: A worker that dies this often without being asked to is not started again.
MAX_RESTARTS = 3


class WorkerFailedError(MlffdbError):
    """A worker said why it cannot work, or died again and again."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker process to run."""

    #: Arguments of `python -m mlffdb_workers`.
    arguments: tuple[str, ...]
    #: Further environment variables, such as CUDA_VISIBLE_DEVICES.
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Totals:
    """What all workers did."""

    done: int = 0
    failed: int = 0
    late: int = 0
    restarts: int = 0
    interrupted: bool = False


class _Process:
    """A running worker and the last thing that it said."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.ready = threading.Event()
        self.messages: dict[str, Any] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlffdb_workers", *spec.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **spec.environment},
            start_new_session=True,  # Ctrl-C comes to the supervisor alone
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # something that a library printed
            if isinstance(message, dict):
                self.messages.update(message)
                self.ready.set()
        self.ready.set()

    def go(self) -> None:
        """Let it start."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; seen when it is reaped

    def reap(self) -> int | None:
        """Return its exit status, or None while it runs."""
        status = self.process.poll()
        if status is not None:
            self._reader.join(timeout=5)
        return status

    def close(self) -> None:
        """Close the pipes of a finished process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def run_workers(
    database: Database,
    run_id: int,
    specs: Sequence[WorkerSpec],
    *,
    prepare: Callable[[Any], None],
    tick: Callable[[], None],
) -> Totals:
    """Run *specs* until all have ended.

    prepare: called once with what the first worker said when it was ready (a teacher's id), before
        any of them starts
    tick: called about twice a second
    Raises WorkerFailedError with a worker's own words if it could not start, or if one died
    MAX_RESTARTS times.
    """
    totals = Totals()
    with _stopping_on_signals(totals) as stop:
        running = [_Process(spec) for spec in specs]
        try:
            _await_ready(running, tick)
            if not stop.is_set():
                prepare(running[0].messages.get("ready"))
                for process in running:
                    process.go()
            _watch(database, run_id, running, totals, stop, tick)
        finally:
            _kill(running)
    return totals


def _await_ready(running: Sequence[_Process], tick: Callable[[], None]) -> None:
    """Wait until the first worker has loaded; the others may come later."""
    first = running[0]
    while not first.ready.wait(TICK_SECONDS):
        tick()
    _raise_if_refused(first)


def _raise_if_refused(process: _Process) -> None:
    if "error" in process.messages:
        raise WorkerFailedError(str(process.messages["error"]))
    if "ready" not in process.messages:
        status = process.process.wait()
        raise WorkerFailedError(
            f"a worker ended with status {status} before it was ready; its output is above"
        )


def _watch(
    database: Database,
    run_id: int,
    running: list[_Process],
    totals: Totals,
    stop: threading.Event,
    tick: Callable[[], None],
) -> None:
    asked = False
    restarts = 0
    while running:
        if stop.is_set() and not asked:
            asked = True
            for process in running:
                process.process.terminate()
        for process in [p for p in running if p.reap() is not None]:
            running.remove(process)
            _count(process, totals)
            died = process.process.returncode != 0
            process.close()
            if "error" in process.messages:
                raise WorkerFailedError(str(process.messages["error"]))
            if died:
                workers.expire_leases(database, run_id, process.process.pid)
            if died and not stop.is_set():
                restarts += 1
                if restarts > MAX_RESTARTS * (len(running) + 1):
                    raise WorkerFailedError(
                        f"workers died {restarts} times (last with status "
                        f"{process.process.returncode}); see `mlffdb status` for the structures "
                        "they were at"
                    )
                totals.restarts += 1
                fresh = _Process(process.spec)
                running.append(fresh)
                fresh.go()
        tick()
        time.sleep(TICK_SECONDS)


def _count(process: _Process, totals: Totals) -> None:
    totals.done += process.messages.get("done", 0)
    totals.failed += process.messages.get("failed", 0)
    totals.late += process.messages.get("late", 0)


def _kill(running: Sequence[_Process]) -> None:
    for process in running:
        if process.process.poll() is None:
            process.process.kill()
        process.process.wait()
        process.close()


@contextmanager
def _stopping_on_signals(totals: Totals) -> Any:
    """Turn SIGINT and SIGTERM into an event; a second one ends this process and its workers."""
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        totals.interrupted = True
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
