"""The folder of the server's Unix socket: private, and short enough for the kernel."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded.accounts import Account

#: Bytes of a socket's path without the closing zero (sun_path of unix(7)).
MAX_SOCKET_PATH = 107

#: What may stand in a socket folder's path: libpq splits hosts at commas, SQLAlchemy at colons.
_PLAIN = re.compile(r"[A-Za-z0-9/._ ~+=-]+")


def socket_folder(home: Path, account: Account, remembered: Path | None) -> Path:
    """Return a folder for the server's socket with mode 0700 that belongs to *account*.

    It lies in *home* where the path is short and plain; else in a new folder with a random name
    under the temporary folder, or in the one *remembered* from last time if it is still private.
    Raises DatabaseError where none can be made.
    """
    inside = home / "socket"
    if fits(inside):
        _make(inside, account)
        if not is_private(inside, account):
            raise DatabaseError(f"{inside} must be a folder of {account.name} alone; remove it")
        return inside
    if remembered is not None and fits(remembered) and is_private(remembered, account):
        return remembered
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108
        if not fits(Path(base) / "mlffdb-12345678"):
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix="mlffdb-", dir=base))
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        except OSError:
            continue
        if account.reaches(folder):
            return folder
        folder.rmdir()
    raise DatabaseError(
        f"{home} is too long a path for a Unix socket, and no temporary folder can be used "
        "instead; choose a shorter data folder by --data-dir or MLFFDB_DATA_DIR"
    )


def fits(folder: Path) -> bool:
    """Whether a socket in *folder* has a path that kernel, libpq and SQLAlchemy all take."""
    longest = os.fsencode(folder / ".s.PGSQL.65535")
    return len(longest) <= MAX_SOCKET_PATH and _PLAIN.fullmatch(str(folder)) is not None


def is_private(folder: Path, account: Account) -> bool:
    """Whether *folder* is a real folder of *account* that nobody else may enter."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    private = stat.S_IMODE(status.st_mode) & 0o077 == 0
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and private


def clear(folder: Path) -> None:
    """Remove what a killed server left in its socket folder.

    Like ``postmaster.pid``, the socket's lock file would be believed for the number in it alone.
    Only for a private folder whose server is known to be gone.
    """
    for path in folder.glob(".s.PGSQL.*"):
        path.unlink(missing_ok=True)


def remove(home: Path, folder: Path) -> None:
    """Remove a socket folder outside of *home* after its server ended, if it is empty."""
    if folder.parent != home:
        try:
            folder.rmdir()
        except OSError:
            return


def quoted(folder: Path) -> str:
    """Return *folder* as one entry of the setting ``unix_socket_directories``."""
    return '"' + str(folder).replace('"', '""') + '"'


def _make(folder: Path, account: Account) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    if account.drop:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
