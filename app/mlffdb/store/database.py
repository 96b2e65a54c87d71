"""A connection to the database: the embedded server or the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from mlffdb.config import Settings
from mlffdb.errors import ConfigError, DatabaseError
from mlffdb.store.embedded import EmbeddedServer

MIN_SERVER_VERSION = 150000
#: libpq's parameters that nobody may see.
SECRETS = ("password", "passfile", "sslpassword")
#: A dead machine's connections, and the locks they hold, are gone after about a minute.
KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "mlffdb",
}


class Database:
    """Where structures, labels and tasks are kept.

    Opening one starts the embedded server if no URL is set. Raises DatabaseError if the server
    cannot be reached.

    ping: whether a connection that has idled is tried before it is used, which costs a round trip
        each time; not for those that try again by themselves
    """

    def __init__(self, settings: Settings, *, ping: bool = True) -> None:
        self.settings = settings
        self.server = EmbeddedServer(settings.data_dir, version=settings.postgres_version)
        if settings.database_url is None:
            self.server.start()
            self.url = make_url(self.server.url())
        else:
            self.url = parse_url(settings.database_url.get_secret_value())
        self.engine: Engine = create_engine(
            self.url,
            connect_args=KEEPALIVE,
            pool_size=2,
            max_overflow=0,  # two connections per process, whatever it does
            pool_pre_ping=ping,
            hide_parameters=True,
        )

    @property
    def label(self) -> str:
        """The database's name for people; never a password."""
        if self.settings.embedded:
            return f"embedded PostgreSQL in {self.settings.data_dir}"
        return shown(self.url)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a connection in a transaction; commits at the end, rolls back on an exception."""
        with connecting(self.label), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Give a connection on which each call is a transaction of its own, in one round trip.

        By the driver's switch: SQLAlchemy's would send a session setting afterwards, each time.
        """
        with connecting(self.label), self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.autocommit = True
            try:
                yield connection
            finally:
                if driver.closed:  # or the pool would log that it cannot reset it
                    connection.invalidate()
                else:
                    driver.autocommit = False

    @cached_property
    def server_version(self) -> int:
        """The server's version as PostgreSQL counts it, such as 150018."""
        with self.begin() as connection:
            return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())

    def require_server_version(self) -> None:
        """Raise DatabaseError if the server is older than what the schema needs."""
        if self.server_version < MIN_SERVER_VERSION:
            raise DatabaseError(
                f"{self.label} is PostgreSQL {self.server_version // 10000}; "
                f"mlffdb needs {MIN_SERVER_VERSION // 10000} or newer"
            )

    def raw(self) -> Any:
        """Return a psycopg2 connection of its own (not pooled); the caller closes it."""
        with connecting(self.label):
            return psycopg2.connect(**libpq(self.url), **KEEPALIVE)

    def close(self) -> None:
        """Close pooled connections; the embedded server goes on running."""
        self.engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def driver_cursor(connection: Connection) -> Any:
    """Return a psycopg2 cursor within *connection*'s transaction, for statements with many rows."""
    return connection.connection.cursor()


def parse_url(text: str) -> URL:
    """Return the SQLAlchemy URL of *text*, with psycopg2 as the driver.

    ``postgresql://`` and ``postgres://`` are accepted; SQLAlchemy 2.1 would take the first to
    mean another driver.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise ConfigError(
            "the database URL is no URL; write postgresql://user@host:5432/database"
        ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(
            f"the database URL names {url.get_backend_name()}; mlffdb needs PostgreSQL"
        )
    url = url.set(drivername="postgresql+psycopg2")
    try:
        extensions.make_dsn(**libpq(url))
    except psycopg2.ProgrammingError as error:
        raise ConfigError(f"the database URL cannot be used: {first_line(error)}") from None
    return url


def shown(url: URL) -> str:
    """Return *url* for people and other programs: without the driver and without passwords."""
    # a password can also stand among the parameters, where SQLAlchemy shows it
    safe = url.set(drivername="postgresql").difference_update_query(SECRETS)
    return safe.render_as_string(hide_password=True)


def libpq(url: URL) -> dict[str, Any]:
    """Return *url* as keyword arguments of psycopg2.connect."""
    arguments = url.translate_connect_args(username="user", database="dbname")
    return {**arguments, **url.query}


@contextmanager
def connecting(label: str) -> Iterator[None]:
    """Turn a failure to reach the server into one clear line."""
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        if not is_connection_failure(error):
            raise
        raise DatabaseError(
            f"{label} cannot be reached: {first_line(error)}; check that it runs and "
            "MLFFDB_DATABASE_URL, or unset it to use the embedded one"
        ) from None


def is_connection_failure(error: BaseException) -> bool:
    """Whether *error* says that the connection is not there, rather than that SQL failed."""
    original = getattr(error, "orig", error)
    code = getattr(original, "pgcode", None)
    if code is None:  # the driver's own: it lost the server, or it was asked for nonsense
        return not isinstance(original, _NONSENSE)
    # 08: connection exceptions, 57P: shut down or starting, 53300: too many connections,
    # 25P03: ended by idle_in_transaction_session_timeout
    return str(code).startswith(("08", "57P")) or code in ("53300", "25P03")


def is_passing(error: BaseException) -> bool:
    """Whether the server may accept the same later: it is away, full, or out of something."""
    if isinstance(error, DatabaseError) or is_connection_failure(error):
        return True
    code = str(getattr(getattr(error, "orig", error), "pgcode", None))
    # 53: disk full, out of memory; 58: input or output failed; 25P03 and 57014: too slow this time
    return code.startswith(("53", "58")) or code in ("25P03", "57014")


def is_conflict(error: BaseException) -> bool:
    """Whether *error* says that a transaction lost against another one, and may be tried again."""
    # deadlock, serialization failure, lock_timeout
    return getattr(getattr(error, "orig", error), "pgcode", None) in ("40P01", "40001", "55P03")


def is_bad_value(error: BaseException) -> bool:
    """Whether *error* says that a value cannot be stored, rather than that the server failed."""
    original = getattr(error, "orig", error)
    if isinstance(original, psycopg2.ProgrammingError):
        return not getattr(original, "pgcode", None)  # no adapter for its type
    bad = (psycopg2.DataError, psycopg2.IntegrityError, ValueError, TypeError)
    return isinstance(original, bad)


_NONSENSE = (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError)


def first_line(error: BaseException) -> str:
    """Return the first line of *error*'s message, without the driver's class name."""
    text = str(getattr(error, "orig", error)).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return re.sub(r"^\([\w.]+\)\s*", "", line)
