"""Connections that hold others up are ended by the server, and what waited goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from mlffdb.config import Settings
from mlffdb.errors import DatabaseError
from mlffdb.store import limits
from mlffdb.store.database import Database, is_conflict
from tests.conftest import fresh_database
from tests.helpers import add_teacher

LOCK = text("SELECT 1 FROM teacher FOR UPDATE")
#: Much longer than the limits of these tests, s.
LONG = 30


@pytest.fixture
def limited(db: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set limits, change some of them, and give the database with connections made since."""

    def set_limits(**changes: str) -> Database:
        monkeypatch.setattr(limits, "LIMITS", limits.LIMITS | changes)
        assert limits.ensure_limits(db) is None
        db.close()  # connections that are open keep what they have
        return db

    add_teacher(db)
    return set_limits


def shown(db: Database, *names: str) -> list[str]:
    with db.begin() as connection:
        return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]


def test_limits_stand_with_the_role_in_this_database_only(limited: Any, server: Any) -> None:
    names = ("idle_in_transaction_session_timeout", "lock_timeout",
             "client_connection_check_interval")  # fmt: skip
    assert shown(limited(), *names) == ["2min", "5min", "10s"]
    with fresh_database(server) as url, Database(Settings(database_url=SecretStr(url))) as other:
        assert shown(other, "idle_in_transaction_session_timeout") == ["0"]


def test_a_transaction_that_idles_is_ended_and_frees_its_locks(limited: Any) -> None:
    db = limited(idle_in_transaction_session_timeout="300ms")
    with pytest.raises(DatabaseError, match="cannot be reached"):  # noqa: SIM117
        with db.begin() as idle:
            idle.execute(LOCK)
            started = time.monotonic()
            with db.begin() as waiting:
                waiting.execute(LOCK)
            assert time.monotonic() - started < LONG
            idle.execute(LOCK)
    with db.begin() as connection:
        connection.execute(LOCK)


def test_a_lock_is_not_waited_for_without_end(limited: Any) -> None:
    db = limited(lock_timeout="300ms")
    with db.begin() as holder:
        holder.execute(LOCK)
        with pytest.raises(OperationalError, match="lock timeout") as caught, db.begin() as waiting:
            waiting.execute(LOCK)
    assert is_conflict(caught.value)  # so that workers try again


HOLDS_A_LOCK = """
import sys, psycopg2
from mlffdb.config import load_settings
from mlffdb.store.database import Database
connection = Database(load_settings()).raw()
cursor = connection.cursor()
cursor.execute("SELECT 1 FROM teacher FOR UPDATE")
print("locked", flush=True)
cursor.execute("SELECT pg_sleep(300)")
"""


def test_the_query_of_a_dead_client_is_ended(limited: Any) -> None:
    """Without it the server would run the query to its end, and keep the locks as long."""
    db = limited(client_connection_check_interval="200ms")
    client = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_LOCK], stdout=subprocess.PIPE, text=True
    )
    try:
        assert client.stdout is not None and client.stdout.readline() == "locked\n"
        time.sleep(0.2)  # it sleeps on the server
        os.kill(client.pid, signal.SIGKILL)
        started = time.monotonic()
        with db.begin() as waiting:
            waiting.execute(LOCK)
        assert time.monotonic() - started < LONG
    finally:
        client.kill()
        client.communicate()


def test_clients_look_after_their_connections_too(db: Database) -> None:
    """A server's dead machine is found out by the client."""
    connection = db.raw()
    found = connection.get_dsn_parameters()
    connection.close()
    assert (found["keepalives_idle"], found["tcp_user_timeout"]) == ("20", "60000")
    assert "options" not in found or not found["options"]  # PgBouncer refuses them


def test_a_role_that_may_not_is_told(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMITS", {"no_such_setting": "1"})
    assert "no_such_setting" in (limits.ensure_limits(db) or "")
