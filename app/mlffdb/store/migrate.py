"""Creating and upgrading the schema by alembic, and telling whether it fits this code."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import text

from mlffdb.errors import DatabaseError
from mlffdb.store.database import Database

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

#: Held while the schema changes, so that two `mlffdb init` at once do it once.
_MIGRATION_LOCK = 0x6D6C6666


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


def state(database: Database) -> SchemaState:
    """Return which revision *database* has and which this code wants."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    head = scripts.get_current_head()
    assert head is not None
    with database.begin() as connection:
        there = connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
        current = (
            connection.scalar(text("SELECT version_num FROM alembic_version")) if there else None
        )
    revisions = {script.revision for script in scripts.walk_revisions()}
    return SchemaState(current, head, current is None or current in revisions)


def upgrade(database: Database) -> SchemaState:
    """Bring the schema to the newest revision and return where it stood before.

    Raises DatabaseError if the database was made by a newer mlffdb.
    """
    from alembic import command

    database.require_server_version()
    before = state(database)
    _refuse_newer(database, before)
    if before.fits:
        return before
    with database.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        command.upgrade(alembic_config(connection), "head")
    return before


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
