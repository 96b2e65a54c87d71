"""A database that commands have to set up by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlffdb.config import load_settings
from mlffdb.store import reader
from mlffdb.store.database import Database
from tests.conftest import execute


@pytest.fixture
def empty(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database without a schema, which commands use; the role that they make goes with it."""
    monkeypatch.setenv("MLFFDB_DATABASE_URL", database_url)
    with Database(load_settings()) as database:
        yield database
        role = reader.role_name(database)
    if execute(database_url, f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
        execute(database_url, f"DROP OWNED BY {role}")
        execute(database_url, f"DROP ROLE {role}")
