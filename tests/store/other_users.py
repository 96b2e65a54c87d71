"""Helpers to run code as another Unix user; only root can."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

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
