"""How long a connection may hold others up: settings of the login roles in this database.

They stand with the roles, not in the connection: a pooler in transaction mode (PgBouncer) gives
every transaction another server connection, and refuses startup options. The server applies them
to whatever connects as the role. It also finds out that a client's machine is gone: by default it
would notice after two hours, and hold the locks as long.
"""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import sql

from mlffdb.store.database import Database, first_line

#: Setting → value. A transaction that waits for one that idles is through before its own limit.
LIMITS = {
    "idle_in_transaction_session_timeout": "2min",
    "lock_timeout": "5min",
    "tcp_keepalives_idle": "60",  # s; 60 + 3 × 10 s until a silent machine is given up
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "90000",  # ms; the same while data is on its way
    "client_connection_check_interval": "10s",  # the same while a query runs
}
#: Held while roles are changed, so that two `mlffdb init` at once do it one after the other.
ROLE_LOCK = 0x6D6C6672


def ensure_limits(database: Database) -> str | None:
    """Set LIMITS for the role that is logged in; returns why it could not be, or None.

    In this database only: other databases of the role stay as they are. Connections that are open
    keep what they have.
    """
    connection = database.raw()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (ROLE_LOCK,))
            cursor.execute("SELECT current_user, current_database()")
            set_limits(cursor, *cursor.fetchone())
    except psycopg2.Error as error:
        return first_line(error)
    finally:
        connection.close()
    return None


def set_limits(cursor: Any, role: str, database: str) -> None:
    """Set LIMITS for *role* in *database*, in the cursor's transaction."""
    for name, value in LIMITS.items():
        cursor.execute(
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                sql.Identifier(role),
                sql.Identifier(database),
                sql.Identifier(name),
                sql.Literal(value),
            )
        )
