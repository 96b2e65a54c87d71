"""What a worker on another machine is told: the database's address and folders, and no secret."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import URL

from mlffdb.config import ENV_PREFIX, Settings
from mlffdb.store.database import libpq, parse_url
from mlffdb.store.embedded.endpoint import render
from mlffdb_workers.launchers import LaunchError

#: libpq's parameters that are secrets themselves (a passfile only says where they are).
SECRETS = ("password", "sslpassword")
DECLARED = ENV_PREFIX + "TEACHERS"
LOOPBACK = ("localhost", "127.", "::1")


def shared_environment(settings: Settings) -> dict[str, str]:
    """Return the ``MLFFDB_*`` variables of *settings* for a script that others may read.

    Raises LaunchError where other machines cannot reach the database by it: the embedded one, a
    Unix socket; and where a URL has a password in it, which would stand in the script.
    """
    if settings.database_url is None:
        raise LaunchError(
            "other machines cannot reach the embedded database; set MLFFDB_DATABASE_URL to a "
            "server, or `mlffdb db stop`, `mlffdb db start --listen HOST:PORT` and set it to the "
            "URL that this prints"
        )
    found = {"database_url": _address(settings.database_url, "database URL")}
    if settings.reader_url is not None:
        found["reader_url"] = _address(settings.reader_url, "reader's URL")
    for key in ("cache_dir", "weights_dir"):
        folder = getattr(settings, key)
        if folder is not None:
            found[key] = str(folder.absolute())
    variables = {ENV_PREFIX + key.upper(): value for key, value in found.items()}
    if settings.teachers:
        variables[DECLARED] = settings.variables()[DECLARED]
    return variables


def is_loopback(settings: Settings) -> bool:
    """Whether the database's URL reaches it from its own machine only."""
    assert settings.database_url is not None
    return _host(parse_url(settings.database_url.get_secret_value())).startswith(LOOPBACK)


def _address(secret: SecretStr, what: str) -> str:
    url = parse_url(secret.get_secret_value())
    if any(libpq(url).get(name) for name in SECRETS):
        raise LaunchError(
            f"the {what} has a password in it, which would stand in the job's script; take it out "
            "and put the line host:port:database:user:password into ~/.pgpass (mode 600), or "
            "export PGPASSWORD"
        )
    if not _host(url) or _host(url).startswith(("/", "@")):
        raise LaunchError(
            f"the {what} names a Unix socket, which other machines cannot reach; write "
            "postgresql://user@host:5432/database"
        )
    return render(url.set(drivername="postgresql"))


def _host(url: URL) -> str:
    host = libpq(url).get("host") or ""
    return host if isinstance(host, str) else ",".join(host)
