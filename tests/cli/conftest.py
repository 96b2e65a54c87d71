"""A database that commands have to set up by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlffdb.config import load_settings
from mlffdb.store import reader
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from tests.conftest import ServerByUrl, execute, fresh_database


@pytest.fixture
def empty(
    server: EmbeddedServer | ServerByUrl, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A database without a schema, which commands use; the role that they make goes with it."""
    with fresh_database(server) as url:
        monkeypatch.setenv("MLFFDB_DATABASE_URL", url)
        with Database(load_settings()) as database:
            role = reader.role_name(database)
            yield database
    execute(server.url(), f"DROP ROLE IF EXISTS {role}")
