"""What the main thread and the courier of one worker share, under one lock."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from mlffdb.store.queue import Claim
from mlffdb_workers.breaker import MAX_FAULTS
from mlffdb_workers.pace import Pace

#: A batch that computes for longer is taken to hang.
HANG_SECONDS = 1800.0
#: How long a worker that is asked to stop goes on with its batch. Batch systems warn 120 s before
#: the end (Slurm: ``--signal=B:TERM@120``).
GRACE_SECONDS = 100.0
#: Batches that are claimed ahead, and that may wait to be written: the bounds of both queues.
MAX_READY = 2
MAX_COMPUTED = 2


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How a worker behaves."""

    #: Go on when there are no open tasks left.
    follow: bool = False
    #: Seconds for the batch at hand after `stop`; then its leases are given back.
    grace: float = GRACE_SECONDS
    #: Seconds after which a batch is taken to hang.
    hang: float = HANG_SECONDS
    #: Tasks that may fail in a row before the worker stops; 0 for any number.
    max_faults: int = MAX_FAULTS


@dataclass(slots=True, eq=False)
class Batch:
    """Claimed tasks on their way."""

    claims: list[Claim]
    prepared: Any = None
    outcomes: Any = None
    #: When the leases were taken or last extended, monotonic s.
    leased: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Shared:
    """State of both threads; `changed` guards it and tells of changes."""

    pace: Pace
    changed: threading.Condition = field(default_factory=threading.Condition)
    ready: deque[Batch] = field(default_factory=deque)
    computing: Batch | None = None
    computing_since: float = 0.0
    computed: deque[Batch] = field(default_factory=deque)
    #: A batch whose computation raised, and what it raised.
    abandoned: Batch | None = None
    raised: BaseException | None = None
    #: Asked to stop; when, monotonic s.
    stopping: bool = False
    stopping_since: float = 0.0
    #: No open tasks are left.
    empty: bool = False
    #: The main thread has ended.
    finished: bool = False
    #: The courier has left, with what it could not go on from.
    left: bool = False
    error: BaseException | None = None

    def stop(self) -> None:
        """Note the wish to stop; the first counts."""
        with self.changed:
            if not self.stopping:
                self.stopping, self.stopping_since = True, time.monotonic()
            self.changed.notify_all()

    def leave(self, error: BaseException | None = None) -> None:
        """Note that the courier is gone."""
        with self.changed:
            self.left, self.error = True, self.error or error
            self.changed.notify_all()
