"""Adding structures and reading them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from psycopg2.extras import Json, execute_values
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from mlffdb.store.database import Database, driver_cursor, is_conflict
from mlffdb.store.records import STRUCTURE_COLUMNS, decode, encode
from mlffdb.structures import Candidate, Structure

#: Deadlocks with other writers in a row that end an import.
CONFLICTS = 5

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
    parent_id, parameters, seed, smiles, group_keys, domain, tags, source_order)
VALUES %s ON CONFLICT (structure_id, origin_id) DO NOTHING RETURNING 1"""

_ORIGIN_ROW = """(%(structure_id)s::uuid, %(origin_id)s::uuid, %(run_id)s, %(source)s, %(method)s,
    %(source_file)s, %(source_index)s, %(parent_id)s::uuid, %(parameters)s, %(seed)s, %(smiles)s,
    %(group_keys)s::text[], %(domain)s, %(tags)s::text[], %(source_order)s)"""


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
    encoded = [encode(candidate.structure) for candidate in candidates]
    ids = tuple(row["structure_id"] for row in encoded)
    first = {identity: place for place, identity in reversed(list(enumerate(ids)))}
    structures = {
        str(identity): {
            **encoded[place],
            "structure_id": str(identity),
            "run_id": run_id,
            "domain": candidates[place].domain,
            "tags": list(candidates[place].tags),
        }
        for identity, place in first.items()
    }
    with driver_cursor(connection) as cursor:
        new = {
            UUID(str(row[0]))
            for row in _insert(cursor, _INSERT_STRUCTURE, _STRUCTURE_ROW, structures)
        }
        origins: dict[Any, dict[str, Any]] = {}
        for place, (identity, candidate) in enumerate(zip(ids, candidates, strict=True)):
            row = _origin_row(str(identity), run_id, candidate)
            if identity not in new or first[identity] != place:
                row["source_order"] = encoded[place]["source_order"]
            origins.setdefault((row["structure_id"], row["origin_id"]), row)
        _insert(cursor, _INSERT_ORIGIN, _ORIGIN_ROW, origins)
    return Added(ids, len(new))


def _insert(
    cursor: Any, statement: str, template: str, rows: dict[Any, dict[str, Any]]
) -> list[tuple[Any, ...]]:
    """Insert *rows* in the order of their keys and return what the statement returns."""
    if not rows:
        return []
    ordered = [rows[key] for key in sorted(rows)]
    done = execute_values(cursor, statement, ordered, template, page_size=len(ordered), fetch=True)
    return cast("list[tuple[Any, ...]]", done)


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
        "domain": candidate.domain,
        "tags": list(candidate.tags),
        "source_order": None,
    }


def add_batch(database: Database, run_id: int, candidates: Sequence[Candidate]) -> Added:
    """Insert *candidates* in a transaction of their own, again if another writer was in the way."""
    for attempt in range(CONFLICTS):
        try:
            with database.begin() as connection:
                return add(connection, run_id, candidates)
        except DBAPIError as error:
            if not is_conflict(error) or attempt == CONFLICTS - 1:
                raise
    raise AssertionError("unreachable")


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
