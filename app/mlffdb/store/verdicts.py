"""Findings and verdicts: added to, never overwritten; the newest verdict is the current one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg2.extras import execute_values
from sqlalchemy import Connection, text

from mlffdb.store.database import Database, driver_cursor
from mlffdb.store.records import STRUCTURE_COLUMNS, decode, decode_forces
from mlffdb.structures import Structure

MESSAGE_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class FindingRow:
    """The columns of a finding."""

    structure_id: UUID
    check: str
    severity: str
    value: float | None
    threshold: float | None
    unit: str
    message: str
    atoms: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class StoredStructure:
    """A structure as it is stored."""

    structure_id: UUID
    structure: Structure
    domain: str
    tags: tuple[str, ...]
    #: SMILES of its origins.
    smiles: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class StoredLabel:
    """A label with its structure; forces (n_atoms, 3) eV/Å, stress (6,) eV/Å³, or None."""

    stored: StoredStructure
    energy: float
    forces: NDArray[np.float64] | None
    stress: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False, slots=True)
class LabelComposition:
    """What the energy check needs of all labels of a teacher in one domain; B labels.

    ids: B structure ids
    counts: (B, 119) int32, atoms by atomic number
    charges: (B,) int16, e
    energies: (B,) float64, eV
    """

    ids: list[UUID]
    counts: NDArray[np.int32]
    charges: NDArray[np.int16]
    energies: NDArray[np.float64]
    tags: list[tuple[str, ...]]


_STORED = f"""s.structure_id, {", ".join("s." + c.strip() for c in STRUCTURE_COLUMNS.split(","))},
    s.domain, s.tags,
    ARRAY(SELECT DISTINCT o.smiles FROM origin o
          WHERE o.structure_id = s.structure_id AND o.smiles IS NOT NULL ORDER BY 1)"""

_STALE = """NOT EXISTS (SELECT FROM verdict v WHERE v.structure_id = s.structure_id
        AND v.is_current AND v.rule_version = :rules AND v.teacher_id {teacher})"""


def stale_structures(connection: Connection, rule_version: str) -> list[UUID]:
    """Return the structures that have no current verdict by *rule_version*, by id."""
    stale = _STALE.format(teacher="IS NULL")
    rows = connection.execute(
        text(f"SELECT s.structure_id FROM structure s WHERE {stale} ORDER BY 1"),
        {"rules": rule_version},
    )
    return [row[0] for row in rows]


def unjudged_structures(connection: Connection, limit: int | None = None) -> list[UUID]:
    """Return the structures that have no verdict at all, by id."""
    rows = connection.execute(
        text("""
SELECT s.structure_id FROM structure s
WHERE NOT EXISTS (SELECT FROM verdict v WHERE v.structure_id = s.structure_id
    AND v.is_current AND v.teacher_id IS NULL)
ORDER BY 1 LIMIT :limit"""),
        {"limit": limit},
    )
    return [row[0] for row in rows]


def stale_labels(connection: Connection, teacher_id: int, rule_version: str) -> list[UUID]:
    """Return the structures whose label by a teacher has no current verdict by *rule_version*."""
    stale = _STALE.format(teacher="= :teacher")
    rows = connection.execute(
        text(
            "SELECT s.structure_id FROM label s WHERE s.teacher_id = :teacher"
            f" AND {stale} ORDER BY 1"
        ),
        {"teacher": teacher_id, "rules": rule_version},
    )
    return [row[0] for row in rows]


def read_structures(connection: Connection, ids: Sequence[UUID]) -> list[StoredStructure]:
    """Return the stored structures of *ids*, by id."""
    rows = connection.execute(
        text(
            f"SELECT {_STORED} FROM structure s"
            " WHERE s.structure_id = ANY(CAST(:ids AS uuid[])) ORDER BY 1"
        ),
        {"ids": [str(identity) for identity in ids]},
    )
    return [_stored(row) for row in rows]


def read_labels(connection: Connection, teacher_id: int, ids: Sequence[UUID]) -> list[StoredLabel]:
    """Return the labels by a teacher of *ids*, by id."""
    rows = connection.execute(
        text(
            f"SELECT {_STORED}, l.energy, l.forces, l.stress"
            " FROM label l JOIN structure s USING (structure_id)"
            " WHERE l.teacher_id = :teacher AND s.structure_id = ANY(CAST(:ids AS uuid[]))"
            " ORDER BY 1"
        ),
        {"teacher": teacher_id, "ids": [str(identity) for identity in ids]},
    )
    return [_label(row) for row in rows]


def label_compositions(connection: Connection, teacher_id: int) -> dict[str, LabelComposition]:
    """Return composition, charge and energy of all labels of a teacher, by domain."""
    rows = connection.execute(
        text("""
SELECT s.domain, s.structure_id, s.elements, s.element_counts, l.charge, l.energy, s.tags
FROM label l JOIN structure s USING (structure_id)
WHERE l.teacher_id = :teacher ORDER BY s.domain, s.structure_id"""),
        {"teacher": teacher_id},
    ).all()
    by_domain: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        by_domain.setdefault(row[0], []).append(row[1:])
    return {domain: _composition(found) for domain, found in by_domain.items()}


def _composition(rows: Sequence[Sequence[Any]]) -> LabelComposition:
    counts = np.zeros((len(rows), 119), dtype=np.int32)
    for index, row in enumerate(rows):
        counts[index, row[1]] = row[2]
    return LabelComposition(
        [row[0] for row in rows],
        counts,
        np.array([row[3] for row in rows], dtype=np.int16),
        np.array([row[4] for row in rows], dtype=np.float64),
        [tuple(row[5]) for row in rows],
    )


def _stored(row: Sequence[Any]) -> StoredStructure:
    return StoredStructure(
        row[0],
        decode(row[1:7]),
        row[7],
        tuple(row[8]),
        tuple(row[9]),
    )


def _label(row: Sequence[Any]) -> StoredLabel:
    stored = _stored(row)
    energy, forces, stress = row[10:13]
    return StoredLabel(
        stored,
        float(energy),
        None
        if forces is None
        else decode_forces(forces, stored.structure.n_atoms).astype(np.float64),
        None if stress is None else np.asarray(stress, dtype=np.float64),
    )


def write(
    connection: Connection,
    *,
    run_id: int,
    rule_version: str,
    teacher_id: int | None,
    verdicts: Mapping[UUID, str],
    findings: Sequence[FindingRow],
) -> None:
    """Add *findings*, and make *verdicts* the current ones.

    What another validation judges at the same time keeps the verdict of whoever comes first.
    """
    if not verdicts:
        return
    ids = [str(identity) for identity in sorted(verdicts)]
    connection.execute(
        text("""
WITH old AS (
    SELECT structure_id, verdict_id FROM verdict
    WHERE is_current AND structure_id = ANY(CAST(:ids AS uuid[]))
        AND teacher_id IS NOT DISTINCT FROM CAST(:teacher AS integer)
    ORDER BY structure_id FOR UPDATE
)
UPDATE verdict v SET is_current = false FROM old
WHERE v.structure_id = old.structure_id AND v.verdict_id = old.verdict_id"""),
        {"ids": ids, "teacher": teacher_id},
    )
    with driver_cursor(connection) as cursor:
        given = execute_values(
            cursor,
            "INSERT INTO verdict (structure_id, teacher_id, run_id, verdict, rule_version)"
            " VALUES %s ON CONFLICT (structure_id, teacher_id) WHERE is_current DO NOTHING"
            " RETURNING structure_id",
            [
                (str(identity), teacher_id, run_id, verdicts[identity], rule_version)
                for identity in sorted(verdicts)
            ],
            page_size=len(verdicts),
            fetch=True,
        )
        written = {UUID(str(row[0])) for row in given}
        findings = [row for row in findings if row.structure_id in written]
        if findings:
            execute_values(
                cursor,
                "INSERT INTO finding (structure_id, teacher_id, run_id, check_name, rule_version,"
                " severity, value, threshold, unit, message, atoms) VALUES %s",
                [_finding(row, run_id, rule_version, teacher_id) for row in findings],
                page_size=len(findings),
            )


def _finding(
    row: FindingRow, run_id: int, rule_version: str, teacher_id: int | None
) -> tuple[Any, ...]:
    return (
        str(row.structure_id),
        teacher_id,
        run_id,
        row.check,
        rule_version,
        row.severity,
        row.value,
        row.threshold,
        row.unit,
        row.message[:MESSAGE_LENGTH],
        list(row.atoms) or None,
    )


def current_findings(connection: Connection, teacher_id: int, check: str) -> set[UUID]:
    """Return the structures whose current label verdict rests on a finding of *check*."""
    rows = connection.execute(
        text("""
SELECT DISTINCT f.structure_id FROM finding f JOIN verdict v
    ON v.structure_id = f.structure_id AND v.is_current AND v.run_id = f.run_id
    AND v.teacher_id = f.teacher_id
WHERE f.teacher_id = :teacher AND f.check_name = :check"""),
        {"teacher": teacher_id, "check": check},
    )
    return {row[0] for row in rows}


def add_pairs(
    connection: Connection, run_id: int, pairs: Sequence[tuple[UUID, UUID, float]]
) -> int:
    """Insert near-duplicate pairs (id, id, distance in Å); returns how many are new."""
    rows = sorted((str(min(a, b)), str(max(a, b)), distance, run_id) for a, b, distance in pairs)
    if not rows:
        return 0
    with driver_cursor(connection) as cursor:
        new = execute_values(
            cursor,
            "INSERT INTO structure_pair (structure_id, other_id, distance, run_id) VALUES %s"
            " ON CONFLICT (structure_id, other_id) DO NOTHING RETURNING 1",
            rows,
            page_size=len(rows),
            fetch=True,
        )
    return len(new)


def formulas_of(connection: Connection, ids: Sequence[UUID]) -> list[str]:
    """Return the formulas that occur among *ids*."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT formula FROM structure"
            " WHERE structure_id = ANY(CAST(:ids AS uuid[])) ORDER BY 1"
        ),
        {"ids": [str(identity) for identity in ids]},
    )
    return [row[0] for row in rows]


def with_formulas(
    database: Database, formulas: Sequence[str]
) -> Iterator[tuple[list[UUID], list[Structure]]]:
    """Yield ids and structures that share a formula, one formula after the other."""
    for formula in formulas:
        with database.begin() as connection:
            rows = connection.execute(
                text(
                    f"SELECT structure_id, {STRUCTURE_COLUMNS} FROM structure"
                    " WHERE formula = :formula ORDER BY 1"
                ),
                {"formula": formula},
            ).all()
        yield [row[0] for row in rows], [decode(row[1:]) for row in rows]
