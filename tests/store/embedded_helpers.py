"""Helpers for the tests of the embedded server: other processes, and other Unix users."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from mlffdb.store.embedded import EmbeddedServer
from mlffdb.store.embedded.process import live_postmaster

START = """
import sys
from pathlib import Path
from mlffdb.store.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print("go", flush=True)
server.start()
"""


def client(folder: Path, code: str = START) -> subprocess.Popen[str]:
    """Start another process that works on the server in *folder*; it prints go when ready."""
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ask(server: EmbeddedServer, sql: str, role: str = "mlffdb") -> list[tuple]:
    connection = psycopg2.connect(**server.libpq(role))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def wait_until_gone(server: EmbeddedServer) -> None:
    """Wait until the kernel is done with a killed server."""
    while live_postmaster(server.cluster):
        time.sleep(0.01)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as other users")

_BECOME = """
import os, sys, json
from pathlib import Path
import encodings.idna, importlib.metadata, psycopg2, sqlalchemy.dialects.postgresql.psycopg2
from mlffdb.errors import DatabaseError
from mlffdb.store.embedded import EmbeddedServer, binaries
uid, gid = map(int, sys.argv[1:3])
os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.chdir("/")
os.environ["HOME"] = "/"
if not os.access(binaries(18) / "postgres", os.X_OK):
    sys.exit(77)
"""


def a_stranger() -> pwd.struct_passwd:
    """Return a user who is neither root nor the one that runs root's servers."""
    names = ("nobody", "daemon", "bin") if has_user("postgres") else ("daemon", "bin")
    return next(pwd.getpwnam(name) for name in names if has_user(name))


def has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def run_as(user: pwd.struct_passwd, code: str, *arguments: object) -> str:
    """Run Python code as *user*; its arguments begin at sys.argv[3]. Return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _BECOME + code, str(user.pw_uid), str(user.pw_gid)]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode == 77:
        pytest.skip("the environment lies where other users cannot reach it")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
