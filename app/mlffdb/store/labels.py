"""Teachers, labelling tasks and labels in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import QuotedString
from psycopg2.extras import Json, execute_values
from sqlalchemy import Connection, bindparam, text

from mlffdb.store.database import driver_cursor
from mlffdb.store.queue import BY_KEY, LABEL_TASKS, Claim, Queue
from mlffdb.store.records import encode_forces
from mlffdb.store.schema.base import JSON

#: Priorities 0 … BANDS - 1 that ordinary tasks get, drawn by structure_id.
BANDS = 32


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """The columns of a teacher."""

    name: str
    fingerprint: str
    versions: Mapping[str, str]
    weights_sha256: str | None
    precision: str
    settings: Mapping[str, Any]
    untrained: bool
    conservative: bool
    licence: str


@dataclass(frozen=True, eq=False, slots=True)
class LabelRow:
    """A computed label of a claimed task; units and shapes as in the table."""

    claim: Claim
    n_atoms: int
    energy: float
    forces: NDArray[Any] | None
    stress: NDArray[np.float64] | None
    energy_spread: float | None
    forces_spread: float | None
    charge: int
    multiplicity: int | None
    batch_size: int
    wall_seconds: float
    details: Mapping[str, Any]


def register_teacher(connection: Connection, teacher: TeacherRow) -> int:
    """Return the id of the teacher with this fingerprint, inserting it if it is new."""
    found = connection.scalar(
        text("SELECT teacher_id FROM teacher WHERE fingerprint = :fingerprint"),
        {"fingerprint": teacher.fingerprint},
    )
    if found is not None:
        return int(found)
    insert = text(
        "INSERT INTO teacher (name, fingerprint, versions, weights_sha256, precision, settings,"
        " untrained, conservative, licence) VALUES (:name, :fingerprint, :versions,"
        " :weights_sha256, :precision, :settings, :untrained, :conservative, :licence)"
        " ON CONFLICT (fingerprint) DO UPDATE SET name = teacher.name RETURNING teacher_id"
    ).bindparams(bindparam("versions", type_=JSON), bindparam("settings", type_=JSON))
    values = {name: getattr(teacher, name) for name in TeacherRow.__slots__}
    values |= {"versions": dict(teacher.versions), "settings": dict(teacher.settings)}
    return int(connection.execute(insert, values).scalar_one())


def enqueue(
    connection: Connection,
    teacher_id: int,
    *,
    chosen: Collection[UUID] | None = None,
    limit: int | None = None,
) -> int:
    """Make a task for every structure that this teacher has neither labelled nor in its queue.

    Structures must have passed the checks before labelling: rejected ones and ones not checked
    yet are left out.

    chosen: only these, or None for all
    limit: at most so many new tasks, by structure_id; None for all

    Within a band of priority the small come first, so that a batch is of similar sizes; bands are
    drawn by structure_id, so that each holds all sizes, and half a campaign is not all small
    structures.
    Returns how many tasks are new.
    """
    result = connection.execute(
        text("""
INSERT INTO label_task (teacher_id, structure_id, priority, cost)
SELECT :teacher, s.structure_id, get_byte(uuid_send(s.structure_id), 0) * :bands / 256, s.n_atoms
FROM structure s
JOIN verdict v ON v.structure_id = s.structure_id AND v.teacher_id IS NULL AND v.is_current
WHERE v.verdict <> 'rejected'
    AND (CAST(:chosen AS uuid[]) IS NULL OR s.structure_id = ANY(CAST(:chosen AS uuid[])))
    AND NOT EXISTS (SELECT FROM label l
                    WHERE l.structure_id = s.structure_id AND l.teacher_id = :teacher)
    AND NOT EXISTS (SELECT FROM label_task k
                    WHERE k.structure_id = s.structure_id AND k.teacher_id = :teacher)
ORDER BY s.structure_id LIMIT :limit
ON CONFLICT (teacher_id, structure_id) DO NOTHING"""),
        {
            "teacher": teacher_id,
            "bands": BANDS,
            "chosen": None if chosen is None else [str(identity) for identity in chosen],
            "limit": limit,
        },
    )
    return int(result.rowcount)


def reopen_cancelled(connection: Connection, teacher_id: int) -> int:
    """Make tasks pending again that were cancelled for a rejection that no longer stands."""
    result = connection.execute(
        text("""
UPDATE label_task k SET status = 'pending', error_code = NULL, error = NULL, updated_at = now()
FROM verdict v
WHERE k.teacher_id = :teacher AND k.status = 'cancelled' AND k.error_code = 'rejected'
    AND v.structure_id = k.structure_id AND v.teacher_id IS NULL AND v.is_current
    AND v.verdict <> 'rejected'"""),
        {"teacher": teacher_id},
    )
    return int(result.rowcount)


def cancel_rejected(connection: Connection) -> int:
    """Cancel pending tasks of structures that the checks have rejected since."""
    result = connection.execute(
        text("""
UPDATE label_task k SET status = 'cancelled', error_code = 'rejected',
    error = 'rejected by the checks before labelling', updated_at = now()
FROM verdict v
WHERE k.status = 'pending' AND v.structure_id = k.structure_id AND v.teacher_id IS NULL
    AND v.is_current AND v.verdict = 'rejected'""")
    )
    return int(result.rowcount)


_COMPLETE = """
WITH input (key, attempt, n_atoms, energy, forces, stress, force_max, energy_spread, forces_spread,
    charge, multiplicity, batch_size, wall_seconds, details) AS (VALUES %s),
mine AS (
    UPDATE label_task q SET status = 'done', lease_expires_at = NULL, error_code = NULL,
        error = NULL, updated_at = now()
    FROM input i
    WHERE q.teacher_id = {teacher} AND q.structure_id = i.key AND q.status = 'running'
        AND q.attempts = i.attempt AND q.worker_id = '{worker}'
    RETURNING q.structure_id
)
INSERT INTO label (structure_id, teacher_id, run_id, n_atoms, energy, forces, stress, force_max,
    energy_spread, forces_spread, charge, multiplicity, batch_size, wall_seconds, worker_id, device,
    details)
SELECT i.key, {teacher}, {run}, i.n_atoms, i.energy, i.forces, i.stress, i.force_max,
    i.energy_spread, i.forces_spread, i.charge, i.multiplicity, i.batch_size, i.wall_seconds,
    '{worker}', {device}, i.details
FROM input i JOIN mine ON mine.structure_id = i.key
ON CONFLICT (structure_id, teacher_id) DO NOTHING
RETURNING structure_id"""

LABEL_TEMPLATE = """(%s::uuid, %s::smallint, %s::integer, %s::double precision, %s::bytea,
    %s::double precision[], %s::real, %s::real, %s::real, %s::smallint, %s::smallint, %s::integer,
    %s::real, %s::jsonb)"""


def complete(
    connection: Connection,
    queue: Queue,
    labels: Sequence[LabelRow],
    *,
    run_id: int | None,
    device: str,
) -> set[UUID]:
    """Write labels and complete their tasks in one statement, only where the lease is still held.

    Returns the ids that were written; the others were late, and nothing of them is stored.
    """
    assert queue.table is LABEL_TASKS
    if not labels:
        return set()
    rows = [label_values(label) for label in sorted(labels, key=lambda label: str(label.claim.key))]
    statement = BY_KEY + completion_sql(queue, run_id, device)
    with driver_cursor(connection) as cursor:
        written = execute_values(
            cursor, statement, rows, LABEL_TEMPLATE, page_size=len(rows), fetch=True
        )
    return {UUID(str(row[0])) for row in written}


def completion_sql(queue: Queue, run_id: int | None, device: str) -> str:
    """Return the statement that completes, with one %s for the rows of LABEL_TEMPLATE."""
    return _COMPLETE.format(
        teacher=int(queue.scope),
        worker=queue.worker_id,
        run="NULL::bigint" if run_id is None else int(run_id),
        device=QuotedString(device).getquoted().decode().replace("%", "%%"),
    )


def label_values(label: LabelRow) -> tuple[Any, ...]:
    forces = label.forces
    return (
        str(label.claim.key),
        label.claim.attempt,
        label.n_atoms,
        float(label.energy),
        None if forces is None else encode_forces(forces),
        None if label.stress is None else [float(value) for value in label.stress],
        None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        _float(label.energy_spread),
        _float(label.forces_spread),
        label.charge,
        label.multiplicity,
        label.batch_size,
        float(label.wall_seconds),
        Json(dict(label.details)) if label.details else None,
    )


def _float(value: Any) -> float | None:
    """Return *value* as the driver takes it: not a scalar of numpy."""
    return None if value is None else float(value)


def open_teachers(connection: Connection) -> list[str]:
    """Return the names of teachers that have open tasks, most open tasks first."""
    rows = connection.execute(
        text("""
SELECT t.name FROM label_task k JOIN teacher t USING (teacher_id)
WHERE k.status IN ('pending', 'running') GROUP BY t.name ORDER BY count(*) DESC, t.name""")
    )
    return [row[0] for row in rows]
