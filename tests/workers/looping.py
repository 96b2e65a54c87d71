"""A worker's loop in the test's own process, on a real database, with work that a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import Connection, text

from mlffdb.store import labels, workers
from mlffdb.store.database import Database
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import LABEL_TASKS, Claim, Queue, TaskFailure
from mlffdb.store.records import decode
from mlffdb_workers.job import Counters, Flaw
from mlffdb_workers.loop import WorkLoop
from mlffdb_workers.observer import Observer
from mlffdb_workers.state import LoopOptions
from tests.helpers import add_molecules, add_teacher, approve_all

FAULT = Flaw("device_fault", "CUDA error: unspecified launch failure", retry=True, suspicious=True)
REFUSAL = Flaw("unsupported_element", "the teacher does not know Og", retry=False, suspicious=False)


def tasks_of_teacher(db: Database, count: int) -> int:
    """Return a teacher with so many pending tasks."""
    add_molecules(db, count)
    approve_all(db)
    teacher_id = add_teacher(db)
    with db.begin() as connection:
        labels.enqueue(connection, teacher_id)
    return teacher_id


class Job:
    """Labels of zero forces, or what *decide* says instead: a Flaw, or an energy.

    Used with `loop_of`, which gives it a queue.
    """

    one_statement = True

    def __init__(self, decide: Callable[[Claim], Any] = lambda _: -1.0, first_batch: int = 4):
        self.decide = decide
        self.first_batch = first_batch
        self.together = 1
        self.queue: Queue

    def prepare(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        return claims

    def compute(self, prepared: Sequence[Claim]) -> Sequence[Any]:
        return [self.decide(claim) for claim in prepared]

    def flaw(self, outcome: Any) -> Flaw | None:
        return outcome if isinstance(outcome, Flaw) else None

    def write(
        self, connection: Connection, claims: Sequence[Claim], outcomes: Sequence[Any]
    ) -> Counters:
        rows, failures = [], []
        for claim, outcome in zip(claims, outcomes, strict=True):
            if isinstance(outcome, Flaw):
                failures.append(TaskFailure(claim, outcome.code, outcome.message, outcome.retry))
                continue
            n_atoms = decode(claim.row).n_atoms
            rows.append(LabelRow(claim, n_atoms, outcome, np.zeros((n_atoms, 3)), None, None, None,
                                 0, 1, 1, 0.1, {}))  # fmt: skip
        done = labels.complete(connection, self.queue, rows, run_id=None, device="cpu")
        failed = self.queue.fail(connection, failures)
        return Counters(len(done), failed, len(claims) - len(done) - failed)

    def budget(self) -> float | None:
        return None


def loop_of(
    db: Database,
    teacher: int,
    job: Job,
    *,
    lease: float = 120.0,
    observer: Observer | None = None,
    **options: Any,
) -> WorkLoop:
    """Return a loop whose process never ends: statuses are kept in its attribute ``left``."""
    worker = register(db)
    job.queue = Queue(LABEL_TASKS, teacher, worker, lease_seconds=lease)
    left: list[int] = []
    chosen = LoopOptions(**options)
    loop = WorkLoop(db, job, worker, options=chosen, observer=observer, leave=left.append)
    loop.left = left  # type: ignore[attr-defined]
    return loop


def register(db: Database) -> UUID:
    """Return the id of a worker that the database knows."""
    worker = uuid4()
    with db.begin() as connection:
        workers.register(connection, worker, kind="label", device="cpu")
    return worker


def in_thread(loop: WorkLoop) -> threading.Thread:
    """Run *loop* in a thread; what it raises is kept in the thread's attribute ``raised``."""

    def run() -> None:
        try:
            loop.run()
        except Exception as error:
            thread.raised = error  # type: ignore[attr-defined]

    thread = threading.Thread(target=run)
    thread.raised = None  # type: ignore[attr-defined]
    thread.start()
    return thread


def attempts(db: Database) -> dict[str, set[int]]:
    """Return the attempts that tasks of each status have had."""
    found: dict[str, set[int]] = {}
    with db.begin() as connection:
        for status, count in connection.execute(text("SELECT status, attempts FROM label_task")):
            found.setdefault(status, set()).add(count)
    return found


def number(db: Database, query: str) -> int:
    """Return the number that *query* gives."""
    with db.begin() as connection:
        return int(connection.scalar(text(query)) or 0)
