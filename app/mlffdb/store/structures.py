"""Adding structures and reading them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg2.extras import Json, execute_values
from sqlalchemy import Connection, text

from mlffdb.store.database import driver_cursor
from mlffdb.store.records import STRUCTURE_COLUMNS, decode, encode
from mlffdb.structures import Candidate, Structure

_INSERT_STRUCTURE = """
INSERT INTO structure (structure_id, run_id, n_atoms, numbers, positions, cell, pbc, n_periodic,
    charge, multiplicity, formula, elements, element_counts, domain, tags, source_order)
VALUES %s ON CONFLICT (structure_id) DO NOTHING RETURNING structure_id"""

_STRUCTURE_ROW = """(%(structure_id)s::uuid, %(run_id)s, %(n_atoms)s, %(numbers)s, %(positions)s,
    %(cell)s, %(pbc)s, %(n_periodic)s, %(charge)s, %(multiplicity)s, %(formula)s,
    %(elements)s::smallint[], %(element_counts)s::integer[], %(domain)s, %(tags)s::text[],
    %(source_order)s)"""

_INSERT_ORIGIN = """
INSERT INTO origin (structure_id, origin_id, run_id, source, method, source_file, source_index,
    parent_id, parameters, seed, smiles, group_keys)
VALUES %s ON CONFLICT (structure_id, origin_id) DO NOTHING"""

_ORIGIN_ROW = """(%(structure_id)s::uuid, %(origin_id)s::uuid, %(run_id)s, %(source)s, %(method)s,
    %(source_file)s, %(source_index)s, %(parent_id)s::uuid, %(parameters)s, %(seed)s, %(smiles)s,
    %(group_keys)s::text[])"""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding candidates."""

    #: Ids of all candidates, in order.
    ids: tuple[UUID, ...]
    #: How many were new.
    inserted: int

    @property
    def existing(self) -> int:
        """How many were already there (or twice in the batch)."""
        return len(self.ids) - self.inserted


def add(connection: Connection, run_id: int, candidates: Sequence[Candidate]) -> Added:
    """Insert *candidates*; a structure that is there already gets one more origin.

    Rows go in by id, so that two writers of the same structures wait instead of deadlocking.
    """
    encoded = [(encode(c.structure), c) for c in candidates]
    ids = tuple(row["structure_id"] for row, _ in encoded)
    structures = {
        str(row["structure_id"]): {
            **row,
            "structure_id": str(row["structure_id"]),
            "run_id": run_id,
            "domain": candidate.domain,
            "tags": list(candidate.tags),
        }
        for row, candidate in reversed(encoded)  # the first of equals stays
    }
    origins = {}
    for identity, candidate in zip(ids, candidates, strict=True):
        row = _origin_row(str(identity), run_id, candidate)
        origins[row["structure_id"], row["origin_id"]] = row
    with driver_cursor(connection) as cursor:
        inserted = _insert(cursor, _INSERT_STRUCTURE, _STRUCTURE_ROW, structures)
        _insert(cursor, _INSERT_ORIGIN, _ORIGIN_ROW, origins)
    return Added(ids, inserted)


def _insert(cursor: Any, statement: str, template: str, rows: dict[Any, dict[str, Any]]) -> int:
    if not rows:
        return 0
    ordered = [rows[key] for key in sorted(rows)]
    execute_values(cursor, statement, ordered, template, page_size=len(ordered))
    return int(cursor.rowcount)


def _origin_row(identity: str, run_id: int, candidate: Candidate) -> dict[str, Any]:
    origin = candidate.origin
    return {
        "structure_id": identity,
        "origin_id": str(origin.key()),
        "run_id": run_id,
        "source": origin.source,
        "method": origin.method,
        "source_file": origin.file,
        "source_index": origin.index,
        "parent_id": None if origin.parent is None else str(origin.parent),
        "parameters": Json(dict(origin.parameters)),
        "seed": origin.seed,
        "smiles": origin.smiles,
        "group_keys": list(origin.group_keys),
    }


def fetch(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Structure]:
    """Return the structures of *ids*, canonical atom order, by id."""
    rows = connection.execute(
        text(
            f"SELECT structure_id, {STRUCTURE_COLUMNS} FROM structure"
            " WHERE structure_id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"ids": [str(identity) for identity in ids]},
    )
    return {row[0]: decode(row[1:]) for row in rows}


def count(connection: Connection) -> int:
    """Return the number of structures."""
    return int(connection.scalar(text("SELECT count(*) FROM structure")) or 0)
