"""Several workers as one: those that cannot load, a database that is away, stops at any moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlffdb.config import load_settings
from mlffdb.pipeline import setup
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from mlffdb_cli.commands import label, sample
from mlffdb_workers import campaign, supervisor
from mlffdb_workers.gpus import Gpu
from mlffdb_workers.supervisor import Totals, WorkerFailedError
from tests.cli.running import column, process, started, value, wait_until
from tests.helpers import add_molecules, statuses

TEACHER = """
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo
from mlffdb.teachers.base import Capabilities, Identity, Prediction, Teacher
import numpy as np, os, time

class Slow(Teacher):
    name, device, budget = "slow", "cpu", 1e9
    capabilities = Capabilities(frozenset(range(1, 87)), frozenset({0}), True, True, False, True,
                                True, False, None, "atoms", 1e-6, 1e-5, "MIT")
    identity = Identity("slow", {}, None, "float64")
    def compute(self, batch):
        time.sleep(0.05 * len(batch))
        return [Prediction(-1.0 * s.n_atoms, np.zeros((s.n_atoms, 3)), multiplicity=1)
                for s in batch]

def load(device, settings):
    BODY
    return Slow()

def entry():
    return Entry(TeacherInfo("slow", "takes its time", "MIT"),
                 lambda settings: Readiness(True), load)
"""

BROKEN = 'if os.environ.get("CUDA_VISIBLE_DEVICES") == "GPU-1": os._exit(3)'
SLOW_TO_LOAD = "time.sleep(60)"
TWO_GPUS = (Gpu("GPU-0", "cuda:0"), Gpu("GPU-1", "cuda:1"))


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a teacher `slow`, whose loading does what is given besides."""

    def install(body: str) -> None:
        (tmp_path / "slow_teacher.py").write_text(TEACHER.replace("BODY", body))
        info = tmp_path / "slow-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[mlffdb.teachers]\nslow = slow_teacher:entry\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def test_a_worker_that_can_never_load_is_given_up_and_the_others_go_on(
    db: Database, plug_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(BROKEN)
    monkeypatch.setattr(supervisor, "MAX_DEATHS", 2)
    add_molecules(db, 150)
    report = campaign.label(db, "slow", device="cuda:0", gpus=TWO_GPUS)
    assert statuses(db, report.teacher_id) == {"done": 150}
    (line,) = report.totals.gave_up
    assert line == (
        "3 times in a row it ended before it was ready, at last with status 3; its output is above"
    )
    assert report.totals.restarts == 2


def test_where_no_worker_can_load_the_campaign_ends(
    db: Database, plug_in: Callable[[str], None]
) -> None:
    plug_in("os._exit(3)")
    add_molecules(db, 1)
    with pytest.raises(WorkerFailedError, match="status 3 before it was ready"):
        campaign.label(db, "slow", workers=2)
    assert column(db, "SELECT status FROM run WHERE action = 'label'") == ["failed"]


def test_a_worker_that_finds_the_database_away_does_not_take_the_others_along(
    open_folder: Path, plug_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in("pass")
    monkeypatch.setattr(supervisor, "MAX_DEATHS", 1)
    server = EmbeddedServer(open_folder / "db")
    server.start()
    monkeypatch.setenv("MLFFDB_DATABASE_URL", server.url())  # so that no worker starts it
    setup.init()
    with Database(load_settings()) as own:
        add_molecules(own, 120)

        def kill_one_while_away() -> None:
            with Database(own.settings) as other:
                wait_until(lambda: value(other, "SELECT count(*) FROM label") > 20)
                pid = value(other, "SELECT min(pid) FROM worker WHERE stopped_at IS NULL")
            server.stop()
            os.kill(pid, signal.SIGKILL)
            time.sleep(4)
            server.start()

        thread = threading.Thread(target=kill_one_while_away)
        thread.start()
        report = campaign.label(own, "slow", workers=2, lease=8.0)
        thread.join()
        assert report.totals.restarts > 1  # at first it found no database
        assert statuses(own, report.teacher_id) == {"done": 120}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_teacher_loads_ends_at_once_and_well(
    db: Database, plug_in: Callable[[str], None], number: signal.Signals
) -> None:
    plug_in(SLOW_TO_LOAD)
    add_molecules(db, 3)
    with started("label", "--teacher", "slow") as running:
        wait_until(lambda: value(db, "SELECT count(*) FROM run WHERE action = 'validate'"))
        time.sleep(0.5 if number == signal.SIGINT else 0)
        asked = time.monotonic()
        running.send_signal(number)
        _, err = running.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert running.returncode == 0, err
    assert err.splitlines() == ["Interrupted; run the same command again to continue."]
    assert "interrupted" in column(db, "SELECT status FROM run WHERE action = 'label'")
    assert value(db, "SELECT count(*) FROM run WHERE status = 'running'") == 0
    assert value(db, "SELECT count(*) FROM worker") == 0


def test_a_stop_says_what_is_waited_for(db: Database, plug_in: Callable[[str], None]) -> None:
    plug_in("pass")
    add_molecules(db, 400)
    with started("label", "--teacher", "slow", "--grace", "7") as running:
        wait_until(lambda: value(db, "SELECT count(*) FROM label"))
        running.terminate()
        _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert err.splitlines() == [
        "Stopping: the batch at hand is finished, or given back after 7 s; "
        "Ctrl-C again ends it at once.",
        "Interrupted; run the same command again to continue.",
    ]


def test_failed_structures_are_told_once_at_the_end(
    db: Database, plug_in: Callable[[str], None]
) -> None:
    """Not by each worker besides, in the middle of the progress."""
    plug_in("Slow.compute = lambda self, batch: [1 / 0]")
    add_molecules(db, 2)
    ended = process("label", "--teacher", "slow", "--max-faults", "0")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "error: slow could not label all" in ended.stderr


def test_a_worker_that_stopped_for_good_is_told_of_and_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    totals = Totals(gave_up=["the disk is full"])
    sampled = campaign.SampleReport(1, 0, None, [], totals)  # type: ignore[arg-type]
    labelled = campaign.LabelReport(1, "slow", 1, 0, 0, None, [], totals)  # type: ignore[arg-type]
    assert sample.complain(sampled)
    assert label.complain([labelled])
    expected = "error: a worker stopped, the others went on: the disk is full"
    assert capsys.readouterr().err.splitlines() == [expected, expected]
