"""Queries by users: under a role that can only read the documented views.

A read-only transaction of the owner is no protection (as superuser, COPY TO PROGRAM and
pg_read_file go through it, and ``commit; delete`` ends it), so users' SQL never runs as the owner:
it logs in as a role of its own that may SELECT the views and nothing else, and runs as a cursor in
a read-only transaction: one statement that gives rows, which cannot end the transaction. The time
limit is held by this process too, which cancels the query, since SQL can reset the server's. What
any login may read stays possible: the catalogues; and, before PostgreSQL 16, large objects can be
made.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2 import extensions, sql

from mlffdb.errors import DatabaseError, QueryError
from mlffdb.store import views
from mlffdb.store.database import KEEPALIVE, Database, first_line, libpq, parse_url
from mlffdb.store.limits import ROLE_LOCK, set_limits

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
    the reader and nothing needs to be stored. An owner who logs in without a password (by socket)
    gives it none: what follows from nothing, anyone could work out.
    """
    role = sql.Identifier(role_name(database))
    connection = database.raw()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (ROLE_LOCK,))
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role_name(database),))
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            password = _password(database, connection)
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN NOINHERIT CONNECTION LIMIT 50 {}").format(
                    verb,
                    role,
                    sql.SQL("PASSWORD {}").format(sql.Literal(password))
                    if password
                    else sql.SQL(""),
                )
            )
            cursor.execute("SELECT current_schema()")
            schema = sql.Identifier(cursor.fetchone()[0])
            statements = (
                "ALTER ROLE {role} RESET ALL",  # a role may change its own settings
                "ALTER ROLE {role} SET default_transaction_read_only = on",
                "GRANT USAGE ON SCHEMA {schema} TO {role}",
                "GRANT SELECT ON {views} TO {role}",
            )
            names = sql.SQL(", ").join(sql.Identifier(view.name) for view in views.VIEWS)
            for statement in statements:
                cursor.execute(sql.SQL(statement).format(role=role, schema=schema, views=names))
            cursor.execute("SELECT current_database()")
            set_limits(cursor, role_name(database), cursor.fetchone()[0])
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
        _execute(cursor, statement)
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
    statement = f"SELECT structure_id FROM {view} WHERE (\n{condition}\n)"
    found = query_with_condition(database, statement, view=view, timeout=timeout)
    return {UUID(str(row[0])) for row in found.rows}


def query_with_condition(
    database: Database, statement: str, *, view: str, timeout: float = 10 * TIMEOUT_SECONDS
) -> Rows:
    """Run a query of ours in which a user's ``--where`` stands, over *view*; see `query`."""
    try:
        return query(database, statement, timeout=timeout)
    except QueryError as error:
        raise QueryError(f"--where over the view {view}: {error}") from None


def _execute(cursor: Any, statement: str) -> None:
    """Run *statement* as a cursor: PostgreSQL refuses several at once, and COMMIT, SET and COPY."""
    cursor.execute("SELECT set_config('mlffdb.statement', %s, true)", (statement,))
    cursor.execute(
        "DO $$ DECLARE found refcursor := 'found';"
        " BEGIN OPEN found FOR EXECUTE current_setting('mlffdb.statement'); END $$"
    )
    _interruptible(cursor, "FETCH ALL FROM found")


def _interruptible(cursor: Any, statement: str) -> None:
    """Run *statement* in a thread, so that Ctrl-C cancels it: libpq would wait for its end."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cursor.execute, statement)
        try:
            running.result()
        except KeyboardInterrupt:
            cursor.connection.cancel()
            raise


@contextmanager
def _reading(database: Database, timeout: float) -> Iterator[Any]:
    connection = _connect(database)
    watchdog = _Watchdog(connection, timeout)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {max(1, int(timeout * 1000))}")
            cursor.execute("SET TRANSACTION READ ONLY")
            with watchdog:
                yield cursor
        connection.rollback()  # a pooler may go on with its connection
    except psycopg2.Error as error:
        if watchdog.fired or isinstance(error, psycopg2.errors.QueryCanceled):
            raise QueryError(
                f"the query ran longer than {timeout:g} s and was cancelled; narrow it, or give "
                "--timeout"
            ) from None
        raise QueryError(_explain(error)) from None
    except ValueError as error:  # surrogates, NUL
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
            if arguments["password"] is None:
                del arguments["password"]
    try:
        return psycopg2.connect(**arguments)
    except psycopg2.OperationalError as error:
        raise DatabaseError(
            f"the reader's role {arguments.get('user')} cannot log in: {first_line(error)}; run "
            "`mlffdb init` as the owner, or set MLFFDB_READER_URL to a login that can only read"
        ) from None


def _password(database: Database, owner: Any) -> str | None:
    """Derive the reader's password from the one that the owner logged in with; None without."""
    secret = (owner.info.password or "").encode()
    if not secret:
        return None
    salt = f"mlffdb reader of {database.url.database}".encode()
    return hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=1, dklen=24).hex()


def _explain(error: psycopg2.Error) -> str:
    message = first_line(error)
    hint = getattr(error.diag, "message_hint", None)
    if error.pgcode == "42P11":  # cannot be opened as a cursor
        return "the statement gives no rows, or it is more than one; `mlffdb sql` takes one SELECT"
    if error.pgcode == "42501":  # insufficient privilege
        hint = "only the documented views can be read; `mlffdb sql --views` lists them"
    return f"{message}; {hint}" if hint else message


class _Watchdog:
    """Cancels the connection's query after a time, again and again until it has ended."""

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
