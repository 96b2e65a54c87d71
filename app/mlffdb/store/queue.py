"""The queue: claim, renew, release, fail, recover. Used by labelling and sampling alike.

A claim is one statement: tasks of one scope (a teacher, a plan) by priority, cost and key, FOR
UPDATE SKIP LOCKED over the partial index of pending rows; nothing of a paused teacher. It sets a
lease and counts the attempt; attempt and worker together are the token without which nothing can
be written later, so that a worker that lost its lease changes nothing. Attempts count when
claimed: a task that kills its workers ends as failed instead of looping. All times are the
server's.

Claims start behind the last one (a keyset cursor), so that finished rows at the head of the index
are not walked again; the cursor goes back to the start when a claim comes back short and every
CURSOR_SECONDS, or requeued and more urgent tasks would be missed.

Statements are sent as text in one message each, SET LOCAL included: on a connection that commits
by itself (`Database.autocommit`) each is one round trip and one transaction, and nothing stays
behind on a connection that a pooler gives to someone else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection

from mlffdb.store.database import driver_cursor

LEASE_SECONDS = 120.0
MAX_ATTEMPTS = 6
BACKOFF_SECONDS = 5.0  # doubled with every attempt, ± 10 %
CURSOR_SECONDS = 30.0
MESSAGE_LENGTH = 1000

#: A claim or completion goes by the keys of its rows, whatever the planner's statistics say: at
#: batches of 1,024 it was seen to turn to scans of the whole queue. Within the transaction only.
BY_KEY = """SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"""

#: Condition on a task ``q`` that the token of an input row ``i`` still holds. A task is running
#: if and only if it has a lease (``ck_label_task_lease``); saying so by the lease keeps the
#: planner from the partial index of running tasks, which it takes for empty and would read whole
#: for each row. For the same reason whose tasks they are comes as a column of ``i``, out of a
#: subquery that is not pulled up: as a constant it makes the planner read all tasks of a teacher
#: where it has no statistics yet, or outdated ones.
HELD = """q.lease_expires_at IS NOT NULL AND q.attempts = i.attempt
        AND q.worker_id = %(worker)s::uuid"""

#: A claim that a crash of the server forgets costs a batch computed again, since the
#: token no longer fits; waiting for the disk at each would cost more. Within the transaction only.
FORGETTABLE = "SET LOCAL synchronous_commit = off;"

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
    #: Condition without which nothing is claimed (``%(scope)s`` is whose tasks).
    open: str = "true"


LABEL_TASKS = TaskTable(
    "label_task",
    "teacher_id",
    "structure_id",
    "uuid",
    "s.numbers, s.positions, s.cell, s.pbc, s.charge, s.multiplicity",
    "JOIN structure s ON s.structure_id = c.structure_id",
    "(SELECT paused_at IS NULL FROM teacher WHERE teacher_id = %(scope)s)",
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
        behind = self._cursor is not None
        claims = self._claim(connection, limit, budget)
        if not claims and behind:
            self._cursor = None
            claims = self._claim(connection, limit, budget)
        return claims

    def _claim(self, connection: Connection, limit: int, budget: float | None) -> list[Claim]:
        cursor = self._cursor
        parameters = {
            "scope": self.scope,
            "limit": limit,
            "budget": budget,
            "worker": str(self.worker_id),
            "lease": self.lease_seconds,
        }
        if cursor is not None:
            parameters |= {"priority": cursor[0], "cost": cursor[1], "key": str(cursor[2])}
        statement = claim_sql(self.table, behind=cursor is not None, budget=budget is not None)
        rows = _rows(connection, FORGETTABLE + BY_KEY + statement, parameters)
        if len(rows) < limit and budget is None:
            self._cursor = None
        elif rows:
            now = time.monotonic()
            if cursor is None:
                self._cursor_born = now
            key, _, cost, priority = rows[-1][:4]
            stale = now - self._cursor_born > CURSOR_SECONDS
            self._cursor = None if stale else (priority, cost, key)
        return [Claim(row[0], row[1], row[2], row[4:]) for row in rows]

    def renew(self, connection: Connection, claims: Sequence[Claim]) -> set[Any]:
        """Extend the leases of *claims* and return the keys that are still this worker's."""
        changes = "lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s)"
        return self._change(connection, claims, changes)

    def release(self, connection: Connection, claims: Sequence[Claim]) -> int:
        """Give back tasks that were not worked on; their attempt does not count."""
        changes = """status = 'pending', attempts = q.attempts - 1, lease_expires_at = NULL,
    updated_at = now()"""
        self._cursor = None
        return len(self._change(connection, claims, changes))

    def fail(self, connection: Connection, failures: Sequence[TaskFailure]) -> int:
        """Store *failures*: those that can succeed later become pending with a backoff.

        Returns how many were still this worker's.
        """
        inputs: dict[str, tuple[str, list[Any]]] = {
            "code": ("text", [failure.code for failure in failures]),
            "message": ("text", [_storable(failure.message) for failure in failures]),
            "again": (
                "boolean",
                [f.retry and f.claim.attempt < MAX_ATTEMPTS for f in failures],
            ),
            "wait": ("float8", [_backoff(failure.claim.attempt) for failure in failures]),
        }
        changes = """status = CASE WHEN i.again THEN 'pending' ELSE 'failed' END,
    not_before = CASE WHEN i.again THEN now() + make_interval(secs => i.wait) ELSE q.not_before END,
    lease_expires_at = NULL, error_code = i.code, error = i.message, updated_at = now()"""
        return len(self._change(connection, [f.claim for f in failures], changes, inputs))

    def _change(
        self,
        connection: Connection,
        claims: Sequence[Claim],
        changes: str,
        inputs: dict[str, tuple[str, list[Any]]] | None = None,
    ) -> set[Any]:
        """Update the claimed rows that still carry this worker's token; return their keys.

        inputs: further columns of the input ``i``: name → type and a value per claim
        """
        if not claims:
            return set()
        table = self.table
        columns = {
            "key": (table.key_type, [str(claim.key) for claim in claims]),
            "attempt": ("smallint", [claim.attempt for claim in claims]),
            **(inputs or {}),
        }
        arrays = ", ".join(f"%({name})s::{kind}[]" for name, (kind, _) in columns.items())
        statement = f"""
UPDATE {table.name} q SET {changes}
FROM (SELECT %(scope)s AS scope, u.* FROM unnest({arrays}) AS u({", ".join(columns)})
    ORDER BY key) i
WHERE q.{table.scope} = i.scope AND q.{table.key} = i.key AND {HELD}
RETURNING q.{table.key}"""
        parameters = {name: values for name, (_, values) in columns.items()}
        parameters |= {
            "scope": self.scope,
            "worker": str(self.worker_id),
            "lease": self.lease_seconds,
        }
        return {row[0] for row in _rows(connection, BY_KEY + statement, parameters)}

    def recover(self, connection: Connection) -> int:
        """Make tasks with expired leases claimable again, or failed after MAX_ATTEMPTS.

        Returns how many there were.
        """
        found = recover(connection, self.table, self.scope)
        if found:
            self._cursor = None
        return found


def recover(connection: Connection, table: TaskTable, scope: Any) -> int:
    """Make tasks of *scope* with expired leases claimable again, or failed after MAX_ATTEMPTS."""
    rows = _rows(
        connection,
        f"""{BY_KEY}
WITH expired AS (
    SELECT {table.scope}, {table.key} FROM {table.name}
    WHERE {table.scope} = %(scope)s AND status = 'running'
        AND lease_expires_at < clock_timestamp()
    ORDER BY {table.key} FOR UPDATE SKIP LOCKED
)
UPDATE {table.name} q SET
    status = CASE WHEN attempts < %(most)s THEN 'pending' ELSE 'failed' END,
    error_code = %(code)s, error = %(message)s, lease_expires_at = NULL, updated_at = now()
FROM expired e WHERE q.{table.scope} = e.{table.scope} AND q.{table.key} = e.{table.key}
RETURNING 1""",
        {
            "scope": scope,
            "most": MAX_ATTEMPTS,
            "code": LOST,
            "message": LOST_MESSAGE.format(attempts=MAX_ATTEMPTS),
        },
    )
    return len(rows)


def claim_sql(table: TaskTable, *, behind: bool = False, budget: bool = False) -> str:
    """Return the statement that claims.

    behind: behind the cursor (``priority``, ``cost``, ``key``) only
    budget: only as many as ``budget`` allows, or one

    A row that changed while it was chosen may have another ctid by then; it is left for the next
    claim.
    """
    order = f"priority, cost, {table.key}"
    after = within = ""
    source = "candidate"
    if behind:
        after = (
            f"AND ({order}) > (%(priority)s::smallint, %(cost)s::real, %(key)s::{table.key_type})"
        )
    if budget:
        source = "within"
        within = f"""within AS (
    SELECT place, cost, sum(cost) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS total
    FROM candidate
), """
    enough = "AND (w.total <= %(budget)s OR w.total = w.cost)" if budget else ""
    return f"""
WITH candidate AS (
    SELECT ctid AS place, {order} FROM {table.name}
    WHERE {table.scope} = %(scope)s AND status = 'pending' AND not_before <= now()
        AND {table.open} {after}
    ORDER BY {order} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), {within}c AS (
    UPDATE {table.name} q SET status = 'running', attempts = q.attempts + 1,
        worker_id = %(worker)s::uuid, updated_at = now(),
        lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s)
    FROM {source} w WHERE q.ctid = w.place {enough}
    RETURNING q.{table.scope}, q.{table.key}, q.attempts, q.priority, q.cost
)
SELECT c.{table.key}, c.attempts, c.cost, c.priority, {table.columns}
FROM c {table.joins} ORDER BY c.priority, c.cost, c.{table.key}"""


def array(values: Sequence[float | None]) -> str:
    """Return Python's own integers and floats as an array in PostgreSQL's text form; None is NULL.

    The server reads one such literal much faster than an expression per value.
    """
    return "{" + repr(list(values))[1:-1].replace("None", "NULL") + "}"


def _rows(connection: Connection, statement: str, parameters: dict[str, Any]) -> list[Any]:
    """Run *statement*, one message to the server, and return its rows."""
    with driver_cursor(connection) as cursor:
        cursor.execute(statement, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows


def _storable(message: str) -> str:
    """Return *message* without what PostgreSQL's text cannot hold, cut to its length."""
    text = message.replace("\x00", "").encode(errors="replace").decode()
    return text[:MESSAGE_LENGTH]


def _backoff(attempt: int) -> float:
    return float(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(0.9, 1.1))  # noqa: S311
