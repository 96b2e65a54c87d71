"""The private folder that holds a cluster, and the lock in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded.accounts import ROOT_DATA_DIR, Account, server_account
from mlffdb.store.embedded.programs import make_open_folder

#: Takes one line for the user.
Notify = Callable[[str], None]

#: A wait is reported first after the one, then every so often.  # s
FIRST_NOTICE, NEXT_NOTICE = 3.0, 10.0


def prepare(home: Path) -> Account:
    """Make the folder, private to the server's user, if he can reach it."""
    account = server_account(home)
    above = next(folder for folder in home.parents if folder.exists())
    if account.drop and not account.reaches(above):
        raise DatabaseError(
            f"user {account.name}, who runs the database server for root, cannot reach "
            f"{home.parent}; choose a folder outside of root's own, such as "
            f"--data-dir {ROOT_DATA_DIR}, or work as an ordinary user"
        )
    if account.drop:
        make_open_folder(home.parent)
    else:
        home.parent.mkdir(parents=True, exist_ok=True)
    try:
        home.mkdir(mode=0o700)
    except FileExistsError:
        # one killed in between leaves a folder that is still root's
        if home.stat().st_uid == account.uid or not account.drop:
            return account
    if account.drop:
        os.chown(home, account.uid, account.gid, follow_symlinks=False)
    return account


@contextmanager
def locked(home: Path, account: Account, tell: Notify) -> Iterator[None]:
    """Hold the lock beside the cluster; only one process makes, starts or stops it."""
    path = home / "lock"
    lock = filelock.FileLock(path)
    since, notice = time.monotonic(), FIRST_NOTICE
    while True:
        try:
            lock.acquire(timeout=1, poll_interval=0.02)
            break
        except filelock.Timeout:
            if time.monotonic() - since >= notice:
                tell("waiting for another process that starts or stops the database")
                notice += NEXT_NOTICE
        except NotImplementedError:
            raise DatabaseError(
                f"the file system of {home} has no locks; choose another data folder"
            ) from None
    try:
        if account.drop:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        yield
    finally:
        lock.release()
