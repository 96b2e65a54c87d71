"""The loop of every worker: claim, compute and write overlap, and nothing is lost.

The main thread computes. A courier thread, with one database connection, brings it the next batch
while it computes, writes the previous one, renews the leases of everything that is held, and
takes expired leases of dead workers back. If the database goes away the courier keeps what was
computed and writes it when the connection is back, unless the lease was lost meanwhile.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from mlffdb.errors import DatabaseError
from mlffdb.store import workers
from mlffdb.store.database import (
    Database,
    first_line,
    is_bad_value,
    is_conflict,
    is_connection_failure,
)
from mlffdb.store.queue import Claim, Queue, TaskFailure

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
BEAT_SECONDS = 10.0
#: A batch that computes for longer is taken to hang: its leases are no longer renewed.
HANG_SECONDS = 1800.0
#: A batch should take about this long: little is lost when a worker dies, and the database is
#: asked rarely.
BATCH_SECONDS = 2.0
MAX_BATCH = 512
#: Tasks that are tried more often than this are computed alone, with nothing else in flight: each
#: death of a worker counts as an attempt for all that it holds.
RISKY_ATTEMPT = 2


@dataclass(slots=True)
class Counters:
    """What a worker did so far."""

    done: int = 0
    failed: int = 0
    late: int = 0
    compute_seconds: float = 0.0

    def add(self, other: Counters) -> None:
        """Add *other*'s counts."""
        self.done += other.done
        self.failed += other.failed
        self.late += other.late


class Job(Protocol):
    """What differs between labelling and sampling."""

    queue: Queue
    #: Tasks to claim first.
    first_batch: int

    def compute(self, claims: Sequence[Claim]) -> Sequence[Any]:
        """Return an outcome per claim for `write`; runs in the main thread, without a database."""

    def write(self, connection: Connection, claims: Sequence[Claim], outcome: Any) -> Counters:
        """Store the outcome and complete or fail the tasks, in the caller's transaction.

        Is called again with parts of both where a value cannot be stored.
        """

    def budget(self) -> float | None:
        """Return the largest batch cost learned so far, or None."""


@dataclass(slots=True)
class _Batch:
    claims: list[Claim]
    outcome: Any = None


@dataclass(slots=True)
class _Shared:
    """State of both threads, under one lock."""

    ready: _Batch | None = None
    computing: _Batch | None = None
    computing_since: float = 0.0
    written: list[_Batch] = field(default_factory=list)
    #: A batch whose computation raised, and what it raised.
    abandoned: _Batch | None = None
    raised: BaseException | None = None
    size: int = 1
    #: Largest cost to claim: what takes about twice BATCH_SECONDS; None before that is known.
    cost: float | None = None
    stopping: bool = False
    empty: bool = False
    finished: bool = False
    error: BaseException | None = None


class WorkLoop:
    """One worker process."""

    def __init__(
        self, database: Database, job: Job, worker_id: UUID, *, follow: bool = False
    ) -> None:
        self.database = database
        self.job = job
        self.worker_id = worker_id
        self.follow = follow
        self.counters = Counters()
        self._shared = _Shared(size=job.first_batch)
        self._changed = threading.Condition()
        self._last_beat = 0.0
        self._last_recovery = 0.0

    def stop(self) -> None:
        """Claim nothing more, finish the batch at hand and give back the rest; signal-safe."""
        self._shared.stopping = True

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._shared.stopping

    def run(self) -> Counters:
        """Work until there are no open tasks, or `stop` is called; returns the counts."""
        courier = threading.Thread(target=self._courier, name="courier", daemon=True)
        courier.start()
        try:
            while (batch := self._next()) is not None:
                self._compute(batch)
        except BaseException as error:
            self._shared.raised = error
            raise
        finally:
            with self._changed:
                self._shared.abandoned, self._shared.computing = self._shared.computing, None
                self._shared.finished = True
                self._changed.notify_all()
            courier.join()
        if self._shared.error is not None:
            raise self._shared.error
        return self.counters

    def _next(self) -> _Batch | None:
        shared = self._shared
        with self._changed:
            while shared.ready is None or shared.stopping or len(shared.written) > 1:
                if shared.stopping or shared.empty or shared.error is not None:
                    return None
                self._changed.wait(0.5)
            batch, shared.ready = shared.ready, None
            shared.computing, shared.computing_since = batch, time.monotonic()
            self._changed.notify_all()
            return batch

    def _compute(self, batch: _Batch) -> None:
        started = time.monotonic()
        batch.outcome = self.job.compute(batch.claims)
        seconds = time.monotonic() - started
        shared = self._shared
        with self._changed:
            self.counters.compute_seconds += seconds
            shared.size = _next_size(shared.size, len(batch.claims), seconds)
            cost = sum(claim.cost for claim in batch.claims)
            shared.cost = max(cost, 2 * cost * BATCH_SECONDS / max(seconds, 1e-3))
            shared.computing = None
            shared.written.append(batch)
            self._changed.notify_all()

    # the courier's side

    def _courier(self) -> None:
        failures = 0
        while True:
            try:
                if self._visit():
                    return
                failures = 0
            except (DatabaseError, DBAPIError, psycopg2.Error) as error:
                if is_conflict(error):
                    continue  # the other one went on, and so do we
                if not isinstance(error, DatabaseError) and not is_connection_failure(error):
                    self._give_up(error)
                    return
                failures += 1
                wait = min(30.0, 0.5 * 2**failures) * random.uniform(0.5, 1.0)  # noqa: S311
                log.warning("database not reachable, next try in %.0f s: %s", wait, error)
                if failures == 1:
                    self.database.engine.dispose()
                if self._shared.stopping and failures > 5:
                    self._give_up(error)
                    return
                time.sleep(wait)
            except BaseException as error:
                self._give_up(error)
                return

    def _give_up(self, error: BaseException) -> None:
        with self._changed:
            self._shared.error = error
            self._changed.notify_all()

    def _visit(self) -> bool:
        """Do what is due; returns True when all is written and the main thread has ended."""
        shared = self._shared
        with self._changed:
            batch = shared.written[0] if shared.written else None
            last = batch is None and shared.finished and shared.computing is None
            risky = shared.computing is not None and _is_risky(shared.computing.claims[0])
        if batch is not None:
            self._write(batch)
        elif last:
            self._leave()
            return True
        elif shared.ready is None and not (shared.stopping or shared.finished or risky):
            self._claim()
        else:
            with self._changed:
                if not shared.written and not shared.finished:
                    self._changed.wait(POLL_SECONDS)
        self._beat()
        return False

    def _write(self, batch: _Batch) -> None:
        counts = self._store(batch.claims, batch.outcome)
        with self._changed:
            self.counters.add(counts)
            self._shared.written.remove(batch)
            self._changed.notify_all()

    def _store(self, claims: Sequence[Claim], outcome: Sequence[Any]) -> Counters:
        """Write what was computed; a value that cannot be stored fails its own task only."""
        try:
            with self.database.begin() as connection:
                return self.job.write(connection, claims, outcome)
        except Exception as error:
            if not is_bad_value(error):
                raise
            if len(claims) == 1:
                failure = TaskFailure(claims[0], "not_storable", first_line(error), retry=False)
                with self.database.begin() as connection:
                    failed = self.job.queue.fail(connection, [failure])
                return Counters(failed=failed, late=1 - failed)
        middle = len(claims) // 2
        counts = self._store(claims[:middle], outcome[:middle])
        counts.add(self._store(claims[middle:], outcome[middle:]))
        return counts

    def _claim(self) -> None:
        shared = self._shared
        with self.database.begin() as connection:
            if time.monotonic() - self._last_recovery > self.job.queue.lease_seconds / 10:
                self._last_recovery = time.monotonic()
                self.job.queue.recover(connection)
            claims = self.job.queue.claim(connection, shared.size, shared.cost)
            alone = _without_risk(claims)
            if len(alone) < len(claims):
                self.job.queue.release(connection, claims[len(alone) :])
                claims = alone
            idle = not claims and not self.job.queue.open_tasks(connection)
        with self._changed:
            if claims:
                shared.ready = _Batch(claims)
            elif idle and not self.follow and not shared.written and shared.computing is None:
                shared.empty = True
            self._changed.notify_all()
            if not claims and not shared.written:
                self._changed.wait(POLL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._last_beat < min(BEAT_SECONDS, self.job.queue.lease_seconds / 3):
            return
        with self._changed:
            held = self._held(now)
        with self.database.begin() as connection:
            self.job.queue.renew(connection, held)
            self._store_counters(connection)
        self._last_beat = now

    def _held(self, now: float) -> list[Claim]:
        shared = self._shared
        batches = [*shared.written, *([shared.ready] if shared.ready else [])]
        if shared.computing and now - shared.computing_since < HANG_SECONDS:
            batches.append(shared.computing)
        return [claim for batch in batches for claim in batch.claims]

    def _leave(self) -> None:
        """Give back what was not worked on, and say goodbye.

        A batch whose computation raised counts as an attempt, or it would be tried for ever.
        """
        ready, abandoned, raised = self._shared.ready, self._shared.abandoned, self._shared.raised
        with self.database.begin() as connection:
            if ready is not None:
                self.job.queue.release(connection, ready.claims)
            if abandoned is not None:
                message = f"{type(raised).__name__}: {raised}"
                self.job.queue.fail(
                    connection,
                    [TaskFailure(c, "worker_error", message, retry=True) for c in abandoned.claims],
                )
            self._store_counters(connection, stopped=True)

    def _store_counters(self, connection: Connection, *, stopped: bool = False) -> None:
        workers.beat(
            connection,
            self.worker_id,
            done=self.counters.done,
            failed=self.counters.failed,
            late=self.counters.late,
            compute_seconds=self.counters.compute_seconds,
            budget=self.job.budget(),
            stopped=stopped,
        )


def _is_risky(claim: Claim) -> bool:
    """Whether a task has failed so often that it may take the process, and its company, with it."""
    return claim.attempt > RISKY_ATTEMPT


def _without_risk(claims: list[Claim]) -> list[Claim]:
    """Return the claims before the first risky one, or that one alone."""
    first = next((index for index, one in enumerate(claims) if _is_risky(one)), len(claims))
    return claims[: max(1, first)]


def _next_size(size: int, claimed: int, seconds: float) -> int:
    """Return how many tasks to claim next, so that a batch takes about BATCH_SECONDS."""
    if claimed < size and seconds < BATCH_SECONDS:
        return size
    wanted = int(claimed * BATCH_SECONDS / max(seconds, 1e-3))
    return max(1, min(MAX_BATCH, 4 * size, wanted))
