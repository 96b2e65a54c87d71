"""Sampling tasks in the database: the same queue, another table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extras import Json, execute_values
from sqlalchemy import Connection, bindparam, text

from mlffdb.store import structures
from mlffdb.store.database import driver_cursor
from mlffdb.store.queue import SAMPLE_TASKS, Claim, Queue
from mlffdb.store.schema.base import JSON
from mlffdb.structures import Candidate


@dataclass(frozen=True, slots=True)
class SampleProgress:
    """Where a plan stands."""

    tasks: int
    done: int
    failed: int
    running: int
    inserted: int
    existing: int
    rejected: dict[str, int]

    @property
    def open(self) -> int:
        """Tasks still to do."""
        return self.tasks - self.done - self.failed


def enqueue(
    connection: Connection, plan_digest: str, run_id: int, tasks: Iterable[tuple[int, Any, float]]
) -> int:
    """Insert tasks as (index, payload, cost); returns how many are new."""
    rows = [(plan_digest, index, run_id, Json(payload), cost) for index, payload, cost in tasks]
    if not rows:
        return 0
    with driver_cursor(connection) as cursor:
        new = execute_values(
            cursor,
            "INSERT INTO sample_task (plan_digest, task_index, run_id, payload, cost) VALUES %s"
            " ON CONFLICT (plan_digest, task_index) DO NOTHING RETURNING 1",
            rows,
            page_size=1000,
            fetch=True,
        )
    return len(new)


def complete(
    connection: Connection,
    queue: Queue,
    claim: Claim,
    *,
    run_id: int,
    candidates: Sequence[Candidate],
    rejected: Counter[str],
) -> bool:
    """Store what came of a task and complete it, in the caller's transaction.

    Returns False, and stores nothing, if the lease is no longer held.
    """
    assert queue.table is SAMPLE_TASKS
    statement = text("""
UPDATE sample_task SET status = 'done', lease_expires_at = NULL, error_code = NULL, error = NULL,
    rejected = :rejected, updated_at = now()
WHERE plan_digest = :plan AND task_index = :index AND status = 'running'
    AND attempts = :attempt AND worker_id = :worker RETURNING 1""").bindparams(
        bindparam("rejected", type_=JSON)
    )
    token = {"plan": queue.scope, "index": claim.key}
    mine = connection.execute(
        statement,
        {
            **token,
            "rejected": dict(rejected),
            "attempt": claim.attempt,
            "worker": queue.worker_id,
        },
    ).scalar()
    if mine is None:
        return False
    added = structures.add(connection, run_id, candidates)
    connection.execute(
        text(
            "UPDATE sample_task SET inserted = :inserted, existing = :existing"
            " WHERE plan_digest = :plan AND task_index = :index"
        ),
        {**token, "inserted": added.inserted, "existing": added.existing},
    )
    return True


def progress(connection: Connection, plan_digest: str) -> SampleProgress:
    """Return where the plan stands."""
    row = connection.execute(
        text("""
SELECT count(*), count(*) FILTER (WHERE status = 'done'),
    count(*) FILTER (WHERE status IN ('failed', 'cancelled')),
    count(*) FILTER (WHERE status = 'running'),
    coalesce(sum(inserted), 0), coalesce(sum(existing), 0)
FROM sample_task WHERE plan_digest = :plan"""),
        {"plan": plan_digest},
    ).one()
    reasons = connection.execute(
        text("""
SELECT r.key, sum(r.value::int)::int FROM sample_task t, jsonb_each_text(t.rejected) r
WHERE plan_digest = :plan GROUP BY r.key ORDER BY 2 DESC, 1"""),
        {"plan": plan_digest},
    )
    tasks, done, failed, running, inserted, existing = (int(value) for value in row)
    reasons_found = {str(row[0]): int(row[1]) for row in reasons}
    return SampleProgress(tasks, done, failed, running, inserted, existing, reasons_found)
