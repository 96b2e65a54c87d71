"""Tasks claimed and completed without a teacher."""

from __future__ import annotations

from uuid import uuid4

import numpy as np

from mlffdb.store import labels
from mlffdb.store.database import Database
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import LABEL_TASKS, Claim, Queue


def claim(db: Database, teacher: int, count: int) -> tuple[Queue, list[Claim]]:
    """Claim tasks as a worker of its own."""
    queue = Queue(LABEL_TASKS, teacher, uuid4())
    with db.begin() as connection:
        return queue, queue.claim(connection, count)


def complete(db: Database, queue: Queue, claims: list[Claim]) -> int:
    """Write a label for every claim; returns how many were taken."""
    rows = [
        LabelRow(
            claim=c, n_atoms=len(c.row[0]), energy=-1.0,
            forces=np.zeros((len(c.row[0]), 3), np.float32), stress=None, energy_spread=None,
            forces_spread=None, charge=0, multiplicity=None, batch_size=1, wall_seconds=0.0,
            details={},
        )
        for c in claims
    ]  # fmt: skip
    with db.begin() as connection:
        return len(labels.complete(connection, queue, rows, run_id=None, device="cpu"))
