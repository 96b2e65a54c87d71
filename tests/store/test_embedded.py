"""The embedded server's life: made, started, found, stopped, wherever its folder lies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine, text

from mlffdb.errors import DatabaseError
from mlffdb.store.embedded import EmbeddedServer, binaries, is_network_filesystem
from mlffdb.store.embedded import server as server_module
from mlffdb.store.embedded.process import live_postmaster
from mlffdb.store.embedded.sockets import MAX_SOCKET_PATH
from tests.store.embedded_helpers import START, ask, client, wait_until_gone


@pytest.mark.parametrize("version", [16, 18])
def test_life(open_folder, version):
    server = EmbeddedServer(open_folder / "data", version=version)
    assert not server.is_alive()
    assert server.stop() is False
    assert not server.data_dir.exists()
    with pytest.raises(DatabaseError, match="mlffdb init"):
        server.url()

    server.start()
    assert server.is_alive()
    [(number,)] = ask(server, "SHOW server_version_num")
    assert int(number) // 10000 == version
    [(began,)] = ask(server, "SELECT pg_postmaster_start_time()")
    server.start()
    assert ask(server, "SELECT pg_postmaster_start_time()") == [(began,)]
    ask(server, "CREATE TABLE kept AS SELECT 1 AS x")

    assert server.stop() is True
    assert not server.is_alive()
    assert server.stop() is False
    server.start()
    assert ask(server, "SELECT x FROM kept") == [(1,)]


def test_settings_roles_and_rights(open_folder):
    server = EmbeddedServer(open_folder)
    server.start()
    expected = {
        "random_page_cost": "1.1",
        "jit": "off",
        "max_connections": "300",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "fsync": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    names = ",".join(f"'{name}'" for name in expected)
    sql = f"SELECT name, setting FROM pg_settings WHERE name IN ({names})"
    assert dict(ask(server, sql)) == expected
    # byte order, yet upper() knows Å: the built-in C.UTF-8
    assert ask(server, "SELECT upper('å'), 'Z' < 'a'") == [("Å", True)]
    roles = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolcanlogin"
    assert sorted(ask(server, roles)) == [
        ("mlffdb", False, True, True),
        ("postgres", True, True, True),
    ]
    ask(server, "CREATE ROLE mlffdb_guest LOGIN")
    rights = "SELECT has_database_privilege('mlffdb_guest', 'mlffdb', '{}')"
    assert ask(server, rights.format("TEMPORARY")) == [(False,)]
    assert ask(server, rights.format("CREATE")) == [(False,)]
    assert ask(server, "SELECT current_user", role="mlffdb_guest") == [("mlffdb_guest",)]


def test_a_role_with_another_name_is_refused(open_folder):
    server = EmbeddedServer(open_folder)
    server.start()
    ask(server, "CREATE ROLE somebody LOGIN")
    with pytest.raises(psycopg2.OperationalError, match="Peer authentication failed"):
        psycopg2.connect(**server.libpq("somebody"))


LONG = "a" * 200
PATHS = ["with a space", 'it\'s "quoted" $(id) `id`', "com,ma:colon%20", "Å ü", LONG]


@pytest.mark.parametrize("name", PATHS, ids=["space", "quotes", "comma", "unicode", "long"])
def test_paths(open_folder, name):
    server = EmbeddedServer(open_folder / name)
    server.start()
    engine = create_engine(server.url())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == "mlffdb"
    engine.dispose()
    folder = Path(str(server.libpq()["host"]))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == server.cluster.stat().st_uid
    (socket,) = (path for path in folder.iterdir() if path.is_socket())
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert len(os.fsencode(socket)) <= MAX_SOCKET_PATH
    url = server.url().replace("+psycopg2", "")
    psql = [server.program("psql"), "-XAt", "-c", "SELECT 42", url]
    assert subprocess.run(psql, capture_output=True, text=True, check=True).stdout == "42\n"
    assert server.stop()
    if folder.parent != server.home:
        assert not folder.exists()
    server.start()
    assert server.is_alive()


def test_a_remembered_socket_folder_that_somebody_opened_is_not_used_again(open_folder):
    server = EmbeddedServer(open_folder / LONG)
    server.start()
    first = Path(str(server.libpq()["host"]))
    os.kill(live_postmaster(server.cluster), signal.SIGKILL)
    first.chmod(0o755)
    server.start()
    second = Path(str(server.libpq()["host"]))
    assert second != first
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    for path in first.iterdir():
        path.unlink()
    first.rmdir()


def test_six_processes_at_once(open_folder):
    code = START + (
        "import psycopg2\n"
        "cursor = psycopg2.connect(**server.libpq()).cursor()\n"
        "cursor.execute('SELECT pg_postmaster_start_time()::text, system_identifier::text "
        "FROM pg_control_system()')\n"
        "print(cursor.fetchone())\n"
    )
    clients = [client(open_folder / "data", code) for _ in range(6)]
    answers = [process.communicate(timeout=120)[0] for process in clients]
    assert [process.returncode for process in clients] == [0] * 6
    assert len(set(answers)) == 1
    assert "go" in answers[0]
    home = open_folder / "data" / "postgres"
    assert not list(home.glob("cluster.new-*"))


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(open_folder):
    waiting = START + "print('up', flush=True)\nimport time; time.sleep(60)\n"
    with client(open_folder, waiting) as process:
        assert process.stdout.readline() == "go\n"
        assert process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) != 0
    server = EmbeddedServer(open_folder)
    assert server.is_alive()
    assert os.getsid(live_postmaster(server.cluster)) != process.pid


def test_another_major_version_is_refused(open_folder):
    EmbeddedServer(open_folder, version=16).start()
    other = EmbeddedServer(open_folder, version=18)
    for _ in range(2):  # while it runs, and after
        with pytest.raises(DatabaseError, match=r"PostgreSQL 16, not 18; .*VERSION=16") as caught:
            other.start()
        assert "\n" not in str(caught.value)
        EmbeddedServer(open_folder, version=16).stop()


def test_a_failing_initdb_leaves_nothing_behind(open_folder):
    # no file may grow beyond 5 MB, where initdb writes 16 MB of WAL at a time
    code = """
import resource, sys
from pathlib import Path
from mlffdb.errors import DatabaseError
from mlffdb.store.embedded import EmbeddedServer
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, resource.RLIM_INFINITY))
try:
    EmbeddedServer(Path(sys.argv[1])).start()
except DatabaseError as error:
    print(error)
"""
    with client(open_folder / "data", code) as process:
        line = process.communicate(timeout=60)[0].strip()
    assert line.startswith(f"cannot make a database in {open_folder}/data/postgres/cluster: ")
    assert "File" in line or "size" in line
    assert "\n" not in line
    home = open_folder / "data" / "postgres"
    assert [path.name for path in home.iterdir()] == ["lock"]
    server = EmbeddedServer(open_folder / "data")
    server.start()
    assert server.is_alive()


def test_a_setting_that_postgres_refuses_is_named(open_folder):
    server = EmbeddedServer(open_folder, settings={"shared_buffers": "many"})
    with pytest.raises(DatabaseError, match=r'invalid value for parameter "shared_buffers"'):
        server.start()
    server = EmbeddedServer(open_folder)
    server.start()
    assert server.is_alive()


def test_a_data_folder_that_is_a_file(open_folder):
    (open_folder / "file").write_text("x")
    with pytest.raises(DatabaseError, match="--data-dir") as caught:
        EmbeddedServer(open_folder / "file").start()
    assert "\n" not in str(caught.value)


def test_unknown_version_and_program(open_folder):
    with pytest.raises(DatabaseError, match="choose 16 or 18"):
        binaries(17)
    assert (binaries(16) / "initdb").is_file()
    with pytest.raises(DatabaseError, match="no program nonsense"):
        EmbeddedServer(open_folder).program("nonsense")


def test_network_file_systems_by_the_longest_mount_point(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "/dev/sdb1 /home/local ext4 rw 0 0\n"
        r"me@host: /mnt/a\040b fuse.sshfs rw 0 0" + "\n"
        "merged /mnt/pool fuse.mergerfs rw 0 0\n"
        "scratch /lustre lustre rw 0 0\n"
    )
    found = {
        path: is_network_filesystem(Path(path), mounts=mounts)
        for path in ("/data", "/home/me/x", "/home/local/x", "/mnt/a b/c", "/mnt/pool", "/lustre")
    }
    assert found == {
        "/data": None,
        "/home/me/x": "nfs4",
        "/home/local/x": None,
        "/mnt/a b/c": "fuse.sshfs",
        "/mnt/pool": None,
        "/lustre": "lustre",
    }
    assert is_network_filesystem(tmp_path, mounts=tmp_path / "none") is None


def test_a_folder_in_use_on_another_machine_is_left_alone(open_folder, monkeypatch):
    server = EmbeddedServer(open_folder)
    server.start()
    os.kill(live_postmaster(server.cluster), signal.SIGKILL)
    wait_until_gone(server)
    monkeypatch.setattr(server_module, "is_network_filesystem", lambda _: "nfs4")
    monkeypatch.setattr(server_module.network, "gethostname", lambda: "elsewhere")
    with pytest.raises(DatabaseError, match="is in use on"):
        server.start()
    (server.cluster / "postmaster.pid").unlink()
    server.start()
    assert server.is_alive()
