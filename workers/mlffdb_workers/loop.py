"""The loop of every worker: claim, compute and write overlap, and nothing is lost.

The main thread computes; a courier thread (`courier`) brings it the next batches and takes away
what is computed. Both queues between them are bounded: the main thread waits while MAX_COMPUTED
batches are not written, and no more than MAX_READY are claimed ahead.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

from mlffdb.store.database import Database
from mlffdb_workers.courier import Courier
from mlffdb_workers.job import Counters, Job
from mlffdb_workers.observer import NOBODY, Observer, timed
from mlffdb_workers.pace import Pace
from mlffdb_workers.risk import is_risky
from mlffdb_workers.state import MAX_COMPUTED, Batch, LoopOptions, Shared


class WorkLoop:
    """One worker process.

    leave: ends the process with a status; called by the courier where a computation outlasts the
        grace or hangs, since nothing else ends one
    alive: called by the courier at every turn
    """

    def __init__(
        self,
        database: Database,
        job: Job,
        worker_id: UUID,
        *,
        options: LoopOptions | None = None,
        observer: Observer | None = None,
        leave: Callable[[int], None] = os._exit,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self.counters = Counters()
        self.observer = observer or NOBODY
        self._shared = Shared(Pace(job.first_batch))
        self._courier = Courier(
            database,
            job,
            worker_id,
            self._shared,
            self.counters,
            options=options or LoopOptions(),
            observer=self.observer,
            leave=leave,
            alive=alive,
        )

    def stop(self) -> None:
        """Claim nothing more, finish the batch at hand, give back the rest; from any thread."""
        self._shared.stop()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._shared.stopping

    def run(self) -> Counters:
        """Work until there are no open tasks, or `stop` is called; returns the counts.

        Raises WorkerBrokenError where everything failed, and what the computation or the database
        raised.
        """
        self.observer.event("started")
        shared = self._shared
        courier = threading.Thread(target=self._courier.run, name="courier", daemon=True)
        courier.start()
        try:
            while (batch := self._next()) is not None:
                self._compute(batch)
        except BaseException as error:
            shared.raised = error
            raise
        finally:
            with shared.changed:
                shared.abandoned, shared.computing = shared.computing, None
                shared.finished = True
                shared.changed.notify_all()
            courier.join()
        if shared.error is not None:
            raise shared.error
        return self.counters

    def _next(self) -> Batch | None:
        shared = self._shared
        with timed(self.observer, "wait"), shared.changed:
            while shared.stopping or not shared.ready or self._must_wait():
                if shared.stopping or shared.empty or shared.left:
                    return None
                shared.changed.wait(1.0)
            batch = shared.ready.popleft()
            shared.computing, shared.computing_since = batch, time.monotonic()
            shared.changed.notify_all()
        return batch

    def _must_wait(self) -> bool:
        """Whether too much is to be written before the next batch."""
        unwritten = len(self._shared.computed)
        return unwritten >= (1 if is_risky(self._shared.ready[0].claims) else MAX_COMPUTED)

    def _compute(self, batch: Batch) -> None:
        shared = self._shared
        cost = sum(claim.cost for claim in batch.claims)
        with timed(self.observer, "compute", tasks=len(batch.claims), cost=cost) as facts:
            batch.outcomes = self.job.compute(batch.prepared)
            facts["budget"] = self.job.budget()
        batch.prepared = None
        with shared.changed:
            shared.computing = None
            if shared.left:
                return  # given back meanwhile
            seconds = time.monotonic() - shared.computing_since
            self.counters.compute_seconds += seconds
            shared.pace.learn(len(batch.claims), cost, seconds, self.job.together)
            shared.computed.append(batch)
            shared.changed.notify_all()
