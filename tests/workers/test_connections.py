"""How many connections a worker holds, and that it needs nothing of a session."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import text

from mlffdb.store import labels, runs
from mlffdb.store.database import Database
from tests.cli.running import wait_until
from tests.conftest import execute
from tests.helpers import add_molecules, approve_all

pytest.importorskip("tblite", reason="needs the extra xtb")

COUNT = 150
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid()"
)


def test_a_worker_holds_two_connections_at_most(db: Database) -> None:
    add_molecules(db, COUNT)
    approve_all(db)
    run = runs.start(db, "label", name="gfn2-xtb")
    url = db.url.render_as_string(hide_password=False)
    worker = subprocess.Popen(
        [sys.executable, "-m", "mlffdb_workers", "label", "--teacher", "gfn2-xtb",
         "--device", "cpu", "--run-id", str(run.run_id)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert worker.stdin is not None and worker.stdout is not None
        assert '"ready"' in worker.stdout.readline()
        with db.begin() as connection:
            teacher = connection.execute(text("SELECT teacher_id FROM teacher")).scalar_one()
            labels.enqueue(connection, teacher)
        db.close()
        worker.stdin.write("go\n")
        worker.stdin.flush()
        seen = set()

        def labelled() -> bool:
            seen.add(execute(url, OTHERS)[0][0])
            return execute(url, "SELECT count(*) FROM label")[0][0] == COUNT

        wait_until(labelled)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.communicate()
    assert 1 <= max(seen) <= 2, seen
    runs.finish(db, run, "done", None)
