"""Teachers, labelling tasks and labels in the database."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, text

from mlffdb.errors import ConfigError
from mlffdb.store.database import driver_cursor
from mlffdb.store.queue import BY_KEY, HELD, LABEL_TASKS, Claim, Queue, array
from mlffdb.store.records import encode_forces
from mlffdb.store.schema.base import JSON

#: Priorities 0 … BANDS - 1 that ordinary tasks get, drawn by structure_id.
BANDS = 32
#: The user's priorities are -LIMIT … LIMIT - 1: what a smallint holds with the band.
LIMIT = 2**15 // BANDS

Order = Literal["cost", "mixed"]


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


@dataclass(eq=False, slots=True)
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
    priority: int = 0,
    order: Order = "mixed",
) -> int:
    """Make a task for every structure that this teacher has neither labelled nor in its queue.

    Structures must have passed the checks before labelling: rejected ones and ones not checked
    yet are left out.

    chosen: only these, or None for all
    limit: at most so many new tasks, by structure_id; None for all
    priority: -1024 … 1023, smaller is claimed first
    order: ``cost``: the small first. ``mixed``: in BANDS bands drawn by structure_id, each of all
        sizes, so that half a campaign is not all small structures; within a band the small first,
        so that a batch is of similar sizes

    Rows are written in the order of claims, so that a claim reads and changes few pages.
    Returns how many tasks are new.
    Raises ConfigError for a priority out of range.
    """
    if not -LIMIT <= priority < LIMIT:
        raise ConfigError(f"the priority must be from {-LIMIT} to {LIMIT - 1}, not {priority}")
    result = connection.execute(
        text("""
INSERT INTO label_task (teacher_id, structure_id, priority, cost)
SELECT :teacher, structure_id, :first + get_byte(uuid_send(structure_id), 0) * :bands / 256, cost
FROM (
    SELECT s.structure_id, s.n_atoms AS cost
    FROM structure s
    JOIN verdict v ON v.structure_id = s.structure_id AND v.teacher_id IS NULL AND v.is_current
    WHERE v.verdict <> 'rejected'
        AND (CAST(:chosen AS uuid[]) IS NULL OR s.structure_id = ANY(CAST(:chosen AS uuid[])))
        AND NOT EXISTS (SELECT FROM label l
                        WHERE l.structure_id = s.structure_id AND l.teacher_id = :teacher)
        AND NOT EXISTS (SELECT FROM label_task k
                        WHERE k.structure_id = s.structure_id AND k.teacher_id = :teacher)
    ORDER BY CASE WHEN CAST(:limit AS bigint) IS NOT NULL THEN s.structure_id END LIMIT :limit
) new
ORDER BY 3, 4, 2
ON CONFLICT (teacher_id, structure_id) DO NOTHING"""),
        {
            "teacher": teacher_id,
            "first": BANDS * priority,
            "bands": BANDS if order == "mixed" else 1,
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


#: One statement: the tasks that are still this worker's become done, and their labels are stored.
#: Forces and stresses of the batch come as one value each, which the rows take their parts of.
_COMPLETE = f"""
WITH mine AS (
    UPDATE label_task q SET status = 'done', lease_expires_at = NULL, error_code = NULL,
        error = NULL, updated_at = now()
    FROM (SELECT %(teacher)s AS teacher, u.* FROM unnest(
        %(key)s::uuid[], %(attempt)s::smallint[], %(n_atoms)s::integer[],
        %(energy)s::double precision[], %(forces_at)s::integer[], %(forces_length)s::integer[],
        %(stress_at)s::integer[], %(force_max)s::real[], %(energy_spread)s::real[],
        %(forces_spread)s::real[], %(charge)s::smallint[], %(multiplicity)s::smallint[],
        %(batch_size)s::integer[], %(wall_seconds)s::real[], %(details)s::text[])
        AS u(key, attempt, n_atoms, energy, forces_at, forces_length, stress_at, force_max,
            energy_spread, forces_spread, charge, multiplicity, batch_size, wall_seconds, details)
        OFFSET 0) i
    WHERE q.teacher_id = i.teacher AND q.structure_id = i.key AND {HELD}
    RETURNING i.*
)
INSERT INTO label (structure_id, teacher_id, run_id, n_atoms, energy, forces, stress, force_max,
    energy_spread, forces_spread, charge, multiplicity, batch_size, wall_seconds, worker_id, device,
    details)
SELECT key, %(teacher)s, %(run)s, n_atoms, energy,
    substr(%(forces)s::bytea, forces_at, forces_length),
    (%(stress)s::double precision[])[stress_at : stress_at + 5], force_max, energy_spread,
    forces_spread, charge, multiplicity, batch_size, wall_seconds, %(worker)s::uuid, %(device)s,
    details::jsonb
FROM mine
ON CONFLICT (structure_id, teacher_id) DO NOTHING
RETURNING structure_id"""


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
    if not labels:
        return set()
    with driver_cursor(connection) as cursor:
        cursor.execute(*completion(queue, labels, run_id, device))
        return {row[0] for row in cursor.fetchall()}


def completion(
    queue: Queue, labels: Sequence[LabelRow], run_id: int | None, device: str
) -> tuple[str, dict[str, Any]]:
    """Return the statement that completes and its parameters; rows in the order of their keys."""
    assert queue.table is LABEL_TASKS
    rows = sorted(labels, key=lambda label: label.claim.key.int)
    parameters = {
        "teacher": queue.scope,
        "worker": str(queue.worker_id),
        "run": run_id,
        "device": device,
        "key": "{" + ",".join([row.claim.key.hex for row in rows]) + "}",
        "attempt": array([row.claim.attempt for row in rows]),
        "n_atoms": array([int(row.n_atoms) for row in rows]),
        "energy": array([float(row.energy) for row in rows]),
        "energy_spread": array([_float(row.energy_spread) for row in rows]),
        "forces_spread": array([_float(row.forces_spread) for row in rows]),
        "charge": array([int(row.charge) for row in rows]),
        "multiplicity": array([_integer(row.multiplicity) for row in rows]),
        "batch_size": array([int(row.batch_size) for row in rows]),
        "wall_seconds": array([float(row.wall_seconds) for row in rows]),
        "details": _details(rows),
        **_forces([row.forces for row in rows]),
        **_stress(rows),
    }
    return BY_KEY + _COMPLETE, parameters


def _forces(forces: Sequence[NDArray[Any] | None]) -> dict[str, Any]:
    """Return all forces as one value, where each begins in it (from 1), its length, largest."""
    parts = [b"" if one is None else encode_forces(one) for one in forces]
    lengths = [len(part) for part in parts]
    ends = accumulate(lengths)
    largest = iter(_largest([one for one in forces if one is not None]))
    return {
        "forces": b"".join(parts),
        "forces_at": array(
            [end - n + 1 if n else None for end, n in zip(ends, lengths, strict=True)]
        ),
        "forces_length": array(lengths),
        "force_max": array([next(largest) if length else None for length in lengths]),
    }


def _largest(forces: Sequence[NDArray[Any]]) -> list[float]:
    """Return the largest norm of a force in each array of shape (n_atoms, 3), eV/Å."""
    if not forces:
        return []
    every = np.concatenate(forces, dtype=np.float64)
    starts = list(accumulate([len(part) for part in forces[:-1]], initial=0))
    squares = np.einsum("ij,ij->i", every, every)
    found: list[float] = np.sqrt(np.maximum.reduceat(squares, starts)).tolist()
    return found


def _stress(rows: Sequence[LabelRow]) -> dict[str, str]:
    """Return the stresses of all rows in one array, and where in it each begins, from 1."""
    places: list[int | None] = []
    values: list[float] = []
    for row in rows:
        if row.stress is None:
            places.append(None)
            continue
        if len(row.stress) != 6:
            raise ValueError(f"stress has {len(row.stress)} components instead of 6")
        places.append(len(values) + 1)
        values += [float(value) for value in row.stress]
    return {"stress": array(values), "stress_at": array(places)}


def _details(rows: Sequence[LabelRow]) -> Any:
    """Return the details as JSON; a plain array where nobody has any, which is the usual case."""
    if not any(row.details for row in rows):
        return array([None] * len(rows))
    return [json.dumps(dict(row.details)) if row.details else None for row in rows]


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


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
