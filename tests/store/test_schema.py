"""The schema: made by migrations as by models, explained, guarded, and never silently changed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.exc import DatabaseError as SqlError
from sqlalchemy.exc import IntegrityError

from mlffdb.config import Settings
from mlffdb.errors import DatabaseError
from mlffdb.pipeline import setup
from mlffdb.store import ddl, migrate, views
from mlffdb.store.database import Database, libpq
from mlffdb.store.schema import Base
from tests.conftest import DEBIAN_15, fresh_database
from tests.helpers import add_molecules, add_teacher, approve_all

#: The schema of 0.1.0a1 as that release made it; later versions must upgrade it.
RELEASED = Path(__file__).with_name("schema-0.1.0a1.sql")
TABLES = {
    "run", "structure", "origin", "structure_pair", "teacher", "label_task", "sample_task",
    "label", "audit", "finding", "verdict", "component", "snapshot", "snapshot_member", "worker",
}  # fmt: skip


def dump(server: Any, url: str) -> str:
    """Return the schema of a database as pg_dump writes it, without what names the version."""
    given = libpq(make_url(url))
    program = server.program("pg_dump") if hasattr(server, "program") else "pg_dump"
    environment = {
        "PGHOST": given["host"],
        "PGPORT": str(given["port"]),
        "PGUSER": given["user"],
        "PGPASSWORD": str(given.get("password", "")),
    }
    done = subprocess.run(
        [program, "--schema-only", "--no-owner", "--no-privileges", "--exclude-table",
         "alembic_version", given["dbname"]],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept = [
        line
        for line in done.stdout.splitlines()
        if line.strip()
        and not line.startswith(("--", "SET ", "SELECT pg_catalog", "\\restrict", "\\unrestrict"))
    ]
    return "\n".join(kept) + "\n"


def opened(url: str) -> Database:
    return Database(Settings(database_url=SecretStr(url)))


def test_migrations_and_models_make_the_same_schema(server: Any, database_url: str) -> None:
    with opened(database_url) as migrated:
        migrate.upgrade(migrated)
    with fresh_database(server) as url:
        with opened(url) as created, created.begin() as connection:
            connection.connection.cursor().execute(ddl.script())
        assert dump(server, database_url) == dump(server, url)


def test_models_are_the_tables_that_are_promised(db: Database) -> None:
    assert set(Base.metadata.tables) == TABLES
    with db.begin() as connection:
        names = set(
            connection.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            ).scalars()
        )
    assert names == TABLES | {"alembic_version"}


def test_every_table_and_column_explains_itself(db: Database) -> None:
    with db.begin() as connection:
        rows = connection.execute(
            text("""
SELECT c.relname, coalesce(a.attname, '') FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
    AND c.relname <> 'alembic_version'
    AND (obj_description(c.oid) IS NULL OR col_description(c.oid, a.attnum) IS NULL)""")
        ).all()
    assert rows == []


def test_every_constraint_has_a_name_of_ours(db: Database) -> None:
    with db.begin() as connection:
        names = connection.execute(
            text("""
SELECT conname FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'c', 'f')
    AND conrelid <> 'alembic_version'::regclass""")
        ).scalars()
        assert [name for name in names if not re.match(r"(pk|uq|ck|fk)_", name)] == []


def test_tables_about_structures_have_the_structure_in_their_keys() -> None:
    for table in Base.metadata.tables.values():
        if "structure_id" in table.columns:
            assert "structure_id" in table.primary_key.columns, table.name
            for constraint in table.constraints:
                if constraint.__class__.__name__ == "UniqueConstraint":
                    assert "structure_id" in constraint.columns, table.name


def test_init_twice_is_harmless(database_url: str) -> None:
    settings = Settings(database_url=SecretStr(database_url))
    first, second = setup.init(settings), setup.init(settings)
    assert (first.before, first.changed, second.changed) == (None, True, False)


def test_a_missing_schema_is_one_clear_line(database_url: str) -> None:
    with pytest.raises(DatabaseError, match=r"no mlffdb schema; run `mlffdb init`"):
        setup.connect(Settings(database_url=SecretStr(database_url)))


@pytest.mark.parametrize(
    ("revision", "says"),
    [("9999", r"schema 9999, which is newer than this mlffdb knows.*upgrade mlffdb")],
)
def test_a_newer_schema_is_refused(db: Database, revision: str, says: str) -> None:
    with db.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    with pytest.raises(DatabaseError, match=says):
        setup.connect(db.settings)
    with pytest.raises(DatabaseError, match=says):
        setup.init(db.settings)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    settings = Settings(database_url=SecretStr("postgresql://nobody:secret@127.0.0.1:1/none"))
    with pytest.raises(DatabaseError, match="cannot be reached") as caught:
        setup.connect(settings)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def revise(db: Database, revision: str) -> None:
    """Bring the schema up or down to *revision*."""
    upwards = migrate.state(db).current in (None, "0001")
    with db.begin() as connection:
        (command.upgrade if upwards else command.downgrade)(
            migrate.alembic_config(connection), revision
        )


def test_the_released_schema_is_what_migrations_still_make(server: Any, database_url: str) -> None:
    """The first migration is never edited: what 0.1.0a1 made is what it makes, and going back."""
    if server.program("pg_dump").parent == DEBIAN_15 or getattr(server, "version", 18) != 18:
        pytest.skip("the released schema was dumped by PostgreSQL 18, whose words differ")
    released = RELEASED.read_text(encoding="utf-8")
    with opened(database_url) as db:
        revise(db, "0001")
        assert dump(server, database_url) == released
        migrate.upgrade(db)
        assert dump(server, database_url) != released
        revise(db, "0001")
        assert dump(server, database_url) == released


def test_an_upgrade_waits_for_no_lock_for_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one transaction reads teachers, others are not held up, and the upgrade says why."""
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 2)
    with opened(database_url) as db, opened(database_url) as other:
        revise(db, "0001")
        with other.begin() as reading:
            reading.execute(text("SELECT count(*) FROM teacher"))
            with pytest.raises(DatabaseError, match=r"is busy: .* 2 attempts .* run `mlffdb init`"):
                migrate.upgrade(db)
        assert migrate.state(db).current == "0001"
        migrate.upgrade(db)
        migrate.require_current(db)


def test_the_released_schema_upgrades_with_data_in_it(server: Any, database_url: str) -> None:
    """What 0.1.0a1 made, filled, comes to this version with all its rows."""
    with opened(database_url) as old, old.begin() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(RELEASED.read_text(encoding="utf-8"))
        cursor.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        cursor.execute("INSERT INTO alembic_version VALUES ('0001')")
    with opened(database_url) as old:
        ids = add_molecules(old, 5)
        approve_all(old)
        migrate.upgrade(old)
        migrate.require_current(old)
        with old.begin() as connection:
            found = connection.execute(text("SELECT structure_id FROM structures")).scalars()
            assert set(found) == set(ids)
    with fresh_database(server) as url:
        with opened(url) as new:
            migrate.upgrade(new)
        assert dump(server, database_url) == dump(server, url)


LABEL = (
    "INSERT INTO label (structure_id, teacher_id, n_atoms, energy, forces, stress, charge,"
    " batch_size, wall_seconds, worker_id, device)"
    " SELECT structure_id, :teacher, n_atoms, {energy}, {forces}, {stress}, 0, 1, 0,"
    " gen_random_uuid(), 'cpu' FROM structure LIMIT 1"
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"energy": "'NaN'"},
        {"energy": "'Infinity'"},
        {"energy": "'-Infinity'"},
        {"energy": "NULL"},
        {"forces": "'\\x00'"},
        {"stress": "ARRAY[1,2,3]"},
        {"stress": "ARRAY[1,2,3,4,5,'NaN']::float8[]"},
        {"stress": "ARRAY[1,2,3,4,5,NULL]"},
        {"stress": "ARRAY[[1,2,3],[4,5,6]]"},
    ],
)
def test_the_database_refuses_labels_that_cannot_be(db: Database, wrong: dict[str, str]) -> None:
    add_molecules(db, 1)
    teacher = add_teacher(db)
    good = {"energy": "-1.5", "forces": "decode(repeat('00', 12 * n_atoms), 'hex')",
            "stress": "NULL"}  # fmt: skip
    with pytest.raises(IntegrityError), db.begin() as connection:
        connection.execute(text(LABEL.format(**good | wrong)), {"teacher": teacher})
    with db.begin() as connection:
        connection.execute(text(LABEL.format(**good)), {"teacher": teacher})


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE snapshot SET name = 'other'",
        "UPDATE snapshot SET status = 'building'",
        "DELETE FROM snapshot_member",
        "UPDATE snapshot_member SET split = 'test'",
        "TRUNCATE snapshot_member",
        "TRUNCATE snapshot CASCADE",
        "DELETE FROM snapshot",
        "INSERT INTO snapshot_member (structure_id, snapshot_id, teacher_id, split, position,"
        " component_id, label_hash) SELECT l.structure_id, m.snapshot_id, l.teacher_id, 'val', 9,"
        " m.component_id, m.label_hash FROM snapshot_member m, label l"
        " WHERE l.structure_id <> m.structure_id",
    ],
)
def test_a_published_snapshot_cannot_be_changed(db: Database, change: str) -> None:
    add_molecules(db, 2)
    teacher = add_teacher(db)
    good = {"energy": "0", "forces": "NULL", "stress": "NULL"}
    with db.begin() as connection:
        every = LABEL.format(**good).replace("LIMIT 1", "")
        connection.execute(text(every), {"teacher": teacher})
        snapshot = connection.execute(
            text(
                "INSERT INTO snapshot (run_id, name, version, teacher_ids, split, seed, root_hash)"
                " SELECT max(run_id), 'a', 1, '{1}', '{}', 0, repeat('0', 64) FROM run"
                " RETURNING snapshot_id"
            )
        ).scalar_one()
        connection.execute(
            text(
                "INSERT INTO snapshot_member (structure_id, snapshot_id, teacher_id, split,"
                " position, component_id, label_hash) SELECT structure_id, :s, :t, 'train', 0,"
                " structure_id, decode(repeat('00', 32), 'hex') FROM structure LIMIT 1"
            ),
            {"s": snapshot, "t": teacher},
        )
        connection.execute(text("UPDATE snapshot SET status = 'published'"))
    with pytest.raises(SqlError, match="published"), db.begin() as connection:
        connection.execute(text(change))


def test_view_columns_are_the_documented_ones(db: Database) -> None:
    with db.begin() as connection:
        for view in views.VIEWS:
            result = connection.execute(text(f"SELECT * FROM {view.name} LIMIT 0"))
            assert list(result.keys()) == list(view.columns), view.name
