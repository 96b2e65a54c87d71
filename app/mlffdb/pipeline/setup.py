"""Opening a database, and making or upgrading its schema."""

from __future__ import annotations

from dataclasses import dataclass

from mlffdb.config import Settings, load_settings
from mlffdb.store import limits, migrate, reader
from mlffdb.store.database import Database


@dataclass(frozen=True, slots=True)
class InitReport:
    """What `mlffdb init` did."""

    database: str
    #: Revision before; None if there was no schema.
    before: str | None
    after: str
    #: Why the reader's role could not be made, or None.
    reader_problem: str | None
    #: Why the limits on connections could not be set, or None.
    limits_problem: str | None = None

    @property
    def changed(self) -> bool:
        """Whether the schema was created or upgraded."""
        return self.before != self.after


def init(settings: Settings | None = None) -> InitReport:
    """Create the schema or upgrade it, roles and their limits too; twice is harmless."""
    with Database(settings or load_settings()) as database:
        return prepare(database)


def prepare(database: Database) -> InitReport:
    """Bring an open *database* to the schema of this version."""
    before = migrate.upgrade(database)
    problem = reader.ensure_role(database)
    limits_problem = limits.ensure_limits(database)
    return InitReport(database.label, before.current, before.head, problem, limits_problem)


def connect(settings: Settings | None = None) -> Database:
    """Return the database, which must have the schema of this version."""
    database = Database(settings or load_settings())
    try:
        migrate.require_current(database)
    except BaseException:
        database.close()
        raise
    return database
