"""What several tests need: molecules, teachers and verdicts in a database."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from uuid import UUID

import numpy as np
from ase.build import molecule
from sqlalchemy import text

from mlffdb.store import labels, runs, structures, verdicts
from mlffdb.store.database import Database
from mlffdb.store.labels import TeacherRow
from mlffdb.structures import Candidate, Origin, Structure

#: Closed-shell molecules of ASE's g2 set, 2–14 atoms.
MOLECULES = ("H2O", "NH3", "CH4", "HCN", "CH3OH", "C2H6", "C6H6", "HF", "CO2", "H2CO", "C2H4",
             "isobutane")  # fmt: skip


def candidates(count: int, *, seed: int = 0, domain: str = "organic") -> list[Candidate]:
    """Return *count* different structures: small molecules, each slightly displaced."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        name = MOLECULES[index % len(MOLECULES)]
        atoms = molecule(name)
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        origin = Origin("g2", "rattle", index=index, parameters={"name": name}, seed=seed,
                        group_keys=(f"inchikey:{name}",))  # fmt: skip
        found.append(Candidate(Structure.from_atoms(atoms), origin, domain))
    return found


def add_molecules(db: Database, count: int, *, seed: int = 0) -> list[UUID]:
    """Add `candidates` and return their ids."""
    run = runs.start(db, "import", name="test")
    with db.begin() as connection:
        added = structures.add(connection, run.run_id, candidates(count, seed=seed))
    runs.finish(db, run, "done", None)
    return list(added.ids)


def add_teacher(db: Database, name: str = "test-teacher", *, untrained: bool = False) -> int:
    """Add a teacher's row and return its id."""
    row = TeacherRow(
        name=name,
        fingerprint=hashlib.sha256(f"{name}{untrained}".encode()).hexdigest(),
        versions={"test": "1"},
        weights_sha256=None,
        precision="float64",
        settings={},
        untrained=untrained,
        conservative=True,
        licence="MIT",
    )
    with db.begin() as connection:
        return labels.register_teacher(connection, row)


def approve_all(
    db: Database, *, teacher_id: int | None = None, rejected: Collection[UUID] = ()
) -> None:
    """Give every structure (or label by a teacher) a verdict: valid, or rejected if named."""
    run = runs.start(db, "validate", name="test")
    with db.begin() as connection:
        table = "structure" if teacher_id is None else "label"
        ids = connection.execute(text(f"SELECT structure_id FROM {table}")).scalars().all()
        verdicts.write(
            connection,
            run_id=run.run_id,
            rule_version="test",
            teacher_id=teacher_id,
            verdicts={i: "rejected" if i in rejected else "valid" for i in ids},
            findings=[],
        )
    runs.finish(db, run, "done", None)


def statuses(db: Database, teacher_id: int) -> dict[str, int]:
    """Return how many tasks of a teacher have which status."""
    with db.begin() as connection:
        rows = connection.execute(
            text("SELECT status, count(*) FROM label_task WHERE teacher_id = :t GROUP BY 1"),
            {"t": teacher_id},
        ).all()
    return {row[0]: row[1] for row in rows}
