"""Labelling: claimed structures through a teacher into labels."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mlffdb.store import labels
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import Claim, Queue, TaskFailure
from mlffdb.store.records import decode
from mlffdb.teachers.base import Failure, Result, Teacher
from mlffdb.teachers.label import label
from mlffdb_workers.loop import Counters


class LabelJob:
    """Labels by one loaded teacher."""

    def __init__(self, queue: Queue, teacher: Teacher, run_id: int | None) -> None:
        self.queue = queue
        self.teacher = teacher
        self.run_id = run_id
        self.first_batch = teacher.first_batch

    def compute(self, claims: Sequence[Claim]) -> list[Result]:
        """Return one result per claim."""
        return label(self.teacher, [decode(claim.row) for claim in claims])

    def write(
        self, connection: Connection, claims: Sequence[Claim], outcome: Sequence[Result]
    ) -> Counters:
        """Store labels and failures, where the leases are still held."""
        rows, failures = [], []
        for claim, result in zip(claims, outcome, strict=True):
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
        done = labels.complete(
            connection, self.queue, rows, run_id=self.run_id, device=self.teacher.device
        )
        failed = self.queue.fail(connection, failures)
        return Counters(len(done), failed, len(claims) - len(done) - failed)

    def budget(self) -> float | None:
        """Return the teacher's batch budget."""
        return self.teacher.budget
