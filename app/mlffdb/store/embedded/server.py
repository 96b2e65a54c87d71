"""Start, stop and reach the embedded server."""

from __future__ import annotations

import logging
import secrets
import socket as network
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import psycopg2.extensions

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded import cluster, home, process, programs, sockets
from mlffdb.store.embedded.accounts import Account, server_account
from mlffdb.store.embedded.endpoint import DEFAULT_PORT, DRIVER, Endpoint, free_port, parse_listen
from mlffdb.store.embedded.filesystem import is_network_filesystem
from mlffdb.store.embedded.home import Notify
from mlffdb.store.embedded.logs import Tail, last_words, still_in_use
from mlffdb.store.embedded.probe import Answer, ask
from mlffdb.store.embedded.programs import binaries

logger = logging.getLogger(__name__)

#: A server that neither answers nor writes to its log for so long counts as stuck.  # s
STALL_TIMEOUT = 600.0
#: How long the last checkpoint before an orderly end may take.  # s
STOP_TIMEOUT = 600.0
#: How long processes of a killed server may hold its shared memory.  # s
ORPHAN_TIMEOUT = 60.0
#: A log larger than this is put aside at the next start.  # bytes
MAX_LOG = 16 * 2**20


class EmbeddedServer:
    """A PostgreSQL server of our own on a folder.

    *data_dir*/postgres holds the cluster, and beside it the lock, the socket, the log, the
    password for TCP and ``server.json`` with the address. Making the object does nothing.
    *settings* are PostgreSQL settings for every start by this object; *bin_dir* names programs
    other than the wheel's.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        version: int = 18,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).expanduser().absolute()
        self.version = version
        self.settings = dict(settings or {})
        #: Folder of everything below, private to the user that runs the server.
        self.home = self.data_dir / "postgres"
        #: The cluster itself (PGDATA).
        self.cluster = self.home / "cluster"
        #: What the server says.
        self.log = self.home / "server.log"
        self._bin_dir = bin_dir
        self._state = self.home / "server.json"
        #: The owner's password for TCP; readable by the user that runs the server.
        self.password_file = self.home / "password"

    # ---- life ----

    def start(self, *, listen: str | None = None, notify: Notify | None = None) -> None:
        """Make sure that the server runs and takes connections; make the cluster when needed.

        Harmless while it runs, and safe from many processes at once. The server lives on after
        this process, until ``stop``. *listen* (``HOST:PORT``) opens TCP as well, with a
        password. *notify* gets a line where something takes long; the default is the log.

        Raises DatabaseError: folder of another user or out of reach, another major version, no
        room, TCP asked from a server that runs without, a server that cannot start.
        """
        tell = notify or logger.info
        address = None if listen is None else parse_listen(listen)
        with self._clear_errors():
            cluster.require_version(self.cluster, self.version)
            if not self.is_alive():
                account = home.prepare(self.home)
                with home.locked(self.home, account, tell):
                    if not self.is_alive():
                        self._start(account, address, tell)
            if address is not None:
                self._require_listen(*address)
                account = server_account(self.home)
                with home.locked(self.home, account, tell):
                    self._set_password(account)

    def stop(self, *, notify: Notify | None = None) -> bool:
        """Stop the server; connections are cut off, nothing is lost. False when none ran."""
        tell = notify or logger.info
        with self._clear_errors():
            if not self.cluster.exists():
                return False
            account = server_account(self.home)
            with home.locked(self.home, account, tell):
                pid = process.live_postmaster(self.cluster)
                if pid is None:
                    process.remove_stale_lock(self.cluster)
                    return False
                self._stop(account, pid)
                endpoint = Endpoint.load(self._state)
                if endpoint is not None:
                    sockets.remove(self.home, Path(endpoint.socket))
        return True

    def is_alive(self) -> bool:
        """Whether a connection is answered now."""
        return ask(self._state) is Answer.READY

    # ---- addresses ----

    def url(self, role: str = cluster.OWNER, database: str = cluster.OWNER) -> str:
        """Return the SQLAlchemy URL of the socket; DatabaseError if it was never started."""
        return self._endpoint().url(role, database)

    def libpq(
        self, role: str = cluster.OWNER, database: str = cluster.OWNER
    ) -> dict[str, str | int]:
        """Return the arguments of psycopg2.connect; DatabaseError if it was never started."""
        return self._endpoint().libpq(role, database)

    def tcp_url(
        self,
        role: str = cluster.OWNER,
        database: str = cluster.OWNER,
        *,
        with_password: bool = True,
    ) -> str:
        """Return the URL for other machines, with the owner's password (not other roles').

        Raises DatabaseError while the server does not listen.
        """
        endpoint = self._endpoint()
        if not endpoint.listen:
            raise DatabaseError(
                "the embedded database takes no TCP connections; `mlffdb db stop`, then "
                "`mlffdb db start --listen HOST:PORT`"
            )
        password = None
        if with_password and role == cluster.OWNER:
            with self._clear_errors():
                password = self.password_file.read_text().strip()
        return endpoint.tcp_url(role, password, database)

    def listening(self) -> str | None:
        """Return the URL for other machines, without a password, or None if there is none."""
        with self._clear_errors():
            endpoint = Endpoint.load(self._state)
        if endpoint is None or not endpoint.listen or not self.is_alive():
            return None
        return self.tcp_url(with_password=False).replace(DRIVER, "postgresql", 1)

    def program(self, name: str) -> Path:
        """Return the path of psql, pg_dump, … of the server's version."""
        path = self._programs() / name
        if not path.is_file():
            raise DatabaseError(f"there is no program {name} in {path.parent}")
        return path

    # ---- within ----

    def _programs(self) -> Path:
        return self._bin_dir or binaries(self.version)

    def _endpoint(self) -> Endpoint:
        with self._clear_errors():
            endpoint = Endpoint.load(self._state)
        if endpoint is None:
            raise DatabaseError(
                f"there is no embedded database in {self.data_dir}; `mlffdb init` makes one"
            )
        return endpoint

    def _start(self, account: Account, address: tuple[str, int] | None, tell: Notify) -> None:
        bin_dir = programs.reachable(self._programs(), account)
        cluster.require_version(self.cluster, self.version)
        if cluster.major_version(self.cluster) is None:
            tell(f"making a database in {self.data_dir}")
            cluster.initialise(self.cluster, bin_dir, self.version, account, self.settings)
        give_up = time.monotonic() + ORPHAN_TIMEOUT
        while True:
            tail = Tail(self.log)
            pid = process.live_postmaster(self.cluster)
            launched = pid is None
            if pid is None:
                pid = self._launch(account, bin_dir, address)
            if self._wait(pid, tail, tell):
                break
            if launched and not self._worth_another_try(pid, tail, give_up, tell):
                raise DatabaseError(
                    f"the database in {self.data_dir} does not start: "
                    f"{last_words(tail.text())}; its log is {self.log}"
                )

    def _launch(self, account: Account, bin_dir: Path, address: tuple[str, int] | None) -> int:
        """Start postgres in a session of its own, so that neither Ctrl-C nor our end stops it."""
        before = Endpoint.load(self._state)
        self._refuse_other_machine(before)
        process.remove_stale_lock(self.cluster)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        remembered = Path(before.socket) if before else None
        folder = sockets.socket_folder(self.home, account, remembered)
        sockets.clear(folder)
        host, port = address or ("", DEFAULT_PORT)
        port = port or free_port(host)
        endpoint = Endpoint(str(folder), port, host, account.name, network.gethostname())
        endpoint.save(self._state, account)
        cluster.write_access_rules(self.cluster, self.version, account)
        settings = self.settings | {
            "unix_socket_directories": sockets.quoted(folder),
            "unix_socket_permissions": "0700",
            "port": str(port),
            "listen_addresses": host,
        }
        command: list[str | Path] = [bin_dir / "postgres", "-D", self.cluster]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        script = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!'
        arguments: list[str | Path] = ["/bin/sh", "-c", script, "sh", self.log, *command]
        done = account.run(arguments, cwd=self.home, new_session=True)
        try:
            return int(done.stdout)
        except ValueError:
            raise DatabaseError(
                f"the database server cannot be started: {last_words(done.stderr)}"
            ) from None

    def _wait(self, pid: int, tail: Tail, tell: Notify) -> bool:
        """Wait until the server takes connections; False if process *pid* ended before.

        Crash recovery may last: there is no limit while the server writes to its log, which it
        does every ten seconds during recovery (log_startup_progress_interval).
        """
        since = moved = time.monotonic()
        last, notice, pause = "", home.FIRST_NOTICE, 0.01
        while True:
            lives = process.running(pid)
            if ask(self._state) is Answer.READY:
                return True
            if not lives:
                return False
            now = time.monotonic()
            if (line := tail.progress()) != last:
                last, moved = line, now
            if now - moved > STALL_TIMEOUT:
                raise DatabaseError(
                    f"the database server (process {pid}) has not answered for "
                    f"{STALL_TIMEOUT:.0f} s; it goes on starting, see {self.log}; try again later"
                )
            if now - since >= notice:
                self._require_socket(pid)
                tell(f"waiting for the database to start: {last}")
                notice += home.NEXT_NOTICE
            time.sleep(pause)
            pause = min(1.0, pause * 1.3)

    def _worth_another_try(self, pid: int, tail: Tail, give_up: float, tell: Notify) -> bool:
        """Whether the server that ended was merely too early, or found another one running."""
        if process.live_postmaster(self.cluster) not in (None, pid):
            return True
        pids = process.orphans(self.cluster)
        if not pids and not still_in_use(tail.text()):
            return False
        if time.monotonic() > give_up:
            names = " ".join(map(str, pids)) or "of another user or container"
            raise DatabaseError(
                f"the database in {self.data_dir} is held by processes of a server that was "
                f"killed ({names}); end them by kill, then try again"
            )
        tell("waiting for the processes of a killed server to end")
        time.sleep(0.2)
        return True

    def _stop(self, account: Account, pid: int) -> None:
        bin_dir = programs.reachable(self._programs(), account)
        timeout = f"{STOP_TIMEOUT:.0f}"
        command: list[str | Path] = [bin_dir / "pg_ctl", "stop", "-D", self.cluster]
        done = account.run([*command, "-m", "fast", "-w", "-t", timeout], cwd=self.home)
        if done.returncode != 0 and process.running(pid):
            raise DatabaseError(
                f"the database server (process {pid}) does not stop: "
                f"{last_words(done.stdout + done.stderr)}; see {self.log}"
            )

    def _set_password(self, account: Account) -> None:
        """Give the owner the password in the file, made when missing; only its hash is sent."""
        password = self.password_file.read_text().strip() if self.password_file.exists() else ""
        if not password:
            password = secrets.token_urlsafe(24)
            account.write(self.password_file, password + "\n")
        connection = psycopg2.connect(**self.libpq(cluster.SUPERUSER, cluster.SUPERUSER))
        try:
            with connection, connection.cursor() as cursor:
                secret = psycopg2.extensions.encrypt_password(
                    password, cluster.OWNER, scope=connection, algorithm="scram-sha-256"
                )
                cursor.execute(f"ALTER ROLE {cluster.OWNER} PASSWORD %s", (secret,))
        finally:
            connection.close()

    def _require_listen(self, host: str, port: int) -> None:
        endpoint = self._endpoint()
        if endpoint.listen == host and port in (0, endpoint.port):
            return
        where = f"on {endpoint.listen}:{endpoint.port}" if endpoint.listen else "without TCP"
        raise DatabaseError(
            f"the embedded database runs already, {where}; `mlffdb db stop` it before "
            f"`mlffdb db start --listen {host}:{port}`"
        )

    def _require_socket(self, pid: int) -> None:
        """Raise if the server is ready, but somebody removed its socket from a temporary folder."""
        endpoint = Endpoint.load(self._state)
        if endpoint is not None:
            socket = Path(endpoint.socket) / f".s.PGSQL.{endpoint.port}"
            if not process.is_ready(self.cluster) or socket.exists():
                return
        raise DatabaseError(
            f"the database server in {self.data_dir} (process {pid}) runs, but its socket is gone; "
            "`mlffdb db stop`, then try again"
        )

    def _refuse_other_machine(self, before: Endpoint | None) -> None:
        """Two machines on one folder would ruin it, and PostgreSQL's own lock cannot see that."""
        here = network.gethostname()
        claimed = (self.cluster / "postmaster.pid").exists()
        if before and claimed and before.host != here and is_network_filesystem(self.home):
            raise DatabaseError(
                f"the database in {self.data_dir} is in use on {before.host}; `mlffdb db stop` "
                f"there, or if that machine went down, remove {self.cluster}/postmaster.pid"
            )

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self.data_dir
            raise DatabaseError(
                f"the embedded database in {self.data_dir} cannot be used: {place}: "
                f"{error.strerror or error}; choose another folder by --data-dir or MLFFDB_DATA_DIR"
            ) from None
