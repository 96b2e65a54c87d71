"""Queries by users: under a role that can only read the documented views.

A read-only transaction of the owner is no protection (as superuser, COPY TO PROGRAM and
pg_read_file go through it, and ``commit; delete`` ends it), so users' SQL never runs as the owner:
it logs in as a role of its own that may SELECT the views and nothing else. The time limit is held
by this process too, which cancels the query, since SQL can reset the server's. What any login may do
in PostgreSQL stays possible: see the catalogues, and, before PostgreSQL 16, make large objects.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2 import extensions, sql

from mlffdb.errors import DatabaseError, QueryError
from mlffdb.store import views
from mlffdb.store.database import KEEPALIVE, Database, first_line, libpq, parse_url

TIMEOUT_SECONDS = 60.0
MAX_ROLE_LENGTH = 63


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gave."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def role_name(database: Database) -> str:
    """Return the name of the reader's role: one per database."""
    name = f"mlffdb_reader_{database.url.database}"
    if len(name.encode()) > MAX_ROLE_LENGTH:
        name = f"mlffdb_reader_{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return name


def ensure_role(database: Database) -> str | None:
    """Create or refresh the reader's role; returns why it could not be, or None.

    Its password follows from the owner's, so that whoever can log in as the owner can log in as
    the reader and nothing needs to be stored.
    """
    role = sql.Identifier(role_name(database))
    connection = database.raw()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role_name(database),))
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            password = _password(database, connection)
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN NOINHERIT CONNECTION LIMIT 50 PASSWORD {}").format(
                    verb, role, sql.Literal(password)
                )
            )
            cursor.execute("SELECT current_schema()")
            schema = sql.Identifier(cursor.fetchone()[0])
            statements = (
                "ALTER ROLE {role} SET default_transaction_read_only = on",
                "GRANT USAGE ON SCHEMA {schema} TO {role}",
                "GRANT SELECT ON {views} TO {role}",
            )
            names = sql.SQL(", ").join(sql.Identifier(view.name) for view in views.VIEWS)
            for statement in statements:
                cursor.execute(sql.SQL(statement).format(role=role, schema=schema, views=names))
    except psycopg2.Error as error:
        return first_line(error)
    finally:
        connection.close()
    return None


def query(database: Database, statement: str, *, timeout: float = TIMEOUT_SECONDS) -> Rows:
    """Run *statement* as the reader and return its rows.

    timeout: s, held by the server and by this process
    Raises QueryError with PostgreSQL's first line.
    """
    with _reading(database, timeout) as cursor:
        cursor.execute(statement)
        if cursor.description is None:
            raise QueryError("the statement gives no rows; `mlffdb sql` takes SELECT")
        return Rows([column.name for column in cursor.description], cursor.fetchall())


def select_labelled(
    database: Database, condition: str, *, teacher_id: int, timeout: float = 10 * TIMEOUT_SECONDS
) -> set[UUID]:
    """Return the structures whose label by *teacher_id* meets an SQL *condition* over `dataset`."""
    narrowed = f"teacher_id = {int(teacher_id)} AND (\n{condition}\n)"
    return _select_ids(database, "dataset", narrowed, timeout)


def select_structures(
    database: Database, condition: str, *, timeout: float = 10 * TIMEOUT_SECONDS
) -> set[UUID]:
    """Return the structures that meet an SQL *condition* over the view `structures`."""
    return _select_ids(database, "structures", condition, timeout)


def _select_ids(database: Database, view: str, condition: str, timeout: float) -> set[UUID]:
    with _reading(database, timeout) as cursor:
        cursor.execute(f"SELECT structure_id FROM {view} WHERE (\n{condition}\n)")
        if cursor.description is None or [c.name for c in cursor.description] != ["structure_id"]:
            raise QueryError(f"--where {condition!r} is not a condition over the view {view}")
        return {UUID(str(row[0])) for row in cursor.fetchall()}


@contextmanager
def _reading(database: Database, timeout: float) -> Iterator[Any]:
    connection = _connect(database)
    watchdog = _Watchdog(connection, timeout)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {max(1, int(timeout * 1000))}")
            cursor.execute("SET TRANSACTION READ ONLY")
            with watchdog:
                yield cursor
    except psycopg2.Error as error:
        if watchdog.fired or isinstance(error, psycopg2.errors.QueryCanceled):
            raise QueryError(
                f"the query ran longer than {timeout:g} s and was cancelled; narrow it, or give "
                "--timeout"
            ) from None
        raise QueryError(_explain(error)) from None
    except UnicodeError as error:
        raise QueryError(f"the query cannot be encoded: {error}") from None
    finally:
        connection.close()


def _connect(database: Database) -> Any:
    given = database.settings.reader_url
    url = database.url if given is None else parse_url(given.get_secret_value())
    arguments = libpq(url) | KEEPALIVE
    if given is None:
        arguments["user"] = role_name(database)
        if not database.settings.embedded:
            owner = database.raw()
            arguments["password"] = _password(database, owner)
            owner.close()
    try:
        return psycopg2.connect(**arguments)
    except psycopg2.OperationalError as error:
        raise DatabaseError(
            f"the reader's role {arguments.get('user')} cannot log in: {first_line(error)}; run "
            "`mlffdb init` as the owner, or set MLFFDB_READER_URL to a login that can only read"
        ) from None


def _password(database: Database, owner: Any) -> str:
    """Derive the reader's password from the one that the owner logged in with."""
    secret = (owner.info.password or "").encode()
    salt = f"mlffdb reader of {database.url.database}".encode()
    return hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=1, dklen=24).hex()


def _explain(error: psycopg2.Error) -> str:
    message = first_line(error)
    hint = getattr(error.diag, "message_hint", None)
    if error.pgcode == "42501":  # insufficient privilege
        hint = "only the documented views can be read; `mlffdb sql --views` lists them"
    return f"{message}; {hint}" if hint else message


class _Watchdog:
    """Cancels the connection's query after a time, and closes it if that does not help."""

    GRACE = 2.0  # s

    def __init__(self, connection: extensions.connection, seconds: float) -> None:
        self.connection = connection
        self.seconds = seconds
        self.fired = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        if self._done.wait(self.seconds + 0.5):
            return
        self.fired = True
        while not self._done.wait(0.2):
            self.connection.cancel()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
