"""Adding structures and reading them back."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from mlffdb.store import runs, structures
from mlffdb.store.database import Database
from mlffdb.store.records import STRUCTURE_COLUMNS, decode, to_source_order
from mlffdb.structures import Candidate, Origin, Structure, structure_id
from tests.helpers import add_molecules, candidates


def counts(db: Database) -> tuple[int, int]:
    with db.begin() as connection:
        return tuple(  # type: ignore[return-value]
            connection.execute(
                text("SELECT (SELECT count(*) FROM structure), (SELECT count(*) FROM origin)")
            ).one()
        )


def test_adding_twice_adds_nothing(db: Database) -> None:
    assert add_molecules(db, 20) == add_molecules(db, 20)
    assert counts(db) == (20, 20)


def test_another_origin_is_kept(db: Database) -> None:
    run = runs.start(db, "import")
    first = candidates(1)[0]
    second = replace(first, origin=Origin("file", "import", file="a.xyz", index=3))
    with db.begin() as connection:
        added = structures.add(connection, run.run_id, [first, second, first])
    assert (added.inserted, added.existing) == (1, 2)
    assert counts(db) == (1, 2)


def test_atoms_come_back_as_they_came(db: Database) -> None:
    run = runs.start(db, "import")
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    crystal.positions += np.array(crystal.cell)[0] * 3  # outside the cell
    rng = np.random.default_rng(1)
    shuffled = crystal[rng.permutation(len(crystal))]
    given = [c.structure for c in candidates(12)] + [Structure.from_atoms(shuffled)]
    with db.begin() as connection:
        offered = [Candidate(s, Origin("test", "test", index=i), "x") for i, s in enumerate(given)]
        added = structures.add(connection, run.run_id, offered)
        stored = structures.fetch(connection, added.ids)
        rows = connection.execute(
            text(f"SELECT structure_id, source_order, {STRUCTURE_COLUMNS} FROM structure")
        ).all()
    for identity in added.ids:
        assert structure_id(stored[identity]) == identity
    by_id = {row[0]: row for row in rows}
    for structure, identity in zip(given, added.ids, strict=True):
        row = by_id[identity]
        assert decode(row[2:]).take(to_source_order(row[1])).same_as(structure)


def test_two_writers_of_the_same_structures_do_not_deadlock(db: Database) -> None:
    run = runs.start(db, "import")
    offered = candidates(200)
    failures: list[BaseException] = []

    def write(order: list[Candidate]) -> None:
        own = Database(db.settings)
        try:
            for start in range(0, len(order), 20):
                with own.begin() as connection:
                    structures.add(connection, run.run_id, order[start : start + 20])
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [
        threading.Thread(target=write, args=(order,))
        for order in (offered, offered[::-1], offered[::2] + offered[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counts(db) == (200, 200)


@pytest.mark.parametrize(
    "change",
    [
        "n_atoms = 2",
        "numbers = '\\x0101'",
        "positions = '\\x00'",
        "cell = '\\x00'",
        "cell = decode(repeat('00', 72), 'hex')",
        "pbc = 7",
        "pbc = 9",
        "n_periodic = 1",
        "multiplicity = 0",
        "source_order = '\\x00'",
        "elements = '{}'",
        "element_counts = '{1,2,3,4,5}'",
        "elements = '{NULL}', element_counts = '{5}'",
        "elements = '{6}', element_counts = '{-5}'",
        "elements = '{119}', element_counts = '{5}'",
        "domain = 'Not A Domain'",
        "numbers = NULL",
    ],
)
def test_the_database_refuses_rows_that_cannot_be(db: Database, change: str) -> None:
    add_molecules(db, 1)
    with pytest.raises(IntegrityError), db.begin() as connection:
        connection.execute(text("ALTER TABLE structure DISABLE TRIGGER written_once"))
        connection.execute(text(f"UPDATE structure SET {change}"))


@pytest.mark.parametrize("change", ["positions = positions", "charge = 1", "source_order = ''"])
def test_structures_are_written_once(db: Database, change: str) -> None:
    add_molecules(db, 1)
    with pytest.raises(DBAPIError, match="written once"), db.begin() as connection:
        connection.execute(text(f"UPDATE structure SET {change}"))


def test_each_origin_keeps_its_own_order_domain_and_tags(db: Database) -> None:
    run = runs.start(db, "import")
    first = candidates(4)[3]
    order = np.random.default_rng(0).permutation(first.structure.n_atoms)
    second = Candidate(
        first.structure.take(order), Origin("file", "import", file="b.xyz"), "x", ("reference",)
    )
    with db.begin() as connection:
        for offered in (first, second):
            structures.add(connection, run.run_id, [offered])
        rows = connection.execute(
            text("SELECT o.source, o.domain, o.tags, o.source_order, s.source_order FROM origin o"
                 " JOIN structure s USING (structure_id) ORDER BY o.source")
        ).all()  # fmt: skip
        numbers = connection.scalar(text("SELECT numbers FROM structure"))
    assert [tuple(row[:3]) for row in rows] == [("file", "x", ["reference"]), ("g2", "organic", [])]
    assert rows[1][3] is None
    canonical = np.frombuffer(numbers, np.uint8)
    for given, source_order in ((first, rows[0][4]), (second, rows[0][3])):
        back = canonical[to_source_order(source_order)]
        assert back.tolist() == given.structure.numbers.tolist()
