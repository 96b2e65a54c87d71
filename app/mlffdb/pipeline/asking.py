"""Where everything stands, and what is in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from mlffdb.pipeline.watching import Watch, Watcher, next_step
from mlffdb.store import views
from mlffdb.store.database import Database

#: Views that `mlffdb stats` shows, with a title and how many rows.
COMPOSITION = (
    ("composition_by_domain", "Domains", 20),
    ("composition_by_element", "Elements", 118),
    ("composition_by_size", "Sizes", 60),
    ("composition_by_method", "Sources and methods", 30),
    ("composition_by_formula", "Most frequent formulas", 10),
)


def rows(database: Database, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of *statement*, SQL of our own, as dictionaries."""
    with database.begin() as connection:
        result = connection.execute(text(statement), parameters)
        return [dict(row) for row in result.mappings()]


def view(database: Database, name: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of a documented view."""
    assert name in views.BY_NAME, name
    return rows(database, f"SELECT * FROM {name} LIMIT :limit", limit=limit)  # noqa: S608


def status(database: Database) -> dict[str, Any]:
    """Return where everything stands: totals, what `Watcher.look` finds, verdicts, versions, runs,
    and under ``next`` what to do."""
    totals = rows(
        database,
        """
SELECT (SELECT count(*) FROM structure) AS structures, (SELECT count(*) FROM label) AS labels,
    (SELECT count(*) FROM verdict WHERE is_current AND teacher_id IS NULL
        AND verdict = 'rejected') AS rejected_structures,
    (SELECT count(*) FROM structure_pair) AS near_duplicates,
    pg_database_size(current_database()) AS database_bytes""",
    )[0]
    watched = Watcher(database).look()
    found = {
        "database": database.label,
        **totals,
        **{key: getattr(watched, key) for key in Watch.__slots__},
        "quality": view(database, "quality"),
        "snapshots": view(database, "snapshots", 20),
        "runs": rows(database, "SELECT * FROM runs ORDER BY run_id DESC LIMIT 5"),
    }
    return {**found, "next": _next_step(found, watched)}


def _next_step(found: dict[str, Any], watched: Watch) -> str:
    if not found["structures"] and not watched.sampling:
        return "mlffdb sample, or mlffdb import FILE"
    step = next_step(watched)
    if step is not None:
        return step
    if not found["labels"]:
        return "mlffdb label"
    if not any(row["teacher"] for row in found["quality"]):
        return "mlffdb validate"
    if not found["snapshots"]:
        return "mlffdb export NAME --teacher TEACHER"
    return 'mlffdb stats, or mlffdb sql "SELECT …"'


def stats(database: Database) -> dict[str, Any]:
    """Return the composition: totals, then the views of COMPOSITION by name."""
    totals = rows(
        database,
        """
SELECT count(*) AS structures, coalesce(sum(n_atoms), 0)::bigint AS atoms,
    min(n_atoms) AS min_atoms, avg(n_atoms)::double precision AS mean_atoms,
    max(n_atoms) AS max_atoms,
    avg((n_periodic > 0)::int)::double precision AS periodic_share,
    count(DISTINCT formula) AS formulas,
    (SELECT count(*) FROM composition_by_element) AS elements FROM structure""",
    )[0]
    return {**totals, **{name: view(database, name, n) for name, _, n in COMPOSITION}}
