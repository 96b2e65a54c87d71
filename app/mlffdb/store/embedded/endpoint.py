"""Where the server can be reached: remembered in a file beside the cluster."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import URL

from mlffdb.errors import ConfigError, DatabaseError
from mlffdb.store.embedded.accounts import Account

DRIVER = "postgresql+psycopg2"
DEFAULT_PORT = 5432

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+|\*)?(?::(?P<port>[0-9]+))?")
_EVERYWHERE = ("*", "0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True)
class Endpoint:
    """How a running server is reached; kept in server.json, so that every process agrees."""

    #: Folder of the Unix socket.
    socket: str
    #: Number in the socket's name, and TCP port where *listen* is set.
    port: int
    #: Address for TCP, or empty.
    listen: str
    #: Unix user that the server runs as.
    user: str
    #: Machine that the server was started on.
    host: str

    @classmethod
    def load(cls, path: Path) -> Endpoint | None:
        """Read the file; None where there is none or it is damaged."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def save(self, path: Path, account: Account) -> None:
        """Write the file as the server's user."""
        account.write(path, json.dumps(asdict(self), indent=1) + "\n")

    def libpq(self, role: str, database: str) -> dict[str, str | int]:
        """Return the arguments of psycopg2.connect for the socket."""
        return {
            "host": self.socket,
            "port": self.port,
            "user": role,
            "dbname": database,
            "requirepeer": self.user,  # whoever else opens a socket there is not believed
        }

    def url(self, role: str, database: str) -> str:
        """Return the SQLAlchemy URL for the socket."""
        query = {"host": self.socket, "port": str(self.port), "requirepeer": self.user}
        return render(URL.create(DRIVER, username=role, database=database, query=query))

    def tcp_url(self, role: str, password: str | None, database: str) -> str:
        """Return the SQLAlchemy URL for TCP."""
        host = socket.gethostname() if self.listen in _EVERYWHERE else self.listen
        return render(
            URL.create(
                DRIVER,
                username=role,
                password=password,
                host=host.split(",")[0],
                port=self.port,
                database=database,
            )
        )


def parse_listen(text: str) -> tuple[str, int]:
    """Return address and port of ``HOST``, ``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT``.

    The host is localhost and the port 5432 where left out; port 0 stands for any free one.
    Raises ConfigError.
    """
    match = _LISTEN.fullmatch(text.strip())
    if match is None or not text.strip() or int(match["port"] or 0) > 65535:
        raise ConfigError(f"--listen {text!r} is no address; write HOST:PORT, like 0.0.0.0:5432")
    host = (match["host"] or "localhost").strip("[]")
    port = DEFAULT_PORT if match["port"] is None else int(match["port"])
    return host, port


def render(url: URL) -> str:
    """Return *url* as text with its password, with %20 for spaces, which libpq understands too."""
    head, mark, query = url.render_as_string(hide_password=False).partition("?")
    return head + mark + query.replace("+", "%20")


def free_port(host: str) -> int:
    """Return a TCP port that is free now; DatabaseError if *host* is none of this machine."""
    try:
        family, *_, address = socket.getaddrinfo(
            None if host == "*" else host, 0, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise DatabaseError(f"cannot listen on {host}: {error.strerror}") from None
