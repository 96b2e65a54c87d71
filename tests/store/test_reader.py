"""Users' SQL: what the reader's role can do, and above all what it cannot."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from mlffdb.config import Settings, load_settings
from mlffdb.errors import QueryError
from mlffdb.pipeline import setup
from mlffdb.store import reader, views
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from tests.conftest import execute
from tests.helpers import add_molecules, add_teacher


@pytest.fixture
def filled(db: Database) -> Database:
    add_molecules(db, 24)
    return db


def test_every_view_can_be_read_and_is_documented(filled: Database) -> None:
    for view in views.VIEWS:
        found = reader.query(filled, f"SELECT * FROM {view.name}")
        assert found.columns == list(view.columns), view.name


def test_composition_counts_what_is_there(filled: Database) -> None:
    rows = reader.query(filled, "SELECT element, atoms FROM composition_by_element").rows
    with filled.begin() as connection:
        atoms = connection.scalar(text("SELECT sum(n_atoms) FROM structure"))
    assert sum(row[1] for row in rows) == atoms
    assert {row[0] for row in rows} == {"H", "C", "N", "O", "F"}
    water = reader.query(filled, "SELECT elements FROM structures WHERE formula = 'H2O'").rows
    assert water[0][0] == ["H", "O"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM structure",
        "DELETE FROM origins",
        "UPDATE runs SET name = 'x'",
        "INSERT INTO teachers (name) VALUES ('x')",
        "DROP VIEW structures",
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT pg_read_file('/etc/passwd')",
        "COMMIT; DELETE FROM structure",
        "COMMIT; DELETE FROM origins",
        "ROLLBACK; SET SESSION AUTHORIZATION postgres; SELECT 1",
        "SET ROLE mlffdb; SELECT 1",
        "COMMIT; SET default_transaction_read_only = off; TRUNCATE structure; SELECT 1",
        "COMMIT; BEGIN READ WRITE; CREATE TEMPORARY TABLE mine AS SELECT 1; SELECT * FROM mine",
        "COMMIT; BEGIN READ WRITE; SELECT lo_from_bytea(0, 'abc')",
        "COMMIT; BEGIN READ WRITE; ALTER ROLE CURRENT_USER SET search_path = x; COMMIT; SELECT 1",
        "SET statement_timeout = 0; SELECT 1",
        "COMMIT; RESET statement_timeout; SELECT 1",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT 1; SELECT 2",
        "SELECT '\x00'",
        "SELECT lo_create(0)",
        "SELECT rolpassword FROM pg_authid",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "DO $$ BEGIN DELETE FROM origin; END $$",
    ],
)
def test_nothing_but_reading_views_goes_through(filled: Database, statement: str) -> None:
    if "lo_create" in statement and filled.server_version < 160000:
        pytest.skip("before PostgreSQL 16 a read-only transaction may create large objects")
    with pytest.raises(QueryError) as caught:
        reader.query(filled, statement)
    assert "\n" not in str(caught.value)
    with filled.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM structure")) == 24
        assert connection.scalar(text("SELECT count(*) FROM origin")) == 24


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_sleep(60)",
        "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)",
        "SELECT count(*) FROM generate_series(1, 10000000000)",
    ],
)
def test_a_query_that_runs_for_ever_is_cancelled(filled: Database, statement: str) -> None:
    started = time.monotonic()
    with pytest.raises(QueryError, match="longer than"):
        reader.query(filled, statement, timeout=0.5)
    assert time.monotonic() - started < 10


def test_a_mistake_is_one_line_with_postgres_hint(filled: Database) -> None:
    with pytest.raises(QueryError, match=r"forrmula.*does not exist") as caught:
        reader.query(filled, "SELECT forrmula FROM structures")
    assert "\n" not in str(caught.value)
    with pytest.raises(QueryError, match="gives no rows"):
        reader.query(filled, "SET search_path = public")
    with pytest.raises(QueryError):
        reader.query(filled, "SELECT ';")


def test_conditions_choose_structures(filled: Database) -> None:
    water = reader.select_structures(filled, "formula = 'H2O' -- only water")
    assert len(water) == 2
    assert reader.select_structures(filled, "FALSE") == set()


@pytest.mark.parametrize(
    "condition", ["1 = 1); DELETE FROM structure; --", "n_atoms >", "nope = 1"]
)
def test_bad_conditions_change_nothing(filled: Database, condition: str) -> None:
    with pytest.raises(QueryError):
        reader.select_structures(filled, condition)
    with filled.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM structure")) == 24


def test_conditions_over_labels_name_the_teacher(filled: Database) -> None:
    assert reader.select_labelled(filled, "TRUE", teacher_id=add_teacher(filled)) == set()


def test_a_role_of_its_own_per_database(filled: Database) -> None:
    name = filled.url.database
    assert reader.query(filled, "SELECT current_user").rows == [(f"mlffdb_reader_{name}",)]
    assert reader.ensure_role(filled) is None
    assert reader.query(filled, "SELECT 1").rows == [(1,)]


def test_making_the_role_again_mends_its_settings(filled: Database) -> None:
    role = reader.role_name(filled)
    with filled.begin() as connection:
        connection.exec_driver_sql(f'ALTER ROLE "{role}" SET search_path = nowhere')
    with pytest.raises(QueryError):
        reader.query(filled, "SELECT * FROM structures")
    assert reader.ensure_role(filled) is None
    assert len(reader.query(filled, "SELECT * FROM structures").rows) == 24


def test_the_role_is_made_by_many_at_once(filled: Database) -> None:
    role = reader.role_name(filled)
    with filled.begin() as connection:
        for view in views.VIEWS:
            connection.exec_driver_sql(f'REVOKE ALL ON {view.name} FROM "{role}"')
        connection.exec_driver_sql(f'REVOKE ALL ON SCHEMA public FROM "{role}"')
        connection.exec_driver_sql(f'DROP ROLE "{role}"')
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: reader.ensure_role(filled), range(6))) == [None] * 6


def test_an_owner_without_password_gives_the_reader_none(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would follow from an empty password, any stranger could work out and use by TCP."""
    monkeypatch.setenv("MLFFDB_DATA_DIR", str(open_folder / "db"))
    server = EmbeddedServer(open_folder / "db")
    server.start(listen="127.0.0.1:0")
    assert setup.init().reader_problem is None
    with Database(load_settings()) as own:
        assert reader.query(own, "SELECT count(*) FROM structures").rows == [(0,)]
        role = reader.role_name(own)
    superuser = server.url(role="postgres", database="postgres")
    found = execute(superuser, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")
    assert found == [(None,)]
    with Database(Settings(database_url=SecretStr(server.tcp_url()))) as remote:
        assert setup.prepare(remote).reader_problem is None
        assert reader.query(remote, "SELECT 1").rows == [(1,)]
    assert setup.init().reader_problem is None  # leaves the remote owner's password alone
    found = execute(superuser, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")
    assert found[0][0].startswith("SCRAM-SHA-256$")
