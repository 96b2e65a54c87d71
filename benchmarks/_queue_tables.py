"""What the queue's benchmark works on: structures, tasks, and the bare prototype's tables."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg2
from sqlalchemy import make_url, text

from mlffdb.store import labels, runs
from mlffdb.store.database import Database, libpq
from mlffdb.store.labels import TeacherRow

#: The same columns as the real tables and what claim and completion need: no foreign keys, no
#: checks, no further indexes.
BARE = """
CREATE TABLE bare_task (LIKE label_task INCLUDING DEFAULTS, PRIMARY KEY (teacher_id, structure_id))
    WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ON bare_task (teacher_id, priority, cost, structure_id) WHERE status = 'pending';
CREATE TABLE bare_label (LIKE label INCLUDING DEFAULTS INCLUDING GENERATED,
    PRIMARY KEY (structure_id, teacher_id))"""

_STRUCTURES = """
INSERT INTO structure (structure_id, run_id, n_atoms, numbers, positions, pbc, n_periodic, charge,
    formula, elements, element_counts, domain, source_order)
SELECT gen_random_uuid(), :run, n, decode(repeat('06', n), 'hex'),
    decode(repeat('0000000000002440', 3 * n), 'hex'), 0, 0, 0, 'C' || n, '{6}', ARRAY[n],
    'organic', decode(repeat('0100', n), 'hex')
FROM (SELECT :smallest + (i % (:largest - :smallest + 1))::int AS n
      FROM generate_series(1, :rows) i) sizes"""

_VERDICTS = """
INSERT INTO verdict (structure_id, teacher_id, run_id, verdict, rule_version)
SELECT structure_id, NULL, :run, 'valid', '1' FROM structure"""


def add_structures(database: Database, rows: int, *, smallest: int = 20, largest: int = 40) -> None:
    """Insert structures of *smallest* to *largest* atoms, equally many of each, and verdicts."""
    run = runs.start(database, "import", name="benchmark").run_id
    sizes = {"run": run, "rows": rows, "smallest": smallest, "largest": largest}
    with database.begin() as connection:
        connection.execute(text(_STRUCTURES), sizes)
        connection.execute(text(_VERDICTS), {"run": run})


def add_teacher(database: Database, name: str) -> int:
    """Return the id of a teacher of its own."""
    fingerprint = hashlib.sha256(name.encode()).hexdigest()
    row = TeacherRow(name, fingerprint, {}, None, "float32", {}, False, True, "none")
    with database.begin() as connection:
        return labels.register_teacher(connection, row)


def add_bare_tasks(database: Database, teacher_id: int) -> None:
    """Give the bare prototype the tasks of the real queue, in the same order on disk."""
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO bare_task SELECT * FROM label_task WHERE teacher_id = :teacher"
                " ORDER BY priority, cost, structure_id"
            ),
            {"teacher": teacher_id},
        )


def settle(database: Database, *tables: str) -> None:
    """Vacuum and write everything out, so that each measurement begins alike."""
    execute(database, f"VACUUM (ANALYZE) {', '.join(tables)}")
    url = make_url(database.server.url("postgres", database.url.database))
    _run(libpq(url), "CHECKPOINT")  # for superusers only


def execute(database: Database, *statements: str) -> list[Any]:
    """Run statements outside of a transaction; returns the rows of the last."""
    return _run(libpq(database.url), *statements)


def _run(arguments: dict[str, Any], *statements: str) -> list[Any]:
    connection = psycopg2.connect(**arguments)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
