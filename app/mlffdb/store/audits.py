"""Labels to compute again, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mlffdb.store.records import STRUCTURE_COLUMNS, decode, decode_forces, encode_forces
from mlffdb.structures import Structure

_STRUCTURE = ", ".join(f"s.{column}" for column in STRUCTURE_COLUMNS.split(", "))


@dataclass(frozen=True, slots=True)
class LabellingTeacher:
    """An exact teacher that has labels here."""

    teacher_id: int
    name: str
    fingerprint: str
    versions: dict[str, str]
    weights_sha256: str | None
    precision: str
    settings: dict[str, Any]
    #: Labels with forces.
    labels: int


@dataclass(frozen=True, eq=False, slots=True)
class StoredLabel:
    """A label with its structure, both in canonical atom order."""

    structure_id: UUID
    formula: str
    structure: Structure
    energy: float
    forces: NDArray[Any]
    stress: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False, slots=True)
class AuditRow:
    """A label computed again; differences are again minus label, largest of all components."""

    structure_id: UUID
    energy: float
    forces: NDArray[Any]
    stress: NDArray[np.float64] | None
    #: eV/atom
    energy_difference: float
    #: eV/Å
    force_difference: float
    within_tolerance: bool


def labelling_teachers(connection: Connection) -> list[LabellingTeacher]:
    """Return the exact teachers that have labels, most labels first."""
    rows = connection.execute(
        text("""
SELECT t.teacher_id, t.name, t.fingerprint, t.versions, t.weights_sha256, t.precision, t.settings,
    l.labels
FROM teacher t JOIN (SELECT teacher_id, count(*) AS labels FROM label
    WHERE forces IS NOT NULL GROUP BY teacher_id) l USING (teacher_id)
ORDER BY l.labels DESC, t.teacher_id""")
    ).all()
    return [LabellingTeacher(*row) for row in rows]


def draw(connection: Connection, teacher_id: int, *, count: int, seed: int) -> list[UUID]:
    """Return *count* structures with a label of this teacher, drawn by *seed*, in random order."""
    rows = connection.execute(
        text("""
SELECT structure_id FROM label WHERE teacher_id = :teacher AND forces IS NOT NULL
ORDER BY md5(structure_id::text || :seed), structure_id LIMIT :count"""),
        {"teacher": teacher_id, "seed": str(seed), "count": count},
    )
    return [row[0] for row in rows]


def fetch(connection: Connection, teacher_id: int, ids: Sequence[UUID]) -> list[StoredLabel]:
    """Return the labels of *ids*, in their order."""
    rows = connection.execute(
        text(f"""
SELECT l.structure_id, s.formula, l.energy, l.forces, l.stress, l.n_atoms, {_STRUCTURE}
FROM label l JOIN structure s USING (structure_id)
WHERE l.teacher_id = :teacher AND l.structure_id = ANY(CAST(:ids AS uuid[]))"""),
        {"teacher": teacher_id, "ids": [str(identity) for identity in ids]},
    ).all()
    found = {row[0]: _stored(row) for row in rows}
    return [found[identity] for identity in ids]


def write(
    connection: Connection,
    rows: Sequence[AuditRow],
    *,
    teacher_id: int,
    run_id: int,
    worker_id: UUID,
    device: str,
) -> None:
    """Store what was computed again, beside the labels that count."""
    if not rows:
        return
    connection.execute(
        text("""
INSERT INTO audit (structure_id, teacher_id, run_id, n_atoms, energy, forces, stress,
    energy_difference, force_difference, within_tolerance, worker_id, device)
VALUES (:structure, :teacher, :run, :n_atoms, :energy, :forces, :stress, :energy_difference,
    :force_difference, :within, :worker, :device)"""),
        [
            {
                "structure": row.structure_id,
                "teacher": teacher_id,
                "run": run_id,
                "n_atoms": len(row.forces),
                "energy": row.energy,
                "forces": encode_forces(row.forces),
                "stress": None if row.stress is None else [float(value) for value in row.stress],
                "energy_difference": row.energy_difference,
                "force_difference": row.force_difference,
                "within": row.within_tolerance,
                "worker": worker_id,
                "device": device,
            }
            for row in rows
        ],
    )


def _stored(row: Any) -> StoredLabel:
    structure_id, formula, energy, forces, stress, n_atoms, *structure = row
    return StoredLabel(
        structure_id,
        formula,
        decode(structure),
        float(energy),
        decode_forces(bytes(forces), n_atoms),
        None if stress is None else np.array(stress, dtype=np.float64),
    )
