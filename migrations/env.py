"""alembic's entry: uses the connection that mlffdb hands in, else the settings' database."""

from __future__ import annotations

from alembic import context

from mlffdb.store.schema import Base


def _run(connection) -> None:  # type: ignore[no-untyped-def]
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    from mlffdb.config import load_settings
    from mlffdb.store.database import Database

    with Database(load_settings()) as database, database.begin() as connection:
        _run(connection)
