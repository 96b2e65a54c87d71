"""Making a database cluster, and who may log in to it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded.accounts import Account, root_name
from mlffdb.store.embedded.logs import last_words

#: Owner of the database ``mlffdb``; what all commands log in as unless said otherwise.
OWNER = "mlffdb"
#: Role and database that every new cluster has.
SUPERUSER = "postgres"

SETTINGS = """
# ---- mlffdb: written once; edit as you like, then restart the server ----
random_page_cost = 1.1              # SSD
jit = off                           # short queries
max_connections = 300               # one per worker process and some
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 128MB        # building indexes
max_wal_size = 2GB                  # rarer checkpoints while much is inserted
checkpoint_timeout = 15min
fsync = on
synchronous_commit = on
listen_addresses = ''               # no TCP; `mlffdb db start --listen` opens it
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] %q%u@%d '
"""

#: One statement a line, for single-user mode. PUBLIC may do nothing but connect.
ROLES = f"""\
CREATE ROLE {OWNER} LOGIN NOSUPERUSER CREATEDB CREATEROLE
CREATE DATABASE {OWNER} OWNER {OWNER}
REVOKE CREATE, TEMPORARY ON DATABASE {OWNER} FROM PUBLIC
REVOKE CREATE, TEMPORARY ON DATABASE {SUPERUSER} FROM PUBLIC
"""


def major_version(data: Path) -> int | None:
    """Return the major version that made the cluster in *data*, or None if there is none."""
    try:
        return int((data / "PG_VERSION").read_text().strip())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise DatabaseError(f"{data}/PG_VERSION is damaged; restore the folder") from None


def require_version(data: Path, version: int) -> None:
    """Raise DatabaseError if the cluster in *data* is of another major version."""
    found = major_version(data)
    if found not in (None, version):
        raise DatabaseError(
            f"the database in {data} was made by PostgreSQL {found}, not {version}; "
            f"set postgres_version = {found} in mlffdb.toml or MLFFDB_POSTGRES_VERSION={found}, "
            "or choose another data folder (pg_dump and pg_restore move what is in it)"
        )


def initialise(
    data: Path, bin_dir: Path, version: int, account: Account, settings: Mapping[str, str]
) -> None:
    """Make a cluster with roles and database in *data*, whole or not at all.

    Raises DatabaseError with the program's own last words.
    """
    remove_leftovers(data)
    staging = data.with_name(f"{data.name}.new-{secrets.token_hex(4)}")
    try:
        durable = settings.get("fsync", "on") != "off"
        _check(account, _initdb(staging, bin_dir, version, durable=durable), data)
        conf = staging / "postgresql.conf"
        account.write(conf, conf.read_text() + SETTINGS)
        write_access_rules(staging, version, account)
        single: list[str | Path] = [bin_dir / "postgres", "--single", "-D", staging]
        options = ["-c", "exit_on_error=true", "-c", f"fsync={'on' if durable else 'off'}"]
        _check(account, [*single, *options, SUPERUSER], data, stdin=ROLES)
        staging.rename(data)
        sync_folder(data.parent)
    except OSError as error:
        raise DatabaseError(f"cannot make a database in {data}: {error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_leftovers(data: Path) -> None:
    """Remove half-made clusters of earlier attempts that were killed."""
    for leftover in data.parent.glob(f"{data.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def write_access_rules(data: Path, version: int, account: Account) -> None:
    """Write who may log in: by socket the server's user and root, by TCP who has a password.

    The socket admits those users as ``postgres`` and as every role whose name begins with
    ``mlffdb``; before PostgreSQL 16, whose maps take no pattern, as ``postgres`` and ``mlffdb``,
    and other roles with their password. TCP never admits the superuser, and works only while
    the server listens.
    """
    patterns = version >= 16
    who = "all" if patterns else f"{SUPERUSER},{OWNER}"
    rules = [
        "# type, database, user, address, method",
        f"local all {who} peer map=mlffdb",
        "local all all scram-sha-256",
        f"host all {SUPERUSER} all reject",
        "host all all all scram-sha-256",
    ]
    roles = (SUPERUSER, f"/^{OWNER}" if patterns else OWNER)
    users = dict.fromkeys((account.name, root_name()))
    names = [f'mlffdb "{_escaped(user)}" {role}' for user in users for role in roles]
    for file, lines in (("pg_hba.conf", rules), ("pg_ident.conf", names)):
        text = "\n".join(["# written by mlffdb at every start", *lines])
        account.write(data / file, text + "\n")


def sync_folder(folder: Path) -> None:
    """Make renames in *folder* durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _initdb(staging: Path, bin_dir: Path, version: int, *, durable: bool) -> list[str | Path]:
    command: list[str | Path] = [bin_dir / "initdb", "-D", staging, "-U", SUPERUSER]
    command += ["--encoding=UTF8", "--locale=C", "--data-checksums"]
    command += ["--auth-local=peer", "--auth-host=scram-sha-256"]
    if version >= 17:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if not durable:
        command += ["--no-sync"]
    return command


def _check(account: Account, command: list[str | Path], data: Path, stdin: str = "") -> None:
    done = account.run(command, cwd=data.parent, stdin=stdin)
    if done.returncode != 0:
        reason = last_words(done.stdout + "\n" + done.stderr)
        raise DatabaseError(
            f"cannot make a database in {data}: {reason}; see that the disk has room "
            "(200 MB at least), or choose another data folder"
        )


def _escaped(name: str) -> str:
    return name.replace('"', '""')
