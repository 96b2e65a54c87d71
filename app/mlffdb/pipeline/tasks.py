"""Looking after the queue: tasks listed, retried, cancelled, queued again; teachers paused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text

from mlffdb.errors import PlanError, QueryError, TeacherError
from mlffdb.store import pausing, tasks
from mlffdb.store.database import Database
from mlffdb.store.pausing import Pause
from mlffdb.store.tasks import Change, Selection

#: What can be done to tasks, by the name of the command.
ACTIONS = {"retry": tasks.RETRY, "cancel": tasks.CANCEL, "requeue": tasks.REQUEUE}


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What came of a change of tasks."""

    action: str
    kind: str
    #: Tasks of the statuses that the action takes, by teacher or plan, status and reason.
    selected: list[dict[str, Any]]
    #: Tasks that were changed, or would be.
    changed: int
    dry_run: bool

    @property
    def left(self) -> int:
        """Selected tasks that stay as they are: rejected structures, results that are there."""
        return int(sum(row["tasks"] for row in self.selected)) - self.changed


@dataclass(frozen=True, slots=True)
class PauseReport:
    """A teacher after `pause` or `resume`."""

    teacher: str
    paused: bool
    #: Whether it was the other before.
    changed: bool
    why: str | None
    pending: int
    running: int


def list_tasks(database: Database, selection: Selection, limit: int) -> list[dict[str, Any]]:
    """Return the selected tasks, those changed last first.

    Raises TeacherError or PlanError where the selection names one that this database never saw.
    """
    _require_known(database, selection)
    return tasks.listed(database, selection, limit)


def change_tasks(
    database: Database,
    action: str,
    selection: Selection,
    *,
    priority: int | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> TaskChange:
    """Do *action* (retry, cancel, requeue, or priority) to the selected tasks.

    Raises QueryError if the condition fails or a status is asked for that the action cannot take,
    and TeacherError or PlanError where the selection names one that this database never saw.
    """
    _require_known(database, selection)
    if action == "priority":
        assert priority is not None
        change = tasks.priority_change(priority)
    else:
        change = ACTIONS[action]
    narrowed = _narrowed(action, selection, change)
    selected = tasks.counted(database, narrowed)
    total = sum(row["tasks"] for row in selected)
    changed = 0
    if total:
        for count in tasks.apply(database, narrowed, change, limit=limit, dry_run=dry_run):
            changed += count
            if on_progress is not None:
                on_progress(changed, total if limit is None else min(limit, total))
    return TaskChange(action, selection.kind, selected, changed, dry_run)


def _require_known(database: Database, selection: Selection) -> None:
    if selection.name is None:
        return
    statement = (
        "SELECT EXISTS (SELECT FROM teacher WHERE name = :name)"
        if selection.kind == "label"
        else "SELECT EXISTS (SELECT FROM run WHERE action = 'sample' AND name = :name)"
    )
    with database.begin() as connection:
        known = connection.scalar(text(statement), {"name": selection.name})
    if known:
        return
    if selection.kind == "label":
        raise _unknown(database, selection.name)
    raise PlanError(
        f"{database.label} has sampled no plan {selection.name}; `mlffdb status` lists those with "
        "tasks"
    )


def _narrowed(action: str, selection: Selection, change: Change) -> Selection:
    """Return *selection* with the statuses that the action takes."""
    wrong = [status for status in selection.statuses if status not in change.takes]
    if wrong:
        raise QueryError(
            f"`mlffdb tasks {action}` takes tasks that are {' or '.join(change.takes)}, not "
            f"{wrong[0]}; docs/queue.md says which command leads where"
        )
    return replace(selection, statuses=selection.statuses or change.takes)


def pause_teacher(database: Database, name: str, why: str | None = None) -> PauseReport:
    """Let workers claim no more tasks of a teacher; batches at hand are finished.

    Raises TeacherError if this database knows no teacher of that name.
    """
    with database.begin() as connection:
        was = pausing.pause_of(connection, name)
        if not pausing.pause(connection, name, why):
            raise _unknown(database, name)
    return _report(database, name, changed=was is None)


def resume_teacher(database: Database, name: str) -> PauseReport:
    """Let workers claim the tasks of a teacher again; raises TeacherError as `pause_teacher`."""
    with database.begin() as connection:
        resumed = pausing.resume(connection, name)
    return _report(database, name, changed=resumed > 0)


def teacher_pause(database: Database, name: str) -> Pause | None:
    """Return since when and why a teacher is paused, or None."""
    with database.begin() as connection:
        return pausing.pause_of(connection, name)


def _report(database: Database, name: str, *, changed: bool) -> PauseReport:
    with database.begin() as connection:
        row = connection.execute(
            text("""
SELECT count(DISTINCT t.teacher_id) AS known,
    count(*) FILTER (WHERE k.status = 'pending') AS pending,
    count(*) FILTER (WHERE k.status = 'running') AS running
FROM teacher t LEFT JOIN label_task k ON k.teacher_id = t.teacher_id
    AND k.status IN ('pending', 'running') WHERE t.name = :name"""),
            {"name": name},
        ).one()
        pause = pausing.pause_of(connection, name)
    if not row.known:
        raise _unknown(database, name)
    return PauseReport(
        name, pause is not None, changed, pause.why if pause else None, row.pending, row.running
    )


def _unknown(database: Database, name: str) -> TeacherError:
    return TeacherError(
        f"{database.label} has seen no teacher {name}; `mlffdb status` lists those with tasks"
    )
