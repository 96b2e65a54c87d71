"""Killed clients and servers, stale locks, long recoveries: started again, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
import psycopg2.extras
import pytest

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded import EmbeddedServer, home
from mlffdb.store.embedded import server as server_module
from mlffdb.store.embedded.process import live_postmaster, orphans, remove_stale_lock, running
from tests.store.embedded_helpers import ask, client, wait_until_gone


def kill_server(server: EmbeddedServer) -> None:
    os.kill(live_postmaster(server.cluster), signal.SIGKILL)
    wait_until_gone(server)


def as_server_user(server: EmbeddedServer, *command: str) -> subprocess.Popen[bytes]:
    """Start a program as the server's user: only his processes stop PostgreSQL by their number."""
    uid = server.cluster.stat().st_uid
    return subprocess.Popen(command, user=uid if os.geteuid() == 0 else None)


def forge_lock(server: EmbeddedServer, pid: int) -> None:
    """Write the lock file that a server with the number *pid* would have left behind."""
    path = server.cluster / "postmaster.pid"
    path.write_text(f"{pid}\n{server.cluster}\n{int(time.time())}\n5432\n\n\n\nready   \n")
    if os.geteuid() == 0:
        os.chown(path, server.cluster.stat().st_uid, -1)
        path.chmod(0o600)


def refuses_to_start(server: EmbeddedServer) -> bool:
    """Whether postgres by itself, without our care, stops at its lock file."""
    uid = server.cluster.stat().st_uid if os.geteuid() == 0 else None
    command = [server.program("postgres"), "-D", server.cluster, "-c", "listen_addresses="]
    done = subprocess.run(
        command, user=uid, cwd="/", capture_output=True, text=True, check=False, timeout=30
    )
    return "already exists" in done.stderr


@pytest.fixture
def server(open_folder):
    server = EmbeddedServer(open_folder)
    server.start()
    return server


@pytest.mark.parametrize("version", [16, 18])
def test_a_killed_server_starts_again_with_its_data(open_folder, version):
    server = EmbeddedServer(open_folder, version=version)
    server.start()
    ask(server, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS x")
    kill_server(server)
    assert not server.is_alive()
    server.start()
    assert ask(server, "SELECT count(*), sum(x) FROM kept") == [(1000, 500500)]


@pytest.mark.parametrize("delay", [0.02, 0.15, 0.4, 0.8])
def test_a_client_killed_while_it_starts_the_server(open_folder, delay):
    with client(open_folder / "data") as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(delay)
        process.kill()
    server = EmbeddedServer(open_folder / "data")
    server.start()
    assert ask(server, "SELECT 1") == [(1,)]
    assert not list(server.home.glob("cluster.new-*"))


def test_a_reused_number_in_the_lock_file(server):
    server.stop()
    with as_server_user(server, "sleep", "60") as other:
        forge_lock(server, other.pid)
        assert refuses_to_start(server)
        assert not server.is_alive()
        assert server.stop() is False
        forge_lock(server, other.pid)
        server.start()
        assert server.is_alive()
        assert other.poll() is None  # the other program was left alone
        other.kill()


def test_a_zombie_in_the_lock_file(server):
    server.stop()
    zombie = as_server_user(server, "true")
    while running(zombie.pid):
        time.sleep(0.01)
    forge_lock(server, zombie.pid)
    assert refuses_to_start(server)
    server.start()
    assert server.is_alive()
    zombie.wait()


def test_a_number_that_now_is_another_database_server(server, open_folder):
    other = EmbeddedServer(open_folder / "other")
    other.start()
    server.stop()
    forge_lock(server, live_postmaster(other.cluster))
    server.start()
    assert server.is_alive()
    assert other.is_alive()


def test_the_lock_of_a_living_server_stays(server):
    assert remove_stale_lock(server.cluster) is False
    assert (server.cluster / "postmaster.pid").exists()


@pytest.mark.parametrize("content", ["", "nonsense\n"])
def test_a_damaged_lock_file_is_removed(server, content):
    server.stop()
    (server.cluster / "postmaster.pid").write_text(content)
    server.start()
    assert server.is_alive()


def test_processes_of_a_killed_server_are_waited_for(server):
    # a computing backend does not notice at once that its server is gone
    connection = psycopg2.connect(**server.libpq(), async_=True)
    psycopg2.extras.wait_select(connection)
    busy = "DO $$ DECLARE t timestamptz := clock_timestamp(); BEGIN "
    busy += "WHILE clock_timestamp() < t + interval '8 s' LOOP END LOOP; END $$"
    connection.cursor().execute(busy)
    time.sleep(0.3)
    kill_server(server)
    assert orphans(server.cluster)
    messages: list[str] = []
    server.start(notify=messages.append)
    assert "waiting for the processes of a killed server to end" in messages
    assert ask(server, "SELECT 1") == [(1,)]
    connection.close()


def test_processes_of_a_killed_server_that_stay_are_named(server, monkeypatch):
    monkeypatch.setattr(server_module, "ORPHAN_TIMEOUT", 0.2)
    connection = psycopg2.connect(**server.libpq())
    pid = connection.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        kill_server(server)
        with pytest.raises(DatabaseError, match=rf"killed \({pid}\)"):
            server.start()
    finally:
        os.kill(pid, signal.SIGKILL)
    connection.close()
    server.start()
    assert server.is_alive()


def slow_recovery(server: EmbeddedServer) -> EmbeddedServer:
    """Kill the server and make its recovery long: every segment is first asked of an archive."""
    kill_server(server)
    path = server.cluster / "recovery.signal"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, server.cluster.stat().st_uid, -1)
    settings = {"restore_command": "sleep 0.5; false", "hot_standby": "off"}
    return EmbeddedServer(server.data_dir, settings=settings)


def test_a_long_recovery_is_waited_out(server, monkeypatch):
    monkeypatch.setattr(home, "FIRST_NOTICE", 0.2)
    ask(server, "CREATE TABLE kept AS SELECT 1 AS x")
    slow = slow_recovery(server)
    messages: list[str] = []
    slow.start(notify=messages.append)
    assert any(line.startswith("waiting for the database to start: ") for line in messages)
    assert ask(server, "SELECT x FROM kept") == [(1,)]


def test_others_wait_for_the_one_that_waits(server, monkeypatch):
    monkeypatch.setattr(home, "FIRST_NOTICE", 0.2)
    slow = slow_recovery(server)
    first = threading.Thread(target=slow.start)
    first.start()
    while not live_postmaster(server.cluster):
        time.sleep(0.01)
    messages: list[str] = []
    server.start(notify=messages.append)
    assert server.is_alive()
    assert "waiting for another process that starts or stops the database" in messages
    first.join()


def test_a_server_that_neither_answers_nor_logs_is_reported(server, monkeypatch):
    monkeypatch.setattr(server_module, "STALL_TIMEOUT", 0.2)
    slow = slow_recovery(server)
    with pytest.raises(DatabaseError, match="has not answered for"):
        slow.start()
    monkeypatch.undo()
    server.start()  # it went on starting
    assert server.is_alive()


def test_a_socket_that_was_swept_away(server, monkeypatch):
    monkeypatch.setattr(home, "FIRST_NOTICE", 0.1)
    host, port = server.libpq()["host"], server.libpq()["port"]
    Path(f"{host}/.s.PGSQL.{port}").unlink()
    assert not server.is_alive()
    with pytest.raises(DatabaseError, match="its socket is gone; `mlffdb db stop`"):
        server.start()
    assert server.stop()
    server.start()
    assert server.is_alive()


def test_a_server_that_has_no_room_for_more_clients_is_alive(open_folder):
    settings = {"max_connections": "4", "superuser_reserved_connections": "0"}
    server = EmbeddedServer(open_folder, settings=settings)
    server.start()
    connections = [psycopg2.connect(**server.libpq("postgres")) for _ in range(4)]
    try:
        with pytest.raises(psycopg2.OperationalError, match="too many clients"):
            psycopg2.connect(**server.libpq("postgres"))
        assert server.is_alive()
    finally:
        for connection in connections:
            connection.close()


def test_a_large_log_is_put_aside(server):
    server.stop()
    with server.log.open("ab") as file:
        file.truncate(server_module.MAX_LOG + 1)
    server.start()
    assert server.log.stat().st_size < server_module.MAX_LOG
    assert server.log.with_name("server.log.1").exists()


def test_stop_kills_nobody_else(server):
    server.stop()
    with as_server_user(server, sys.executable if os.geteuid() else "sleep", "60") as other:
        forge_lock(server, other.pid)
        assert server.stop() is False
        assert other.poll() is None
        other.kill()
