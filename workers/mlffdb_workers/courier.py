"""The courier: the thread of a worker that talks to the database while the main thread computes.

It brings the next batches, writes what was computed, extends the leases of everything that is
held, and takes expired leases of dead workers back. If the database goes away it keeps what was
computed and writes it when the connection is back, unless the lease was lost meanwhile.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from mlffdb.errors import DatabaseError
from mlffdb.store import waiting, workers
from mlffdb.store.database import (
    Database,
    first_line,
    is_bad_value,
    is_conflict,
    is_passing,
)
from mlffdb.store.queue import Claim, TaskFailure
from mlffdb_workers.breaker import Breaker
from mlffdb_workers.job import Counters, Job
from mlffdb_workers.observer import Observer, timed
from mlffdb_workers.pace import Poll
from mlffdb_workers.risk import is_risky, without_risk
from mlffdb_workers.state import MAX_READY, Batch, LoopOptions, Shared

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
#: Longest wait between two tries to reach the database, s.
AWAY_SECONDS = 30.0
#: Exit statuses of a process that leaves in the middle of a computation.
RELEASED, HUNG, LOST = 0, 70, 75


class Courier:
    """One worker's thread for the database.

    leave: ends the process with a status, in the middle of a computation if need be
    alive: called at every turn, a sign that the process lives
    """

    def __init__(
        self,
        database: Database,
        job: Job,
        worker_id: UUID,
        shared: Shared,
        counters: Counters,
        *,
        options: LoopOptions,
        observer: Observer,
        leave: Callable[[int], None],
        alive: Callable[[], None],
    ) -> None:
        self.database = database
        self.job = job
        self.worker_id = worker_id
        self.shared = shared
        self.counters = counters
        self.options = options
        self.observer = observer
        self.leave = leave
        self.alive = alive
        self.breaker = Breaker(options.max_faults, job.flaw)
        self._poll = Poll()
        self._not_before = 0.0
        self._last_beat = 0.0
        self._last_recovery = self._recover_from = time.monotonic()
        #: What the database did not accept: an outage lasts until the same succeeds again.
        self._failed: str | None = None
        self._refused = ""
        self._tries = 0
        self._renew_first = False
        self._paused = False

    def run(self) -> None:
        """Do what is due until everything is written and the main thread has ended."""
        while True:
            try:
                if self._visit():
                    self.shared.leave()
                    return
            except (DatabaseError, DBAPIError, psycopg2.Error) as error:
                if is_conflict(error):
                    continue  # the other one went on, and so do we
                if not is_passing(error):
                    self.shared.leave(error)
                    return
                if not self._sit_out(error):
                    return
            except BaseException as error:
                self.shared.leave(error)
                return

    def _visit(self) -> bool:
        """Do the most urgent thing; returns True at the end."""
        shared = self.shared
        self.alive()
        if self._renew_first:
            self._come_back()
        with shared.changed:
            now = time.monotonic()
            computed = shared.computed[0] if shared.computed else None
            computing = shared.computing
            ended = shared.finished and computing is None
            seconds = now - shared.computing_since if computing else 0.0
            patience = self.options.grace - (now - shared.stopping_since)
            spare = shared.stopping and bool(shared.ready or self.breaker.claims)
        if computed is not None:
            with self._step("write"):
                self._write(computed)
        elif ended:
            self._say_goodbye()
            return True
        elif computing is not None and seconds > self.options.hang:
            self._leave_hung(computing)
            return True
        elif computing is not None and shared.stopping and patience <= 0:
            self._leave_early(computing)
            return True
        elif spare:
            with self._step("release"):
                self._give_back_spare()
        elif self._wants_more():
            with self._step("claim"):
                self._claim()
        else:
            self._wait(patience if shared.stopping else self.options.hang - seconds)
        self._beat()
        return False

    def _wants_more(self) -> bool:
        shared = self.shared
        with shared.changed:
            risky = any(
                is_risky(batch.claims)
                for batch in (shared.computing, *shared.ready)
                if batch is not None
            )
            full = len(shared.ready) >= MAX_READY
            return not (full or risky or shared.stopping or shared.finished) and (
                time.monotonic() >= self._not_before
            )

    def _wait(self, most: float) -> None:
        """Wait until something changes, or the next thing is due."""
        shared = self.shared
        now = time.monotonic()
        until_claim = self._not_before - now if self._not_before > now else self._beat_seconds
        seconds = min(until_claim, self._beat_seconds, max(most, 0.0) + 0.01)
        with shared.changed:
            if shared.computed or shared.finished:
                return
            shared.changed.wait(seconds)

    # claiming

    def _claim(self) -> None:
        shared, queue = self.shared, self.job.queue
        with shared.changed:
            size, cost = shared.pace.size, shared.pace.cost
        started = time.monotonic()
        with (
            timed(self.observer, "claim", tasks=0) as facts,
            self.database.autocommit() as connection,
        ):
            if started - self._last_recovery > queue.lease_seconds / 10:
                self._recover(connection)
            claims = queue.claim(connection, size, cost)
            alone = without_risk(claims)
            if len(alone) < len(claims):
                queue.release(connection, claims[len(alone) :])
                claims = alone
            state = None if claims else waiting.look(connection, queue.table, queue.scope)
            facts["tasks"] = len(claims)
        if state is not None:
            self._found_nothing(state)
            return
        self._poll.reset()
        self._paused = False
        batch = Batch(claims, leased=started)
        with timed(self.observer, "prepare", tasks=len(claims)):
            batch.prepared = self.job.prepare(claims)
        with shared.changed:
            shared.ready.append(batch)
            shared.changed.notify_all()

    def _found_nothing(self, state: waiting.Waiting) -> None:
        """Store what was held back, end, or ask again later."""
        shared = self.shared
        with shared.changed:
            busy = bool(shared.ready or shared.computed or shared.computing)
        if not busy and self.breaker.claims:
            claims, outcomes = self.breaker.release()
            self._store_and_count(claims, outcomes)
            return
        if state.paused and not self._paused:
            self.observer.event("paused")
        self._paused = state.paused
        if not (state.open or busy or self.options.follow):
            with shared.changed:
                shared.empty = True
                shared.changed.notify_all()
        wait = self._poll.seconds()
        if state.expires_in is not None and not state.paused:
            # a dead worker's lease: tried as soon as it ends, by one of those that wait
            wait = min(wait, max(state.expires_in, 0.0) + random.uniform(0.0, 0.3))  # noqa: S311
            if state.expires_in <= 0:
                self._last_recovery = 0.0
        self._not_before = time.monotonic() + wait

    def _recover(self, connection: Connection) -> None:
        """Take expired leases back, but not right after an outage: others renew theirs first."""
        now = time.monotonic()
        if now < self._recover_from:
            return
        found = self.job.queue.recover(connection)
        self._last_recovery = now
        if found:
            self.observer.event("recovered", tasks=found)

    # writing

    def _write(self, batch: Batch) -> None:
        self._store_and_count(*self.breaker.sift(batch.claims, batch.outcomes), batch)
        if self.breaker.tripped:
            error = self.breaker.error()
            self.observer.event("stopping", reason=str(error))
            self.shared.error = error
            self.shared.stop()

    def _store_and_count(
        self, claims: Sequence[Claim], outcomes: Sequence[Any], batch: Batch | None = None
    ) -> None:
        with timed(self.observer, "write", tasks=len(claims)) as facts:
            counts = self._store(claims, outcomes) if claims else Counters()
            facts.update(done=counts.done, failed=counts.failed, late=counts.late)
        for claim, outcome in zip(claims, outcomes, strict=True):
            flaw = self.job.flaw(outcome)
            if flaw is not None:
                self.observer.event(
                    "failed",
                    code=flaw.code,
                    message=flaw.message,
                    key=str(claim.key),
                    retry=flaw.retry,
                )
        with self.shared.changed:
            self.counters.add(counts)
            self._not_before = 0.0  # what was stored may have been the last
            self._poll.reset()
            if batch is not None:
                self.shared.computed.remove(batch)
            self.shared.changed.notify_all()

    def _store(self, claims: Sequence[Claim], outcomes: Sequence[Any]) -> Counters:
        """Write what was computed; a value that cannot be stored fails its own task only."""
        alone = self.job.one_statement and not any(map(self.job.flaw, outcomes))
        try:
            with self.database.autocommit() if alone else self.database.begin() as connection:
                return self.job.write(connection, claims, outcomes)
        except Exception as error:
            if not is_bad_value(error):
                raise
            if len(claims) == 1:
                failure = TaskFailure(claims[0], "not_storable", first_line(error), retry=False)
                with self.database.begin() as connection:
                    failed = self.job.queue.fail(connection, [failure])
                return Counters(failed=failed, late=1 - failed)
        middle = len(claims) // 2
        counts = self._store(claims[:middle], outcomes[:middle])
        counts.add(self._store(claims[middle:], outcomes[middle:]))
        return counts

    # leases

    @property
    def _beat_seconds(self) -> float:
        return min(BEAT_SECONDS, self.job.queue.lease_seconds / 3)

    def _beat(self) -> None:
        """Store a sign of life, and extend leases that are a quarter over."""
        now = time.monotonic()
        if now - self._last_beat < self._beat_seconds:
            return
        shared = self.shared
        old = now - self.job.queue.lease_seconds / 4
        with shared.changed:
            due = [batch for batch in self._held() if batch.leased < old]
            claims = [c for batch in due for c in batch.claims] + self.breaker.claims
        with (
            self._step("renew"),
            timed(self.observer, "renew", tasks=len(claims)),
            self.database.begin() as connection,
        ):
            mine = self.job.queue.renew(connection, claims)
            self._store_counters(connection)
        self._last_beat = now
        with shared.changed:
            for batch in due:
                batch.leased = now
            lost = {str(c.key) for c in claims} - {str(key) for key in mine}
            self._drop(lost)

    def _held(self) -> list[Batch]:
        shared = self.shared
        batches = [*shared.computed, *shared.ready]
        if shared.computing is not None:
            batches.append(shared.computing)
        return batches

    def _drop(self, lost: set[str]) -> None:
        """Take tasks that others have by now out of what is still to be computed."""
        for batch in [b for b in self.shared.ready if lost & {str(c.key) for c in b.claims}]:
            batch.claims = [claim for claim in batch.claims if str(claim.key) not in lost]
            if batch.claims:
                batch.prepared = self.job.prepare(batch.claims)
            else:
                self.shared.ready.remove(batch)

    # the database is away

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """Do *what* inside; tells of the end of an outage that began with it.

        A server whose disk is full accepts some and refuses the rest; each time is no news.
        """
        try:
            yield
        except Exception:
            self._refused = what
            raise
        if what == self._failed:
            self._failed, self._tries = None, 0
            self.observer.event("back")

    def _sit_out(self, error: BaseException) -> bool:
        """Wait for the next try; returns False if there is no time left for one."""
        shared = self.shared
        now = time.monotonic()
        self._renew_first = True
        self._tries += 1
        self.database.engine.dispose()
        stopping = shared.stopping
        left = self.options.grace - (now - shared.stopping_since) if stopping else AWAY_SECONDS
        longest = min(AWAY_SECONDS, self.job.queue.lease_seconds / 4)
        most = min(longest, 0.25 * 2 ** min(self._tries, 10))
        wait = most * random.uniform(0.5, 1.0)  # noqa: S311
        if left <= 0:
            shared.leave(error)
            if shared.computing is not None:
                self.leave(LOST)
            return False
        if self._failed is None:
            self._failed, self._refused = self._refused, ""
            self.observer.event("away", error=first_line(error), next_try_seconds=round(wait, 1))
        end = now + min(wait, left)
        while (rest := end - time.monotonic()) > 0 and shared.stopping == stopping:
            self.alive()
            time.sleep(min(rest, 0.2))
        return True

    def _come_back(self) -> None:
        """Renew at once what is held; expired leases of others are theirs to renew for a while."""
        self._recover_from = time.monotonic() + self.job.queue.lease_seconds / 2
        self._last_beat = 0.0
        with self.shared.changed:
            for batch in self._held():
                batch.leased = -float("inf")
        self._beat()
        self._renew_first = False

    # the end

    def _give_back_spare(self) -> None:
        """Stopping: others may have at once what is not at work here."""
        shared = self.shared
        with shared.changed:
            claims = [c for batch in shared.ready for c in batch.claims] + self.breaker.claims
        if not claims:
            return
        with self.database.begin() as connection:
            self.job.queue.release(connection, claims)
        with shared.changed:
            shared.ready.clear()
            self.breaker.release()
        self.observer.event("released", tasks=len(claims))

    def _leave_early(self, computing: Batch) -> None:
        """The grace is over: give everything back, as if it had not been tried, and go."""
        self._give_back_spare()
        with self.database.begin() as connection:
            self.job.queue.release(connection, computing.claims)
            self._store_counters(connection, stopped=True)
        log.warning("the batch at hand took longer than the grace; its tasks were given back")
        self.observer.event("released", tasks=len(computing.claims))
        self._go(RELEASED, "grace is over")

    def _leave_hung(self, computing: Batch) -> None:
        """A computation hangs: count the attempt, and let the process be started again."""
        message = f"a batch of {len(computing.claims)} took longer than {self.options.hang:g} s"
        failures = [TaskFailure(c, "hung", message, retry=True) for c in computing.claims]
        self._give_back_spare()
        with self.database.begin() as connection:
            self.job.queue.fail(connection, failures)
            self._store_counters(connection, stopped=True)
        log.error("%s; this worker ends", message)
        self._go(HUNG, message)

    def _go(self, status: int, reason: str) -> None:
        self._tell_stopped(reason)
        self.shared.leave()
        self.leave(status)

    def _say_goodbye(self) -> None:
        """Give back what was not worked on.

        A batch whose computation raised counts as an attempt, or it would be tried for ever.
        """
        shared, queue = self.shared, self.job.queue
        ready = [claim for batch in shared.ready for claim in batch.claims]
        with self.database.begin() as connection:
            queue.release(connection, ready + self.breaker.claims)
            if shared.abandoned is not None:
                message = f"{type(shared.raised).__name__}: {shared.raised}"
                claims = shared.abandoned.claims
                queue.fail(
                    connection,
                    [TaskFailure(c, "worker_error", message, retry=True) for c in claims],
                )
            self._store_counters(connection, stopped=True)
        self._tell_stopped("asked to" if shared.stopping else "no open tasks")

    def _tell_stopped(self, reason: str) -> None:
        found = self.counters
        self.observer.event(
            "stopped", reason=reason, done=found.done, failed=found.failed, late=found.late
        )

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
