"""Creating and upgrading the schema by alembic, and telling whether it fits this code."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import psycopg2
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mlffdb.errors import DatabaseError
from mlffdb.store.database import Database, is_conflict

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

#: Held while the schema changes, so that two `mlffdb init` at once do it once.
_MIGRATION_LOCK = 0x6D6C6666
#: How long a change of the schema waits for a lock, s, while others wait behind it.
LOCK_SECONDS = 3.0
LOCK_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands."""

    #: Revision in the database; None if there is no mlffdb schema.
    current: str | None
    #: Newest revision that this code knows.
    head: str
    #: Whether the code knows the database's revision.
    known: bool

    @property
    def fits(self) -> bool:
        """Whether commands can work on it."""
        return self.current == self.head


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration for the packaged migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("mlffdb.migrations")))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """Return the newest revision that this code knows."""
    found = _scripts().get_current_head()
    assert found is not None
    return found


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(alembic_config())


def state(database: Database) -> SchemaState:
    """Return which revision *database* has and which this code wants."""
    scripts = _scripts()
    with database.begin() as connection:
        there = connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
        current = (
            connection.scalar(text("SELECT version_num FROM alembic_version")) if there else None
        )
    revisions = {script.revision for script in scripts.walk_revisions()}
    return SchemaState(current, head(), current is None or current in revisions)


def upgrade(database: Database) -> SchemaState:
    """Bring the schema to the newest revision and return where it stood before.

    Workers may go on meanwhile: no lock is waited for longer than LOCK_SECONDS, so that they never
    wait behind it, and what found none is tried again.
    Raises DatabaseError if the database was made by a newer mlffdb, or is too busy.
    """
    database.require_server_version()
    before = state(database)
    _refuse_newer(database, before)
    if before.fits:
        return before
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            _upgrade(database)
        except (DBAPIError, psycopg2.Error) as error:
            if not is_conflict(error):
                raise
            if attempt == LOCK_ATTEMPTS:
                raise DatabaseError(
                    f"{database.label} is busy: its schema could not be locked in "
                    f"{LOCK_ATTEMPTS} attempts of {LOCK_SECONDS:g} s, and nothing was changed; end "
                    "long transactions (pg_stat_activity shows them) and run `mlffdb init` again"
                ) from None
            time.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets
        else:
            break
    return before


def _upgrade(database: Database) -> None:
    from alembic import command

    with database.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {1000 * LOCK_SECONDS:.0f}"))
        command.upgrade(alembic_config(connection), "head")


def require_current(database: Database) -> None:
    """Raise DatabaseError, with the remedy, unless the schema is the one this code wants."""
    found = state(database)
    _refuse_newer(database, found)
    if found.current is None:
        raise DatabaseError(f"{database.label} has no mlffdb schema; run `mlffdb init`")
    if not found.fits:
        raise DatabaseError(
            f"{database.label} has schema {found.current}, this mlffdb needs {found.head}; "
            "run `mlffdb init` to upgrade"
        )


def _refuse_newer(database: Database, found: SchemaState) -> None:
    if not found.known:
        raise DatabaseError(
            f"{database.label} has schema {found.current}, which is newer than this mlffdb knows "
            f"({found.head}); upgrade mlffdb"
        )
