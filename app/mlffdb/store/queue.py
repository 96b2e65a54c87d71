"""The queue: claim, renew, release, fail, recover. Used by labelling and sampling alike.

A claim is one statement: tasks of one scope (a teacher, a plan) by priority, cost and key, FOR
UPDATE SKIP LOCKED over the partial index of pending rows. It sets a lease and counts the attempt;
attempt and worker together are the token without which nothing can be written later, so that a
worker that lost its lease changes nothing. Attempts count when claimed: a task that kills its
workers ends as failed instead of looping. All times are the server's.

Claims start behind the last one (a keyset cursor), so that finished rows at the head of the index
are not walked again; the cursor goes back to the start when a claim comes back short and every
CURSOR_SECONDS, or requeued and more urgent tasks would be missed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

from psycopg2.extras import execute_values
from sqlalchemy import Connection, text

from mlffdb.store.database import driver_cursor

LEASE_SECONDS = 120.0
MAX_ATTEMPTS = 6
BACKOFF_SECONDS = 5.0  # doubled with every attempt, ± 10 %
CURSOR_SECONDS = 30.0
MESSAGE_LENGTH = 1000

#: A claim or completion goes by the keys of its rows, whatever the planner's statistics say: at
#: batches of 1,024 it was seen to turn to scans of the whole queue. Within the transaction only.
BY_KEY = """SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;"""

LOST = "worker_lost"
LOST_MESSAGE = "its workers died or hung {attempts} times; see `mlffdb status`"


@dataclass(frozen=True, slots=True)
class TaskTable:
    """A table with the columns of TaskColumns."""

    name: Literal["label_task", "sample_task"]
    #: Column that says whose tasks they are.
    scope: str
    #: Column that names a task within its scope, and its type.
    key: str
    key_type: str
    #: Columns that come with a claim, and the joins they need (``c`` is the claimed row).
    columns: str
    joins: str = ""


LABEL_TASKS = TaskTable(
    "label_task",
    "teacher_id",
    "structure_id",
    "uuid",
    "s.numbers, s.positions, s.cell, s.pbc, s.charge, s.multiplicity",
    "JOIN structure s ON s.structure_id = c.structure_id",
)
SAMPLE_TASKS = TaskTable(
    "sample_task",
    "plan_digest",
    "task_index",
    "integer",
    "t.payload, t.run_id",
    "JOIN sample_task t ON t.plan_digest = c.plan_digest AND t.task_index = c.task_index",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased task."""

    key: Any
    #: Which attempt this is; with the worker's id, the token that fences writes.
    attempt: int
    cost: float
    #: The table's further columns.
    row: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """Why a claimed task did not succeed."""

    claim: Claim
    code: str
    message: str
    retry: bool


class Queue:
    """One worker's view of the tasks of one scope."""

    def __init__(
        self,
        table: TaskTable,
        scope: Any,
        worker_id: UUID,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.table = table
        self.scope = scope
        self.worker_id = worker_id
        self.lease_seconds = lease_seconds
        self._cursor: tuple[int, float, Any] | None = None
        self._cursor_born = 0.0

    def claim(self, connection: Connection, limit: int, budget: float | None = None) -> list[Claim]:
        """Lease up to *limit* pending tasks, whose cost sums up to *budget* or to one task."""
        cursor = self._cursor
        claims = self._claim(connection, limit, budget, cursor)
        if not claims and cursor is not None:
            self._cursor = None
            claims = self._claim(connection, limit, budget, None)
        return claims

    def _claim(
        self, connection: Connection, limit: int, budget: float | None, cursor: Any
    ) -> list[Claim]:
        table = self.table
        parameters = {
            "scope": self.scope,
            "limit": limit,
            "budget": budget,
            "worker": str(self.worker_id),
            "lease": self.lease_seconds,
        }
        after = ""
        if cursor is not None:
            after = (
                f"AND (priority, cost, {table.key}) > (CAST(:priority AS smallint),"
                f" CAST(:cost AS real), CAST(:key AS {table.key_type}))"
            )
            parameters |= {"priority": cursor[0], "cost": cursor[1], "key": str(cursor[2])}
        rows = connection.execute(text(BY_KEY + claim_sql(table, after)), parameters).all()
        if len(rows) < limit and budget is None:
            self._cursor = None
        elif rows:
            now = time.monotonic()
            if cursor is None:
                self._cursor_born = now
            last = rows[-1]
            stale = now - self._cursor_born > CURSOR_SECONDS
            self._cursor = None if stale else (last.priority, last.cost, last.key)
        return [Claim(row.key, row.attempts, row.cost, tuple(row[4:])) for row in rows]

    def renew(self, connection: Connection, claims: Sequence[Claim]) -> set[Any]:
        """Extend the leases of *claims* and return the keys that are still this worker's."""
        rows = self._mine(
            connection,
            "lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s)",
            claims,
        )
        return {row[0] for row in rows}

    def release(self, connection: Connection, claims: Sequence[Claim]) -> int:
        """Give back tasks that were not worked on; their attempt does not count."""
        rows = self._mine(
            connection,
            "status = 'pending', attempts = q.attempts - 1, lease_expires_at = NULL,"
            " updated_at = now()",
            claims,
        )
        self._cursor = None
        return len(rows)

    def fail(self, connection: Connection, failures: Sequence[TaskFailure]) -> int:
        """Store *failures*: those that can succeed later become pending with a backoff.

        Returns how many were still this worker's.
        """
        if not failures:
            return 0
        table = self.table
        rows = [
            (
                str(f.claim.key),
                f.claim.attempt,
                f.code,
                _storable(f.message),
                f.retry and f.claim.attempt < MAX_ATTEMPTS,
                _backoff(f.claim.attempt),
            )
            for f in sorted(failures, key=lambda f: str(f.claim.key))
        ]
        statement = f"""
UPDATE {table.name} q SET
    status = CASE WHEN i.again THEN 'pending' ELSE 'failed' END,
    not_before = CASE WHEN i.again THEN now() + make_interval(secs => i.wait) ELSE q.not_before END,
    lease_expires_at = NULL, error_code = i.code, error = i.message, updated_at = now()
FROM (VALUES %s) AS i(key, attempt, code, message, again, wait)
WHERE q.{table.scope} = {_literal(self.scope)} AND q.{table.key} = i.key::{table.key_type}
    AND q.status = 'running' AND q.attempts = i.attempt AND q.worker_id = '{self.worker_id}'
RETURNING 1"""
        with driver_cursor(connection) as cursor:
            done = execute_values(cursor, statement, rows, page_size=len(rows), fetch=True)
        return len(done)

    def recover(self, connection: Connection) -> int:
        """Make tasks with expired leases claimable again, or failed after MAX_ATTEMPTS.

        Returns how many there were.
        """
        found = recover(connection, self.table, self.scope)
        if found:
            self._cursor = None
        return found

    def open_tasks(self, connection: Connection) -> int:
        """Return how many tasks are pending or running."""
        table = self.table
        return int(
            connection.scalar(
                text(
                    f"SELECT count(*) FROM {table.name} WHERE {table.scope} = :scope"
                    " AND status IN ('pending', 'running')"
                ),
                {"scope": self.scope},
            )
            or 0
        )

    def _mine(self, connection: Connection, changes: str, claims: Sequence[Claim]) -> list[Any]:
        """Update the claimed rows that still carry this worker's token; return their keys."""
        if not claims:
            return []
        table = self.table
        changes = changes.replace("%(lease)s", str(float(self.lease_seconds)))
        statement = f"""
UPDATE {table.name} q SET {changes}
FROM (VALUES %s) AS i(key, attempt)
WHERE q.{table.scope} = {_literal(self.scope)} AND q.{table.key} = i.key::{table.key_type}
    AND q.status = 'running' AND q.attempts = i.attempt AND q.worker_id = '{self.worker_id}'
RETURNING q.{table.key}"""
        rows = sorted((str(claim.key), claim.attempt) for claim in claims)
        with driver_cursor(connection) as cursor:
            result = execute_values(cursor, statement, rows, page_size=len(rows), fetch=True)
        return cast("list[Any]", result)


def recover(connection: Connection, table: TaskTable, scope: Any) -> int:
    """Make tasks of *scope* with expired leases claimable again, or failed after MAX_ATTEMPTS."""
    result = connection.execute(
        text(f"""
WITH expired AS (
    SELECT {table.scope}, {table.key} FROM {table.name}
    WHERE {table.scope} = :scope AND status = 'running' AND lease_expires_at < clock_timestamp()
    ORDER BY {table.key} FOR UPDATE SKIP LOCKED
)
UPDATE {table.name} q SET
    status = CASE WHEN attempts < :most THEN 'pending' ELSE 'failed' END,
    error_code = :code, error = :message, lease_expires_at = NULL, updated_at = now()
FROM expired e WHERE q.{table.scope} = e.{table.scope} AND q.{table.key} = e.{table.key}"""),
        {
            "scope": scope,
            "most": MAX_ATTEMPTS,
            "code": LOST,
            "message": LOST_MESSAGE.format(attempts=MAX_ATTEMPTS),
        },
    )
    return int(result.rowcount)


def claim_sql(table: TaskTable, after: str = "") -> str:
    """Return the statement that claims; *after* is the cursor's condition."""
    return f"""
WITH candidate AS (
    SELECT {table.scope}, {table.key}, priority, cost FROM {table.name}
    WHERE {table.scope} = :scope AND status = 'pending' AND not_before <= now() {after}
    ORDER BY priority, cost, {table.key} LIMIT :limit FOR UPDATE SKIP LOCKED
), within AS (
    SELECT *, sum(cost) OVER (ORDER BY priority, cost, {table.key}) AS total FROM candidate
), c AS (
    UPDATE {table.name} q SET status = 'running', attempts = q.attempts + 1,
        worker_id = CAST(:worker AS uuid), updated_at = now(),
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
    FROM within w
    WHERE q.{table.scope} = w.{table.scope} AND q.{table.key} = w.{table.key}
        AND (CAST(:budget AS real) IS NULL OR w.total <= :budget OR w.total = w.cost)
    RETURNING q.{table.scope}, q.{table.key}, q.attempts, q.priority, q.cost
)
SELECT c.{table.key} AS key, c.attempts, c.cost, c.priority, {table.columns}
FROM c {table.joins} ORDER BY c.priority, c.cost, c.{table.key}"""


def _literal(scope: Any) -> str:
    """Return *scope*, an integer or a hex digest of our own, as an SQL literal."""
    if isinstance(scope, int):
        return str(scope)
    assert str(scope).isalnum(), scope
    return f"'{scope}'"


def _storable(message: str) -> str:
    """Return *message* without what PostgreSQL's text cannot hold, cut to its length."""
    text = message.replace("\x00", "").encode(errors="replace").decode()
    return text[:MESSAGE_LENGTH]


def _backoff(attempt: int) -> float:
    return float(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(0.9, 1.1))  # noqa: S311
