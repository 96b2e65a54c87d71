"""The Unix user that the server runs as: ourselves, or as root somebody unprivileged."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlffdb.errors import DatabaseError

#: Where root should put a database: everybody may pass through its parents.
ROOT_DATA_DIR = "/var/lib/mlffdb"


@dataclass(frozen=True)
class Account:
    """A Unix user, and whether programs must be started as him by dropping root's rights."""

    name: str
    uid: int
    gid: int
    drop: bool

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: Path,
        stdin: str = "",
        new_session: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user with a bare environment; its output is captured.

        With *new_session* it has no terminal that could interrupt it. Raises OSError where it
        cannot start.
        """
        keep = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH") if k in os.environ}
        return subprocess.run(
            [os.fspath(argument) for argument in arguments],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            umask=0o077,
            start_new_session=new_session,
            env={"PATH": "/usr/bin:/bin", **keep, "LC_ALL": "C", "TZ": "UTC"},
            user=self.uid if self.drop else None,
            group=self.gid if self.drop else None,
            extra_groups=os.getgrouplist(self.name, self.gid) if self.drop else None,
        )

    def write(self, path: Path, text: str) -> None:
        """Write a file with mode 0600 as this user, whole or not at all."""
        script = 'cat > "$1.new" && mv -f "$1.new" "$1"'
        done = self.run(["/bin/sh", "-c", script, "sh", path], cwd=path.parent, stdin=text)
        if done.returncode != 0:
            raise DatabaseError(f"cannot write {path}: {done.stderr.strip() or 'unknown reason'}")

    def reaches(self, folder: Path) -> bool:
        """Whether this user can enter *folder*, whatever its parents' modes are."""
        done = self.run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], cwd=Path("/"))
        return done.returncode == 0


def server_account(home: Path) -> Account:
    """Return the user that a server on *home* runs as.

    That is the process's own user; for root, whom PostgreSQL refuses, the owner of *home*, else
    of the folder above it, else ``postgres``, else ``nobody``. Raises DatabaseError where there
    is no such user.
    """
    if os.geteuid() != 0:
        return _account(os.geteuid(), drop=False)
    for folder in (home, home.parent):
        if folder.exists() and folder.stat().st_uid != 0:
            return _account(folder.stat().st_uid, drop=True)
    for name in ("postgres", "nobody"):
        try:
            return _account(pwd.getpwnam(name).pw_uid, drop=True)
        except KeyError:
            continue
    raise DatabaseError(
        "the database server refuses to run as root and there is no user 'postgres' or 'nobody' "
        "to run it as; work as an ordinary user"
    )


def root_name() -> str:
    """Return the name of user 0."""
    try:
        return pwd.getpwuid(0).pw_name
    except KeyError:
        return "root"


def _account(uid: int, *, drop: bool) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise DatabaseError(
            f"user id {uid} has no name (no entry in /etc/passwd), and the database server needs "
            "one; add an entry, or use a server by MLFFDB_DATABASE_URL"
        ) from None
    return Account(entry.pw_name, uid, entry.pw_gid, drop)
