"""PgBouncer in transaction mode before a server, as clusters have it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import URL, make_url

from mlffdb.store.database import libpq
from mlffdb.store.embedded import EmbeddedServer
from tests.conftest import execute

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

#: As docs/queue.md shows it.
SETTINGS = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 400
auth_type = scram-sha-256
auth_user = pgbouncer
auth_file = {users}
auth_query = SELECT role, password FROM pgbouncer.login($1)
logfile = {log}
"""


#: As docs/queue.md shows it, for a superuser in each database (or in template1 before).
LOGINS = """
CREATE SCHEMA pgbouncer;
CREATE FUNCTION pgbouncer.login(name text) RETURNS TABLE (role name, password text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin';
REVOKE ALL ON FUNCTION pgbouncer.login FROM public;
GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer;
GRANT EXECUTE ON FUNCTION pgbouncer.login TO pgbouncer;
"""


@contextmanager
def pgbouncer(server: EmbeddedServer, folder: Path, *, pool: int) -> Iterator[URL]:
    """Run PgBouncer before a server that listens on TCP; give the URL through it.

    pool: connections to the server per database and role
    """
    assert PROGRAM is not None
    url = make_url(server.tcp_url())
    folder.mkdir()
    users = folder / "users.txt"
    password = secrets.token_hex(8)
    users.write_text(f'"pgbouncer" "{password}"\n')
    superuser = server.url("postgres", "template1")
    execute(superuser, f"CREATE ROLE pgbouncer LOGIN PASSWORD '{password}'")
    for database in ("template1", "mlffdb"):
        execute(server.url("postgres", database), LOGINS)
    listen = _free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(
            host=url.host, port=url.port, listen=listen, pool=pool, users=users,
            log=folder / "pgbouncer.log",
        )
    )  # fmt: skip
    command = [PROGRAM, str(settings)]
    if os.geteuid() == 0:  # it refuses to run as root
        command[1:1] = ["-u", "nobody"]
        for path in (folder, users, settings):
            shutil.chown(path, "nobody")
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    through = url.set(host="127.0.0.1", port=listen)
    try:
        _wait(through, folder / "pgbouncer.log")
        yield through
    finally:
        running.terminate()
        running.wait()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: URL, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg2.connect(**libpq(url)).close()
        except psycopg2.OperationalError as error:
            said = log.read_text() if log.exists() else ""
            assert time.monotonic() < deadline, f"{error}\n{said}"
            time.sleep(0.05)
        else:
            return
