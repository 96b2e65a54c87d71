"""Choosing what is labelled by whom, and where that stands."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from mlffdb.config import Settings
from mlffdb.store import labels, queue, reader
from mlffdb.store.database import Database
from mlffdb.store.labels import Order
from mlffdb.teachers import registry

GPU_TEACHER = "orb-v2"
CPU_TEACHER = "gfn2-xtb"


@dataclass(frozen=True, slots=True)
class LabelProgress:
    """Where a teacher stands."""

    pending: int
    running: int
    done: int
    failed: int
    cancelled: int
    #: Cost (atoms) of what is done or failed, and of what is open: time goes by it, not by counts.
    ended_cost: float = 0.0
    open_cost: float = 0.0

    @property
    def open(self) -> int:
        """Tasks still to do."""
        return self.pending + self.running


def choose_teachers(database: Database, settings: Settings, *, gpu: bool) -> list[str]:
    """Return the teachers to label with when none is named.

    Those that have open tasks (on a GPU without those that cannot use one), else the configured
    one, else orb-v2 on a GPU and gfn2-xtb without.
    """
    with database.begin() as connection:
        found = labels.open_teachers(connection)
    if gpu:
        found = [name for name in found if not registry.describe(name).cpu_only]
    return found or [default_teacher(settings, "cuda" if gpu else "cpu")]


def default_teacher(settings: Settings, device: str) -> str:
    """Return the configured teacher, else orb-v2 on a GPU and gfn2-xtb without."""
    return settings.teacher or (CPU_TEACHER if device == "cpu" else GPU_TEACHER)


def enqueue(
    database: Database,
    teacher_id: int,
    *,
    where: str | None = None,
    limit: int | None = None,
    order: Order = "mixed",
    priority: int = 0,
) -> int:
    """Make tasks for structures that this teacher has not labelled; returns how many are new.

    where: SQL condition over the view ``structures``, run as the reader
    limit: at most so many open tasks
    order: how tasks of the same priority follow each other
    priority: smaller is labelled first
    Also takes back what dead workers held, and what was cancelled for a rejection since revised.
    """
    chosen = None if where is None else reader.select_structures(database, where)
    with database.begin() as connection:
        queue.recover(connection, queue.LABEL_TASKS, teacher_id)
        labels.reopen_cancelled(connection, teacher_id)
        if limit is not None:
            limit = max(0, limit - _open_tasks(database, teacher_id))
        return labels.enqueue(
            connection, teacher_id, chosen=chosen, limit=limit, order=order, priority=priority
        )


def _open_tasks(database: Database, teacher_id: int) -> int:
    return progress(database, teacher_id).open


def progress(database: Database, teacher_id: int) -> LabelProgress:
    """Return where a teacher stands."""
    with database.begin() as connection:
        row = connection.execute(
            text("""
SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'running'),
    count(*) FILTER (WHERE status = 'done'), count(*) FILTER (WHERE status = 'failed'),
    count(*) FILTER (WHERE status = 'cancelled'),
    coalesce(sum(cost::float8) FILTER (WHERE status IN ('done', 'failed')), 0),
    coalesce(sum(cost::float8) FILTER (WHERE status IN ('pending', 'running')), 0)
FROM label_task WHERE teacher_id = :teacher"""),
            {"teacher": teacher_id},
        ).one()
    return LabelProgress(*row)


def failures(database: Database, teacher_id: int) -> list[tuple[str, int, str]]:
    """Return reason, count and an example of the failed tasks, most frequent first."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
SELECT coalesce(error_code, 'unknown'), count(*), min(error) FROM label_task
WHERE teacher_id = :teacher AND status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1"""),
            {"teacher": teacher_id},
        ).all()
    return [(row[0], int(row[1]), row[2] or "") for row in rows]


def would_label(database: Database, name: str, where: str | None) -> dict[str, object]:
    """Return what `label` would do: structures without a label by any teacher of this name.

    Structures that are not checked yet are counted too; checking may reject some.
    """
    chosen = None if where is None else reader.select_structures(database, where)
    with database.begin() as connection:
        row = connection.execute(
            text("""
SELECT count(*) FILTER (WHERE v.verdict IS DISTINCT FROM 'rejected'),
    count(*) FILTER (WHERE v.verdict IS NULL),
    (SELECT count(*) FROM label_task k JOIN teacher t USING (teacher_id)
     WHERE t.name = :name AND k.status IN ('pending', 'running'))
FROM structure s
LEFT JOIN verdict v ON v.structure_id = s.structure_id AND v.teacher_id IS NULL AND v.is_current
WHERE (CAST(:chosen AS uuid[]) IS NULL OR s.structure_id = ANY(CAST(:chosen AS uuid[])))
    AND NOT EXISTS (SELECT FROM label l JOIN teacher t USING (teacher_id)
                    WHERE l.structure_id = s.structure_id AND t.name = :name)"""),
            {"name": name, "chosen": None if chosen is None else [str(i) for i in chosen]},
        ).one()
    return {"teacher": name, "new": row[0], "unchecked": row[1], "open": row[2]}
