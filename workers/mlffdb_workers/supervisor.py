"""Several worker processes as one: started, watched, restarted, stopped together."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from sqlalchemy.exc import DBAPIError

from mlffdb.errors import DatabaseError, MlffdbError
from mlffdb.store import workers
from mlffdb.store.database import Database, is_conflict, is_passing
from mlffdb_workers.process import WorkerProcess, WorkerSpec
from mlffdb_workers.signals import SIGNALS, Wishes
from mlffdb_workers.state import GRACE_SECONDS, HANG_SECONDS

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
#: Progress is counted again after so many times as long as counting took.
LOOK_SHARE = 20
#: Workers that die this often in a row, with nothing done in between, are not started again.
MAX_DEATHS = 8
#: Longest wait before a worker that died is started again, s; doubles from a quarter of a second.
MAX_BACKOFF = 30.0
#: A worker that does not end so long after its time is killed, s.
MARGIN_SECONDS = 15.0


class WorkerFailedError(MlffdbError):
    """A worker said why it cannot work, or died again and again."""


@dataclass(slots=True)
class Totals:
    """What all workers did."""

    done: int = 0
    failed: int = 0
    late: int = 0
    restarts: int = 0
    #: What workers said that stopped for good while others went on.
    gave_up: list[str] = field(default_factory=list)
    interrupted: bool = False


def run_workers(
    database: Database,
    run_id: int,
    specs: Sequence[WorkerSpec],
    *,
    prepare: Callable[[Any], None],
    tick: Callable[[], int],
    grace: float = GRACE_SECONDS,
    hang: float = HANG_SECONDS,
    on_stop: Callable[[], None] = lambda: None,
) -> Totals:
    """Run *specs* until all have ended.

    prepare: called once with what the first worker said when it was ready (a teacher's id), before
        any of them starts
    tick: called about twice a second; returns how many tasks have ended so far
    grace: seconds that a worker has to end after it was asked to
    hang: seconds of silence after which a worker is killed and started again
    on_stop: called when workers at work are asked to stop, which takes up to *grace*
    Raises WorkerFailedError with a worker's own words if none could work to the end, or if workers
    died MAX_DEATHS times in a row with nothing done in between.
    """
    totals = Totals()
    with _stopping_on_signals(totals) as stop:
        watch = _Watch(database, run_id, totals, stop, tick, grace, hang, on_stop)
        watch.running = [WorkerProcess(spec, database.settings) for spec in specs]
        try:
            _await_ready(watch.running[0], stop, tick)
            if not stop.is_set():
                prepare(watch.running[0].messages.get("ready"))
                for process in watch.running:
                    process.go()
            watch.until_all_ended()
        finally:
            for process in watch.running:
                process.kill()
                process.close()
    return totals


def _await_ready(first: WorkerProcess, stop: threading.Event, tick: Callable[[], int]) -> None:
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
        totals: Totals,
        stop: threading.Event,
        tick: Callable[[], int],
        grace: float,
        hang: float,
        on_stop: Callable[[], None],
    ) -> None:
        self.database = database
        self.run_id = run_id
        self.running: list[WorkerProcess] = []
        self.totals = totals
        self.stop = stop
        self.tick = tick
        self.grace = grace
        self.hang = hang
        self.on_stop = on_stop
        self._asked_at: float | None = None
        self._ended_well = False
        self._deaths = 0
        self._progress = -1
        self._next_look = 0.0
        #: Workers to start again: when, what, and its falls.
        self._waiting: list[tuple[float, WorkerSpec, int]] = []
        #: Dead ones whose leases are still to be ended.
        self._dead: list[int] = []

    def until_all_ended(self) -> None:
        """Watch until no worker is left."""
        while self.running or (self._waiting and not self.stop.is_set()):
            if self.stop.is_set():
                self._pass_stop_on()
            self._kill_stuck()
            for process in [p for p in self.running if p.reap() is not None]:
                self._bury(process)
            self._expire_leases()
            self._start_again()
            self._look()
            time.sleep(TICK_SECONDS)
        if self.totals.gave_up and not self._ended_well:
            raise WorkerFailedError(self.totals.gave_up[0])

    def _pass_stop_on(self) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            if any(process.ready.is_set() for process in self.running):
                self.on_stop()
            for process in self.running:
                process.ask_to_stop()
        elif time.monotonic() - self._asked_at > self.grace + MARGIN_SECONDS:
            for process in self.running:
                log.error("worker %d did not end in time and is killed", process.pid)
                process.kill()

    def _kill_stuck(self) -> None:
        """Kill workers that do not even say that they live, such as one that is stopped."""
        for process in self.running:
            if process.silent_seconds > self.hang + MARGIN_SECONDS:
                log.error("worker %d is silent for %.0f s and is killed", process.pid, self.hang)
                process.kill()

    def _look(self) -> None:
        """Show progress; a database that is away for a while is the workers' to wait for.

        Counting a large queue takes the database's time: a twentieth of it at most.
        """
        started = time.monotonic()
        if started < self._next_look and not self._deaths:
            return
        try:
            progress = self.tick()
        except (DatabaseError, DBAPIError) as error:
            if not (is_passing(error) or is_conflict(error)):
                raise
            log.debug("no progress to show: %s", error)
            return
        finally:
            self._next_look = time.monotonic() + LOOK_SHARE * (time.monotonic() - started)
        if progress != self._progress:
            self._progress, self._deaths = progress, 0

    def _bury(self, process: WorkerProcess) -> None:
        self.running.remove(process)
        process.close()
        said = process.messages
        self.totals.done += said.get("done", 0)
        self.totals.failed += said.get("failed", 0)
        self.totals.late += said.get("late", 0)
        status = process.process.returncode
        if status == 0:
            self._ended_well = True
            return
        self._dead.append(process.pid)
        error = said.get("error")
        if error is not None and not said.get("away"):
            self.totals.gave_up.append(str(error))
        elif not self.stop.is_set():
            self._after_death(process, error)

    def _after_death(self, process: WorkerProcess, away: str | None) -> None:
        """Have a worker started again, later each time that it ended without having done anything.

        away: what it said of a database that it did not reach

        While others run, one that does not reach the database is tried again for as long as they
        wait for it, and one that cannot load is given up in the end.
        """
        falls = 1 if process.messages.get("done") else process.falls + 1
        status = process.process.returncode
        loaded = "ready" in process.messages
        if loaded or not self.running:
            self._deaths += 1
        elif away is None and falls > MAX_DEATHS:
            self.totals.gave_up.append(
                f"{falls} times in a row it ended before it was ready, at last with status "
                f"{status}; its output is above"
            )
            return
        if self._deaths > MAX_DEATHS:
            raise WorkerFailedError(away if away is not None else self._mourn(status))
        wait = _backoff(falls if self.running else self._deaths)
        self._waiting.append((time.monotonic() + wait, process.spec, falls))

    def _mourn(self, status: int) -> str:
        return (
            f"workers died {self._deaths} times in a row (last with status {status}) and "
            "nothing was done in between; see `mlffdb status` for the tasks they were at"
        )

    def _expire_leases(self) -> None:
        """Let others have the tasks of the dead at once; tried until the database is there."""
        while self._dead:
            try:
                workers.expire_leases(self.database, self.run_id, self._dead[0])
            except (DatabaseError, DBAPIError) as error:
                if not (is_passing(error) or is_conflict(error)):
                    raise
                return
            self._dead.pop(0)

    def _start_again(self) -> None:
        now = time.monotonic()
        for one in [one for one in self._waiting if one[0] <= now and not self.stop.is_set()]:
            self._waiting.remove(one)
            self.totals.restarts += 1
            fresh = WorkerProcess(one[1], self.database.settings, falls=one[2])
            fresh.go()
            self.running.append(fresh)


def _backoff(deaths: int) -> float:
    """Return the wait before the start after so many *deaths* in a row, s: the first has none."""
    return 0.0 if deaths <= 1 else float(min(MAX_BACKOFF, 0.25 * 2 ** (deaths - 2)))


@contextmanager
def _stopping_on_signals(totals: Totals) -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event; a second one ends this process and its workers."""
    stop = threading.Event()
    wishes = Wishes()

    def handle(number: int, _frame: FrameType | None) -> None:
        if wishes.is_second():
            raise SystemExit(128 + number)
        totals.interrupted = True
        stop.set()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
