"""Labelling: claimed structures through a teacher into labels."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mlffdb.store import labels
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import Claim, Queue, TaskFailure
from mlffdb.store.records import decode
from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure, Prediction, Result, Teacher
from mlffdb.teachers.label import label
from mlffdb.teachers.screening import screen
from mlffdb_workers.job import Counters, Flaw

#: Failures that a broken device, a full disk or missing memory can bring to any structure.
SUSPICIOUS = frozenset(
    {"teacher_error", "device_fault", "out_of_memory", "not_finite_result", "out_of_bounds",
     "bad_shape", "missing_property"}
)  # fmt: skip


Prepared = tuple[list[Structure], list[Failure | None]]


class LabelJob:
    """Labels by one loaded teacher.

    device: what the labels say they were computed on; None for the teacher's own name for it
    """

    one_statement = True

    def __init__(
        self, queue: Queue, teacher: Teacher, run_id: int | None, *, device: str | None = None
    ) -> None:
        self.queue = queue
        self.teacher = teacher
        self.run_id = run_id
        self.device = device or teacher.device
        self.first_batch = teacher.first_batch
        self.together = 1

    def prepare(self, claims: Sequence[Claim]) -> Prepared:
        """Return the structures, and which of them the teacher must not compute."""
        structures = [decode(claim.row) for claim in claims]
        return structures, screen(self.teacher, structures)

    def compute(self, prepared: Prepared) -> list[Result]:
        """Return one result per structure."""
        results = label(self.teacher, *prepared)
        sizes = [result.batch_size for result in results if isinstance(result, Prediction)]
        self.together = max(sizes, default=1)
        return results

    def flaw(self, outcome: Result) -> Flaw | None:
        """Return why there is no label, or None."""
        if not isinstance(outcome, Failure):
            return None
        return Flaw(outcome.code, outcome.message, outcome.retry, outcome.code in SUSPICIOUS)

    def write(
        self, connection: Connection, claims: Sequence[Claim], outcomes: Sequence[Result]
    ) -> Counters:
        """Store labels and failures, where the leases are still held."""
        rows, failures = [], []
        for claim, result in zip(claims, outcomes, strict=True):
            if isinstance(result, Failure):
                failures.append(TaskFailure(claim, result.code, result.message, result.retry))
            else:
                rows.append(
                    LabelRow(
                        claim,
                        len(result.forces),
                        result.energy,
                        result.forces,
                        result.stress,
                        result.energy_spread,
                        result.forces_spread,
                        result.charge,
                        result.multiplicity,
                        result.batch_size,
                        result.wall_seconds,
                        result.details,
                    )
                )
        done = labels.complete(connection, self.queue, rows, run_id=self.run_id, device=self.device)
        failed = self.queue.fail(connection, failures)
        return Counters(len(done), failed, len(claims) - len(done) - failed)

    def budget(self) -> float | None:
        """Return the teacher's batch budget."""
        return self.teacher.budget
