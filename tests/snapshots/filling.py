"""Fills a database with real molecules and crystals, labelled by ASE's EMT potential."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from numpy.typing import NDArray
from psycopg2.extras import execute_values
from sqlalchemy import text

from mlffdb.store import runs, structures, verdicts
from mlffdb.store.database import Database, driver_cursor
from mlffdb.store.labels import TeacherRow, register_teacher
from mlffdb.store.records import encode_forces
from mlffdb.structures import Candidate, Origin, Structure, structure_id

MOLECULES = ("H2O", "CH4", "NH3", "CO", "N2", "CH3OH", "C2H6", "H2CO", "HCN", "C2H2", "C2H4", "CO2")
CRYSTALS = ("Al", "Cu", "Ni", "Ag", "Au", "Pt", "Pd")
WORKER = UUID(int=7)

EMT_TEACHER = TeacherRow(
    name="emt",
    fingerprint="ab" * 32,
    versions={"ase": "3"},
    weights_sha256=None,
    precision="float64",
    settings={},
    untrained=False,
    conservative=True,
    licence="LGPL-2.1",
)


@dataclass
class Label:
    """What EMT said, in the atom order of the structure it is about."""

    energy: float
    forces: NDArray[Any]
    stress: NDArray[np.float64] | None


def family(name: str, size: int) -> list[Candidate]:
    """Return a molecule or crystal and displaced copies of it, which name it as their parent."""
    rng = np.random.default_rng(sum(name.encode()))
    is_crystal = name in CRYSTALS
    atoms = bulk(name, cubic=True) if is_crystal else molecule(name)
    parent = Structure.from_atoms(atoms)
    domain = "inorganic" if is_crystal else "organic"
    key = f"{'prototype' if is_crystal else 'inchikey'}:{name}"
    first = Origin("prototypes" if is_crystal else "g2", "import", group_keys=(key,))
    result = [Candidate(parent, first, domain)]
    for index in range(1, size):
        moved = parent.moved(parent.positions + rng.normal(0, 0.05, (parent.n_atoms, 3)))
        origin = Origin("parent", "rattle", index=index, parent=structure_id(parent))
        result.append(Candidate(moved, origin, domain))
    return result


def candidates(size: int = 4) -> list[Candidate]:
    """Return all families, *size* structures each."""
    return [c for name in MOLECULES + CRYSTALS for c in family(name, size)]


def emt(structure: Structure) -> Label:
    """Return EMT's label."""
    atoms = structure.to_atoms()
    atoms.calc = EMT()
    stress = atoms.get_stress() if structure.n_periodic == 3 else None
    return Label(float(atoms.get_potential_energy()), atoms.get_forces(), stress)


def fill(
    db: Database,
    chosen: list[Candidate],
    *,
    teacher: TeacherRow = EMT_TEACHER,
    forces_dtype: type = np.float64,
    valid: bool = True,
) -> dict[UUID, tuple[Structure, Label]]:
    """Add, label and (if *valid*) accept structures; return what was added by id."""
    run_id = runs.start(db, "import").run_id
    labels = {structure_id(c.structure): (c.structure, emt(c.structure)) for c in chosen}
    with db.begin() as connection:
        structures.add(connection, run_id, chosen)
        teacher_id = register_teacher(connection, teacher)
        rows = [_label_row(i, *labels[i], teacher_id, forces_dtype) for i in labels]
        with driver_cursor(connection) as cursor:
            execute_values(
                cursor,
                "INSERT INTO label (structure_id, teacher_id, n_atoms, energy, forces, stress,"
                " charge, multiplicity, batch_size, wall_seconds, worker_id, device) VALUES %s"
                " ON CONFLICT DO NOTHING",
                rows,
            )
        if valid:
            judge(connection, run_id, dict.fromkeys(labels, "valid"), None)
            judge(connection, run_id, dict.fromkeys(labels, "valid"), teacher_id)
    return labels


def judge(connection: Any, run_id: int, given: dict[UUID, str], teacher_id: int | None) -> None:
    """Store verdicts on structures (teacher None) or labels."""
    verdicts.write(
        connection,
        run_id=run_id,
        rule_version="rules-1",
        teacher_id=teacher_id,
        verdicts=given,
        findings=[],
    )


def new_run(db: Database) -> int:
    """Return the id of a new export run."""
    return runs.start(db, "export").run_id


def teacher_id(db: Database, name: str = "emt") -> int:
    """Return the key of the one teacher *name*."""
    with db.begin() as connection:
        query = text("SELECT teacher_id FROM teacher WHERE name = :name")
        return int(connection.scalar(query, {"name": name}) or 0)


def other_version(digits: str, **changes: Any) -> TeacherRow:
    """Return EMT_TEACHER with another fingerprint."""
    return replace(EMT_TEACHER, fingerprint=digits * 32, **changes)


def unlabelled(name: str) -> Candidate:
    """Return a molecule that nobody labels."""
    return Candidate(Structure.from_atoms(molecule(name)), Origin("g2", "import"), "organic")


def _label_row(
    identity: UUID, structure: Structure, label: Label, teacher_id: int, dtype: type
) -> tuple[Any, ...]:
    from mlffdb.structures.identity import canonical_order

    order = canonical_order(structure)
    forces = encode_forces(label.forces[order].astype(dtype))
    stress = None if label.stress is None else label.stress.tolist()
    multiplicity = None if structure.n_periodic else 1
    n_atoms = structure.n_atoms
    fixed = (0, multiplicity, 1, 0.001, str(WORKER), "cpu")
    return (str(identity), teacher_id, n_atoms, label.energy, forces, stress, *fixed)


def key_of(name: str) -> UUID:
    """Return an id made from *name*."""
    return uuid5(WORKER, name)
