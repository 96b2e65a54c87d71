"""Tasks as an administrator sees and changes them: listed, retried, cancelled, queued again, moved.

Nothing here touches a label. A task that a worker holds can be cancelled under it: completion
demands that the task is still running, so what the worker writes later changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, text

from mlffdb.store import reader
from mlffdb.store.database import Database, driver_cursor
from mlffdb.store.labels import BANDS
from mlffdb.store.queue import LABEL_TASKS, SAMPLE_TASKS, TaskTable

Kind = Literal["label", "sample"]

#: Tasks that are changed in one transaction.
PAGE = 20_000


@dataclass(frozen=True, slots=True)
class _Tasks:
    """A kind of tasks: their table, the view that conditions are about, and their owner's name."""

    table: TaskTable
    view: str
    #: Column of the view with the name that people give: of the teacher, or of the plan.
    name: str
    #: Condition on a task ``q`` without which it must not become pending.
    allowed: str
    #: Condition on a task ``q`` that it is done with nothing to show for it.
    without_result: str


_KINDS: dict[Kind, _Tasks] = {
    "label": _Tasks(
        LABEL_TASKS,
        "tasks",
        "teacher",
        "NOT EXISTS (SELECT FROM verdict v WHERE v.structure_id = q.structure_id"
        " AND v.teacher_id IS NULL AND v.is_current AND v.verdict = 'rejected')",
        "NOT EXISTS (SELECT FROM label l WHERE l.structure_id = q.structure_id"
        " AND l.teacher_id = q.teacher_id)",
    ),
    "sample": _Tasks(
        SAMPLE_TASKS, "sample_tasks", "plan", "true", "coalesce(q.inserted + q.existing, 0) = 0"
    ),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks are meant."""

    kind: Kind = "label"
    #: Teacher of labelling tasks, plan of sampling tasks; None for all.
    name: str | None = None
    #: Statuses; none for all.
    statuses: tuple[str, ...] = ()
    #: Condition by the user over the view, run as the reader.
    where: str | None = None
    #: Only tasks of former exact teachers.
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What an action does to a task ``q``."""

    #: Statuses that it takes.
    takes: tuple[str, ...]
    #: SET clause.
    changes: str
    #: Whether the task becomes pending, which rejected structures must not.
    opens: bool = False
    #: Whether tasks that are done are taken only if nothing came of them.
    only_without_result: bool = False


_PENDING = (
    "status = 'pending', attempts = 0, not_before = now(), lease_expires_at = NULL,"
    " updated_at = now()"
)

RETRY = Change(("failed",), _PENDING, opens=True)
REQUEUE = Change(
    ("cancelled", "done"),
    f"{_PENDING}, error_code = NULL, error = NULL",
    opens=True,
    only_without_result=True,
)
CANCEL = Change(
    ("pending", "running"),
    "status = 'cancelled', lease_expires_at = NULL, error_code = 'cancelled',"
    " error = 'by `mlffdb tasks cancel`', updated_at = now()",
)


def priority_change(priority: int) -> Change:
    """Return the change that gives open tasks the user's *priority*; their band stays."""
    band = f"((q.priority % {BANDS}) + {BANDS}) % {BANDS}"
    return Change(("pending", "running"), f"priority = {BANDS * int(priority)} + {band}")


def listed(database: Database, selection: Selection, limit: int) -> list[dict[str, Any]]:
    """Return the view's rows of the selected tasks, those changed last first."""
    tasks = _KINDS[selection.kind]
    return _rows(
        database,
        f"SELECT * FROM {tasks.view} WHERE {_condition(selection)}"
        f" ORDER BY updated_at DESC, {tasks.table.key} LIMIT {int(limit)}",
        selection,
    )


def counted(database: Database, selection: Selection) -> list[dict[str, Any]]:
    """Return how many tasks are selected, by teacher or plan, status and reason."""
    tasks = _KINDS[selection.kind]
    return _rows(
        database,
        f"SELECT {tasks.name}, status, error_code, count(*) AS tasks FROM {tasks.view}"
        f" WHERE {_condition(selection)} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
        selection,
    )


def apply(
    database: Database,
    selection: Selection,
    change: Change,
    *,
    limit: int | None = None,
    dry_run: bool = False,
) -> Iterator[int]:
    """Change the selected tasks, a page per transaction; gives how many of each page.

    limit: at most so many tasks, by key
    dry_run: only count what would change
    """
    after, left = None, limit
    while left is None or left > 0:
        keys = _page(database, selection, after)
        if not keys:
            return
        after = keys[-1]
        with database.begin() as connection:
            changed = _change(connection, selection.kind, change, keys, left, dry_run)
        yield changed
        left = None if left is None else left - changed


def _page(
    database: Database, selection: Selection, after: tuple[Any, Any] | None
) -> list[tuple[Any, Any]]:
    """Return the keys of the next selected tasks in the order of the table."""
    tasks = _KINDS[selection.kind]
    scope, key = tasks.table.scope, tasks.table.key
    beyond = (
        f" AND ({scope}, {key}) > ({_literal(after[0])}, {_literal(after[1])})" if after else ""
    )
    rows = _rows(
        database,
        f"SELECT {scope}, {key} FROM {tasks.view} WHERE {_condition(selection)}{beyond}"
        f" ORDER BY {scope}, {key} LIMIT {PAGE}",
        selection,
    )
    return [(row[scope], row[key]) for row in rows]


def _change(
    connection: Connection,
    kind: Kind,
    change: Change,
    keys: Sequence[tuple[Any, Any]],
    limit: int | None,
    dry_run: bool,
) -> int:
    tasks = _KINDS[kind]
    table = tasks.table
    conditions = [f"q.status IN ({', '.join(map(_literal, change.takes))})"]
    if change.opens:
        conditions.append(tasks.allowed)
    if change.only_without_result:
        conditions.append(f"(q.status <> 'done' OR {tasks.without_result})")
    chosen = f"""
    SELECT q.{table.scope}, q.{table.key} FROM {table.name} q
    JOIN unnest(CAST(:scopes AS text[]), CAST(:keys AS text[])) AS i(scope, key)
        ON q.{table.scope} = i.scope::{_scope_type(kind)}
        AND q.{table.key} = i.key::{table.key_type}
    WHERE {" AND ".join(conditions)}
    ORDER BY q.{table.scope}, q.{table.key} LIMIT :limit"""
    statement = (
        f"SELECT count(*) FROM ({chosen}) AS chosen"
        if dry_run
        else f"""
WITH chosen AS ({chosen} FOR UPDATE OF q), changed AS (
    UPDATE {table.name} q SET {change.changes} FROM chosen c
    WHERE q.{table.scope} = c.{table.scope} AND q.{table.key} = c.{table.key} RETURNING 1
)
SELECT count(*) FROM changed"""
    )
    parameters = {
        "scopes": [str(scope) for scope, _ in keys],
        "keys": [str(key) for _, key in keys],
        "limit": limit,
    }
    return int(connection.execute(text(statement), parameters).scalar_one())


def _condition(selection: Selection) -> str:
    parts = ["true"]
    if selection.name is not None:
        parts.append(f"{_KINDS[selection.kind].name} = {_literal(selection.name)}")
    if selection.statuses:
        parts.append(f"status IN ({', '.join(map(_literal, selection.statuses))})")
    if selection.superseded:
        parts.append("superseded")
    if selection.where is not None:
        parts.append(f"(\n{selection.where}\n)")
    return " AND ".join(parts)


def _rows(database: Database, statement: str, selection: Selection) -> list[dict[str, Any]]:
    """Run a query over the views: as the reader if a user's condition is in it."""
    if selection.where is not None:
        return reader.query_with_condition(
            database, statement, view=_KINDS[selection.kind].view
        ).as_dicts()
    with database.begin() as connection:
        cursor = driver_cursor(connection)  # no parameters: % and : in names mean themselves
        cursor.execute(statement)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _scope_type(kind: Kind) -> str:
    return "integer" if kind == "label" else "text"


def _literal(value: Any) -> str:
    """Return *value* as an SQL literal."""
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
