"""A campaign through PgBouncer in transaction mode, where a session is anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from mlffdb.config import load_settings
from mlffdb.errors import ExportError, QueryError
from mlffdb.pipeline import setup
from mlffdb.snapshots.freeze import export_lock
from mlffdb.store import labels, reader
from mlffdb.store.database import Database, libpq
from mlffdb.store.embedded import EmbeddedServer
from mlffdb.store.queue import LABEL_TASKS, Queue
from mlffdb.training import load
from tests.cli.running import done, done_json, value
from tests.cli.test_run import SMALL
from tests.conftest import FAST, execute
from tests.helpers import add_molecules, add_teacher, approve_all
from tests.store.pgbouncer import PROGRAM, pgbouncer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Debian's package pgbouncer")


@pytest.fixture(scope="module")
def through(open_root: Path) -> Iterator[str]:
    """The URL of an empty server through PgBouncer, with three connections per role for all."""
    server = EmbeddedServer(open_root / "behind", settings=FAST)
    server.start(listen="127.0.0.1:0")
    with pgbouncer(server, open_root / "pgbouncer", pool=3) as url:
        yield url.render_as_string(hide_password=False)
    server.stop()


@pytest.fixture
def bounced(through: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh database behind PgBouncer, which commands use."""
    name = f"bounced_{uuid4().hex[:8]}"
    execute(through, f"CREATE DATABASE {name}")
    monkeypatch.setenv("MLFFDB_DATABASE_URL", through.rpartition("/")[0] + f"/{name}")
    with Database(load_settings()) as database:
        yield database


def test_a_campaign_from_init_to_export(bounced: Database, tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="needs the extra xtb")
    (plan := tmp_path / "small.yaml").write_text(SMALL)
    assert "Created schema" in done("init")
    assert "9 structures" in done("sample", str(plan), "--workers", "2")
    text = done("label", "--teacher", "gfn2-xtb", "--workers", "2", "--where", "n_atoms > 1")
    assert "9 labelled in all, 0 open, 0 failed" in text
    assert len(done_json("tasks", "list", "--where", "status = 'done'")) == 9
    done("validate")
    done(
        "export",
        "small",
        "--teacher",
        "gfn2-xtb",
        "--split",
        "1",
        "--where",
        "n_atoms > 1",
        "--out",
        str(tmp_path),
    )
    assert len(load(tmp_path / "small" / "v1" / "train.h5")) == 9
    assert done_json("sql", "SELECT count(*) AS n FROM structures") == [{"n": 9}]
    assert done_json("status")["labels"] == 9


def test_one_export_of_a_name_at_a_time(bounced: Database, through: str) -> None:
    """A lock of the session would stay with PgBouncer's connection, and be anybody's."""
    setup.prepare(bounced)
    with export_lock(bounced, "a"), export_lock(bounced, "b"):
        for _ in range(3):  # whichever connection it gets
            with pytest.raises(ExportError, match="by another process"), export_lock(bounced, "a"):
                pass
    with export_lock(bounced, "a"):
        pass
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert execute(through, locks) == [(0,)]


def test_a_reader_leaves_nothing_behind(bounced: Database) -> None:
    setup.prepare(bounced)
    for _ in range(2):
        with pytest.raises(QueryError, match="longer than"):
            reader.query(bounced, "SELECT pg_sleep(20)", timeout=0.2)
        found = reader.query(
            bounced,
            "SELECT current_setting('mlffdb.statement', true) AS before, current_user AS role",
        )
        assert found.rows[0][1] == reader.role_name(bounced)


def test_queues_of_many_clients_share_three_connections(bounced: Database) -> None:
    """More clients than connections to the server claim and renew; each task goes to one."""
    setup.prepare(bounced)
    add_molecules(bounced, 24)
    approve_all(bounced)
    teacher = add_teacher(bounced)
    with bounced.begin() as connection:
        labels.enqueue(connection, teacher)
    clients = [Database(bounced.settings) for _ in range(6)]
    keys = []
    for client in clients:
        queue = Queue(LABEL_TASKS, teacher, uuid4())
        with client.begin() as connection:
            claims = queue.claim(connection, 4)
        with client.begin() as connection:
            assert queue.renew(connection, claims) == {claim.key for claim in claims}
        keys += [claim.key for claim in claims]
    assert len(set(keys)) == len(keys) == 24
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert value(bounced, ours) <= 3
    for client in clients:
        client.close()


def test_limits_reach_the_connections_behind_it(bounced: Database) -> None:
    setup.prepare(bounced)
    with closing(psycopg2.connect(**libpq(bounced.url))) as fresh, fresh.cursor() as cursor:
        cursor.execute("SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d"
                       " ON d.oid = s.setdatabase WHERE datname = current_database()")  # fmt: skip
        assert any("lock_timeout=5min" in row[0] for row in cursor.fetchall())
