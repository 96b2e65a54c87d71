"""Several worker processes as one: started, watched, restarted, stopped together."""

from __future__ import annotations

import json
import logging
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

from pydantic import SecretStr

from mlffdb.config import ENV_PREFIX, Settings
from mlffdb.errors import DatabaseError, MlffdbError
from mlffdb.store import workers
from mlffdb.store.database import Database

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
#: Progress is counted again after so many times as long as counting took.
LOOK_SHARE = 20
#: Workers that die this often in a row, with nothing done in between, are not started again.
MAX_DEATHS = 8


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

    def __init__(self, spec: WorkerSpec, settings: Settings) -> None:
        self.spec = spec
        self.ready = threading.Event()
        self.messages: dict[str, Any] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlffdb_workers", *spec.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_variables(settings), **spec.environment},
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
    tick: Callable[[], int],
) -> Totals:
    """Run *specs* until all have ended.

    prepare: called once with what the first worker said when it was ready (a teacher's id), before
        any of them starts
    tick: called about twice a second; returns how many tasks have ended so far
    Raises WorkerFailedError with a worker's own words if it could not start, or if workers died
    MAX_DEATHS times in a row with nothing done in between.
    """
    totals = Totals()
    with _stopping_on_signals(totals) as stop:
        running = [_Process(spec, database.settings) for spec in specs]
        try:
            _await_ready(running[0], stop, tick)
            if not stop.is_set():
                prepare(running[0].messages.get("ready"))
                for process in running:
                    process.go()
            _Watch(database, run_id, running, totals, stop, tick).until_all_ended()
        finally:
            _kill(running)
    return totals


def _await_ready(first: _Process, stop: threading.Event, tick: Callable[[], int]) -> None:
    """Wait until the first worker has loaded; the others may come later."""
    while not first.ready.wait(TICK_SECONDS):
        if stop.is_set():
            return
        tick()
    if "error" in first.messages:
        raise WorkerFailedError(str(first.messages["error"]))
    if "ready" not in first.messages:
        status = first.process.wait()
        raise WorkerFailedError(
            f"a worker ended with status {status} before it was ready; its output is above"
        )


class _Watch:
    """Reaps workers, starts those again that died, and passes a stop on."""

    def __init__(
        self,
        database: Database,
        run_id: int,
        running: list[_Process],
        totals: Totals,
        stop: threading.Event,
        tick: Callable[[], int],
    ) -> None:
        self.database = database
        self.run_id = run_id
        self.running = running
        self.totals = totals
        self.stop = stop
        self.tick = tick
        self._asked = False
        self._deaths = 0
        self._progress = -1
        self._next_look = 0.0

    def until_all_ended(self) -> None:
        """Watch until no worker is left."""
        while self.running:
            if self.stop.is_set() and not self._asked:
                self._asked = True
                for process in self.running:
                    process.process.terminate()
            for process in [p for p in self.running if p.reap() is not None]:
                self._bury(process)
            self._look()
            time.sleep(TICK_SECONDS)

    def _look(self) -> None:
        """Show progress; a database that is away for a while is the workers' to wait for.

        Counting a large queue takes the database's time: a twentieth of it at most.
        """
        started = time.monotonic()
        if started < self._next_look and not self._deaths:
            return
        try:
            progress = self.tick()
        except DatabaseError as error:
            log.debug("no progress to show: %s", error)
            return
        finally:
            self._next_look = time.monotonic() + LOOK_SHARE * (time.monotonic() - started)
        if progress != self._progress:
            self._progress, self._deaths = progress, 0

    def _bury(self, process: _Process) -> None:
        self.running.remove(process)
        process.close()
        _count(process, self.totals)
        error = process.messages.get("error")
        if error is not None and not process.messages.get("away"):
            raise WorkerFailedError(str(error))
        status = process.process.returncode
        if status == 0:
            return
        with suppress(DatabaseError):  # then they expire by themselves
            workers.expire_leases(self.database, self.run_id, process.process.pid)
        if self.stop.is_set():
            return
        self._deaths += 1
        if self._deaths > MAX_DEATHS:
            if error is not None:
                raise WorkerFailedError(str(error))
            raise WorkerFailedError(
                f"workers died {self._deaths} times in a row (last with status {status}) and "
                "nothing was done in between; see `mlffdb status` for the tasks they were at"
            )
        self.totals.restarts += 1
        fresh = _Process(process.spec, self.database.settings)
        fresh.go()
        self.running.append(fresh)


def _variables(settings: Settings) -> dict[str, str]:
    """Return *settings* as environment variables: workers must not read others than this process,
    whatever options it was started with."""
    found = {}
    for key in Settings.model_fields:
        value = getattr(settings, key)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            found[ENV_PREFIX + key.upper()] = text
    return found


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
