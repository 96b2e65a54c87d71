"""Fixtures for every test: a clean environment, a real server, a fresh database.

``MLFFDB_TEST_POSTGRES`` chooses the server: 18 (default) or 16 from the wheel, 15 from Debian's
package postgresql-15, or the URL of a server where databases may be made.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from mlffdb.config import Settings, load_settings
from mlffdb.store import migrate, reader
from mlffdb.store.database import Database, libpq, parse_url
from mlffdb.store.embedded import EmbeddedServer

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
#: Only for throw-away data: the faults' own tests keep PostgreSQL's defaults.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

#: Bytes that the servers of a test run may need at once.
ROOM = 4 * 2**30

_numbers = itertools.count()


class ServerByUrl:
    """A server that is there already; the part of EmbeddedServer that tests use."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)

    def url(self, role: str | None = None, database: str | None = None) -> str:
        changed = self._url.set(
            username=role or self._url.username, database=database or self._url.database
        )
        return changed.render_as_string(hide_password=False)


# ---- environment ----


@pytest.fixture(scope="session")
def open_root() -> Iterator[Path]:
    """A folder that every user can enter: pytest's own are closed to the server of a root."""
    memory = Path("/dev/shm")  # where syncing costs nothing
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    with _open_folder(memory if roomy else Path("/tmp")) as folder:
        yield folder


@pytest.fixture
def open_folder(open_root: Path) -> Iterator[Path]:
    """A fresh folder that every user can enter; servers on it are stopped at the end."""
    folder = open_root / f"t{next(_numbers)}"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    stop_servers(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_root: Path
) -> Iterator[None]:
    """Hide the developer's settings, folders and servers from the code under test."""
    for name in list(os.environ):
        if name.startswith("MLFFDB_") and not name.startswith("MLFFDB_TEST_"):
            monkeypatch.delenv(name)
        if name.startswith(("PG", "XDG_")):
            monkeypatch.delenv(name)
    data = open_root / f"data{next(_numbers)}"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFFDB_DATA_DIR", str(data))
    monkeypatch.setenv("MLFFDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFFDB_EXPORTS_DIR", str(tmp_path / "exports"))
    monkeypatch.chdir(tmp_path)  # no mlffdb.toml above
    yield
    if data.exists():
        stop_servers(data)
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def _open_folder(base: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlffdb-test-", dir=base))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        stop_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def stop_servers(folder: Path) -> None:
    """Stop every embedded server below *folder*, such as one that a command started."""
    for path in folder.rglob("PG_VERSION"):
        # one PG_VERSION stands in the cluster, one more in each database's folder
        if path.parent.name == "cluster":
            version = int(path.read_text())
            bin_dir = DEBIAN_15 if version == 15 else None
            EmbeddedServer(path.parents[2], version=version, bin_dir=bin_dir).stop()


# ---- files beside the repository ----


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder ``shared`` beside the repository, with weights and structures; else a skip."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared")
    return folder


# ---- database ----


@pytest.fixture(scope="session")
def server(open_root: Path) -> Iterator[EmbeddedServer | ServerByUrl]:
    """The server of this test run (of each worker under pytest-xdist)."""
    wanted = os.environ.get("MLFFDB_TEST_POSTGRES", "18")
    if "://" in wanted:
        yield ServerByUrl(wanted)
        return
    if wanted == "15" and not DEBIAN_15.is_dir():
        pytest.skip(f"MLFFDB_TEST_POSTGRES=15 needs Debian's postgresql-15 in {DEBIAN_15}")
    bin_dir = DEBIAN_15 if wanted == "15" else None
    embedded = EmbeddedServer(
        open_root / "server", version=int(wanted), bin_dir=bin_dir, settings=FAST
    )
    # before 16 the socket admits only the owner without a password, so the reader needs TCP
    embedded.start(listen="127.0.0.1:0" if wanted == "15" else None)
    if wanted == "15":
        by_url = ServerByUrl(embedded.tcp_url())
        by_url.program = embedded.program  # type: ignore[attr-defined]
        yield by_url
    else:
        yield embedded
    embedded.stop()


@contextmanager
def fresh_database(
    server: EmbeddedServer | ServerByUrl, template: str = "template1"
) -> Iterator[str]:
    """Make a database from *template*, give its URL, and drop it with all connections to it."""
    name = f"mlffdb_test_{secrets.token_hex(6)}"
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.url(database=name)
    finally:
        drop_database(server.url(), name)


def drop_database(url: str, name: str) -> None:
    """Drop a database with all connections to it; waits for readers, whom the owner may not end."""
    deadline = time.monotonic() + 10
    while True:
        try:
            execute(url, f"DROP DATABASE {name} WITH (FORCE)")
        except psycopg2.errors.InsufficientPrivilege:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement outside of a transaction and return its rows."""
    connection = psycopg2.connect(**libpq(make_url(url)))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def database_url(server: EmbeddedServer | ServerByUrl) -> Iterator[str]:
    """The URL of an empty database of its own, dropped at the end."""
    with fresh_database(server) as url:
        yield url


@pytest.fixture(scope="session")
def template(server: EmbeddedServer | ServerByUrl) -> Iterator[str]:
    """The name of a database with the schema, to copy for each test."""
    with fresh_database(server) as url:
        with Database(Settings(database_url=SecretStr(url))) as database:
            migrate.upgrade(database)
            name = database.url.database
        assert name is not None
        yield name


@pytest.fixture
def db(
    server: EmbeddedServer | ServerByUrl,
    template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Database]:
    """A migrated database of its own; commands run in the test use it too."""
    with fresh_database(server, template) as url:
        monkeypatch.setenv("MLFFDB_DATABASE_URL", url)
        with Database(load_settings()) as database:
            assert reader.ensure_role(database) is None
            role = reader.role_name(database)
            yield database
    execute(server.url(), f"DROP ROLE {role}")
