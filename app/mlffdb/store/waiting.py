"""What a worker asks when a claim brought nothing: whether to wait, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from mlffdb.store.queue import LABEL_TASKS, TaskTable


@dataclass(frozen=True, slots=True)
class Waiting:
    """State of a scope (a teacher, a plan) that has nothing to claim."""

    #: Tasks are pending (retried later, or of a paused teacher) or running (others have them).
    open: bool
    #: Seconds until the first lease of a running task ends; negative if it has; None without any.
    expires_in: float | None
    #: Its teacher is paused: nothing is claimed until it is resumed.
    paused: bool = False


def look(connection: Connection, table: TaskTable, scope: Any) -> Waiting:
    """Return why there is nothing to claim; reads the partial indexes, not the finished tasks."""
    paused = "false"
    if table is LABEL_TASKS:
        paused = "(SELECT paused_at IS NOT NULL FROM teacher WHERE teacher_id = :scope)"
    pending, expires_in, is_paused = connection.execute(
        text(f"""
SELECT EXISTS (SELECT FROM {table.name} WHERE {table.scope} = :scope AND status = 'pending'),
    (SELECT extract(epoch FROM min(lease_expires_at) - clock_timestamp()) FROM {table.name}
     WHERE {table.scope} = :scope AND status = 'running'), {paused}"""),
        {"scope": scope},
    ).one()
    wait = None if expires_in is None else float(expires_in)
    return Waiting(bool(pending) or wait is not None, wait, bool(is_paused))
