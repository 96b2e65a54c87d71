"""`mlffdb status`, once and watching: on terminals wide and narrow, in pipes, and as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from uuid import uuid4

import pytest
from sqlalchemy import text

from mlffdb.store import labels, workers
from mlffdb.store.database import Database
from mlffdb_cli.standing_tables import duration, rate
from tests.cli.running import _as_seen, done, started
from tests.helpers import add_molecules, add_teacher, approve_all


@pytest.fixture
def campaign(db: Database) -> Database:
    """A database with 12 open tasks, one of them failed and one stuck, and a worker."""
    add_molecules(db, 12)
    approve_all(db)
    teacher_id = add_teacher(db)
    with db.begin() as connection:
        labels.enqueue(connection, teacher_id)
        workers.register(connection, uuid4(), kind="label", device="cuda:0", teacher_id=teacher_id)
        connection.execute(
            text("""
UPDATE label_task SET status = 'failed', error_code = 'scf_failed', error = 'no [bold]convergence'
WHERE structure_id = (SELECT min(structure_id::text)::uuid FROM label_task)""")
        )
        connection.execute(
            text("""
UPDATE label_task SET status = 'running', attempts = 4, lease_expires_at = now() - interval '1 min',
    worker_id = (SELECT worker_id FROM worker)
WHERE structure_id = (SELECT max(structure_id::text)::uuid FROM label_task)""")
        )
    return db


def watched(*arguments: str, columns: int) -> str:
    """Watch in a terminal until something was shown, then press Ctrl-C; return all it wrote."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "mlffdb_cli.main", "status", "--watch", *arguments]
    running = subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env={**clean, "TERM": "xterm"}
    )
    os.close(its)
    written, deadline, asked = b"", time.monotonic() + 60, False
    with suppress(OSError):  # the end of a terminal
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                written += os.read(ours, 65536)
            if not asked and b"Next: " in written:
                running.send_signal(signal.SIGINT)
                asked = True
    os.close(ours)
    assert running.wait(10) == 0, written.decode()
    return written.decode()


@pytest.mark.parametrize("columns", [50, 140])
def test_a_terminal_of_any_width_shows_all_that_goes_on(campaign: Database, columns: int) -> None:
    lines = _as_seen(watched("--interval", "0.2", columns=columns))
    assert max(map(len, lines)) <= columns
    seen = "\n".join(lines)
    assert "Labelling\n" in seen
    assert "Failures of labelling\n" in seen
    assert "Workers: 1 alive" in seen
    assert "[bold]" in seen, "messages are shown as they are"
    words = " ".join(seen.split())
    assert "Stuck: 1 tasks whose lease is over, or that are tried again and again" in words
    assert "cuda:0" in seen
    assert "Next: nothing, while workers label" in seen


@pytest.mark.parametrize("as_json", [True, False])
def test_in_a_pipe_there_are_lines(campaign: Database, as_json: bool) -> None:
    options = ("--json",) if as_json else ()
    with started("status", "--watch", "--interval", "0.2", *options) as command:
        assert command.stdout is not None
        first, second = command.stdout.readline(), command.stdout.readline()
        command.send_signal(signal.SIGINT)
        assert command.wait(10) == 0
    if as_json:
        earlier, later = json.loads(first), json.loads(second)
        assert earlier["time"] < later["time"]
        assert later["labelling"][0]["pending"] == 10
        assert later["failures"][0]["error_code"] == "scf_failed"
        assert later["stuck"][0]["attempts"] == 4
        assert later["workers"][0]["stale"] is False
        return
    assert "test-teacher: 0 done, 10 pending, 1 running, 1 failed; –, left: –" in first
    assert "1 workers, 0 of them stale; 1 tasks stuck" in second
    assert "\x1b" not in first + second


def test_a_database_that_is_away_is_waited_for(campaign: Database) -> None:
    name = campaign.url.database
    with campaign.begin() as connection:
        if connection.scalar(text("SELECT current_setting('is_superuser') = 'on'")):
            pytest.skip("a superuser is not held by the limit that stands for an outage")
    with started("status", "--watch", "--interval", "0.2") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.readline()
        with campaign.begin() as connection:
            connection.execute(text(f"ALTER DATABASE {name} CONNECTION LIMIT 0"))
            connection.execute(text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"))  # fmt: skip
        assert "; trying again" in command.stderr.readline()
        with campaign.begin() as connection:
            connection.execute(text(f"ALTER DATABASE {name} CONNECTION LIMIT -1"))
        deadline = time.monotonic() + 30
        while "test-teacher" not in command.stdout.readline():
            assert time.monotonic() < deadline
        command.send_signal(signal.SIGINT)
        assert command.wait(10) == 0


def test_status_says_the_next_step(campaign: Database) -> None:
    assert done("status").splitlines()[-1] == "Next: mlffdb status --watch, while workers label"
    with campaign.begin() as connection:
        connection.execute(text("UPDATE worker SET stopped_at = now()"))
    last = done("status").splitlines()[-1]
    assert last == "Next: mlffdb label --teacher test-teacher, which continues"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7_500, "2 h 5 min"),
     (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_rates_are_short() -> None:
    shown = [rate(value) for value in (0.0, 0.2, 4.56, 12_345.6)]
    assert shown == ["–", "12/min", "4.6/s", "12,346/s"]
