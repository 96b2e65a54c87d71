"""Labelling by real processes and a real teacher (GFN2-xTB), through kills and stops."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from sqlalchemy import text

from mlffdb.store import runs, structures
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from mlffdb.store.records import decode, decode_forces
from mlffdb.structures import Candidate, Origin, Structure
from mlffdb_workers import campaign
from tests.helpers import add_molecules, statuses

pytest.importorskip("tblite", reason="needs the extra xtb")

TEACHER = "gfn2-xtb"


def label(db: Database, **options: object) -> campaign.LabelReport:
    return campaign.label(db, TEACHER, **options)  # type: ignore[arg-type]


def count(db: Database, query: str) -> int:
    with db.begin() as connection:
        return int(connection.scalar(text(query)) or 0)


def assert_each_labelled_once(db: Database, n: int) -> None:
    assert count(db, "SELECT count(*) FROM label") == n
    assert count(db, "SELECT count(DISTINCT structure_id) FROM label") == n
    assert count(db, "SELECT count(*) FROM label_task WHERE status = 'done'") == n
    assert count(db, "SELECT count(*) FROM label_task WHERE status <> 'done'") == 0


def test_labels_are_the_teachers_own_numbers(db: Database) -> None:
    from tblite.interface import Calculator

    ids = add_molecules(db, 24)
    report = label(db, workers=2)
    assert (report.enqueued, report.totals.done, report.progress.done) == (24, 24, 24)
    assert_each_labelled_once(db, 24)
    with db.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT l.energy, l.forces, l.stress, s.numbers, s.positions, s.cell, s.pbc,"
                " s.charge, s.multiplicity FROM label l JOIN structure s USING (structure_id)"
            )
        ).all()
    assert len(rows) == len(ids)
    hartree, bohr = 27.211386245988, 0.529177210903
    for energy, forces, stress, *row in rows:
        structure = decode(row)
        direct = Calculator("GFN2-xTB", structure.numbers, structure.positions / bohr)
        direct.set("verbosity", 0)
        result = direct.singlepoint()
        assert stress is None
        assert energy == pytest.approx(result.get("energy") * hartree, abs=1e-6 * structure.n_atoms)
        np.testing.assert_allclose(
            decode_forces(forces, structure.n_atoms),
            -np.asarray(result.get("gradient")) * hartree / bohr,
            atol=1e-5,
        )


def test_a_worker_begins_with_the_budget_that_the_last_one_ended_with(db: Database) -> None:
    """That of the same teacher on the same device and host, from the database."""
    add_molecules(db, 6)
    label(db, workers=1)
    with db.begin() as connection:
        connection.execute(text("UPDATE worker SET budget = 2.5"))
    add_molecules(db, 24, seed=1)
    label(db, workers=1)
    with db.begin() as connection:
        budgets = connection.scalars(text("SELECT budget FROM worker ORDER BY started_at")).all()
        alone = connection.scalars(
            text("SELECT DISTINCT batch_size FROM label WHERE worker_id ="
                 " (SELECT worker_id FROM worker ORDER BY started_at DESC LIMIT 1)")
        ).all()  # fmt: skip
    assert budgets == [2.5, 2.5]
    assert alone == [1]


def test_labelling_again_changes_nothing(db: Database) -> None:
    add_molecules(db, 12)
    label(db)
    before = count(db, "SELECT count(*) + extract(epoch FROM max(created_at)) FROM label")
    again = label(db)
    assert (again.enqueued, again.totals.done) == (0, 0)
    after = count(db, "SELECT count(*) + extract(epoch FROM max(created_at)) FROM label")
    assert before == after
    add_molecules(db, 18)
    assert label(db).totals.done == 6


def test_what_the_checks_reject_never_reaches_the_teacher(db: Database) -> None:
    benzene = molecule("C6H6")
    skeleton = Structure.from_atoms(benzene[benzene.numbers == 6])
    radical = Structure.from_atoms(molecule("CH3"), multiplicity=2)
    unknown = Structure([6, 1, 1, 1], molecule("CH3").positions)
    run = runs.start(db, "import")
    with db.begin() as connection:
        offered = [Candidate(s, Origin("file", "import", index=i), "organic")
                   for i, s in enumerate((skeleton, radical, unknown))]  # fmt: skip
        added = structures.add(connection, run.run_id, offered)
    report = label(db)
    assert report.rejected_before == 2
    with db.begin() as connection:
        rows = connection.execute(text("SELECT structure_id, error_code FROM label_task"))
        tasks = {row[0]: row[1] for row in rows}
    # the radical is a good structure that this teacher refuses, with the reason
    assert list(tasks) == [added.ids[1]]
    assert tasks[added.ids[1]] == "multiplicity"
    assert "singlets only" in report.failures[0][2]


def add_benzene_dimers(db: Database, n: int) -> None:
    """Add pairs of stacked benzenes: 24 atoms, some 30 ms each."""
    rng = np.random.default_rng(1)
    pair = molecule("C6H6")
    pair += molecule("C6H6")
    pair.positions[12:, 2] += 3.9
    run = runs.start(db, "import")
    with db.begin() as connection:
        moved = [pair.positions + rng.normal(0, 0.02, pair.positions.shape) for _ in range(n)]
        offered = [Candidate(Structure(pair.numbers, positions), Origin("test", "rattle", index=i),
                             "organic") for i, positions in enumerate(moved)]  # fmt: skip
        structures.add(connection, run.run_id, offered)


def test_sigkill_at_random_moments_loses_nothing(db: Database) -> None:
    """500 structures; workers are killed at random moments until all are done."""
    add_benzene_dimers(db, 500)
    rng = random.Random(20261123)
    kills: list[int] = []
    done = threading.Event()

    def kill() -> None:
        own = Database(db.settings)
        while not done.wait(rng.uniform(0.3, 1.2)):
            with own.begin() as connection:
                alive = connection.execute(
                    text("SELECT pid FROM worker WHERE stopped_at IS NULL ORDER BY started_at DESC")
                ).scalars().all()  # fmt: skip
                labelled = connection.scalar(text("SELECT count(*) FROM label"))
            for pid in [p for p in alive if p not in kills][:1]:
                if labelled < 400:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        kills.append(pid)
        own.close()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        report = label(db, workers=2, lease=5.0)
    finally:
        done.set()
        killer.join()
    print(f"{len(kills)} kills, {report.totals.restarts} restarts")
    assert len(kills) >= 3
    assert report.totals.restarts >= 3
    assert_each_labelled_once(db, 500)


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mlffdb_cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize("to_all", [True, False])
def test_a_signal_stops_cleanly_and_gives_back(db: Database, to_all: bool) -> None:
    """Also one that goes to all processes at once, as a batch system or systemd sends it."""
    add_molecules(db, 1500)
    with command("label", "--teacher", TEACHER, "--workers", "1") as process:
        wait_until(lambda: count(db, "SELECT count(*) FROM label") > 0)
        if to_all:
            os.kill(count(db, "SELECT pid FROM worker"), signal.SIGTERM)
        process.send_signal(signal.SIGTERM if to_all else signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert "run the same command again" in err
    found = count(db, "SELECT count(*) FROM label")
    assert 0 < found < 1500
    assert count(db, "SELECT count(*) FROM label_task WHERE status = 'running'") == 0
    assert count(db, "SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 0
    assert count(db, "SELECT max(attempts) FROM label_task WHERE status = 'pending'") == 0
    assert count(db, "SELECT count(*) FROM run WHERE status = 'interrupted'") == 1


def test_workers_stop_when_their_supervisor_is_killed(db: Database) -> None:
    add_molecules(db, 600)
    with command("label", "--teacher", TEACHER, "--workers", "1") as process:
        wait_until(lambda: count(db, "SELECT count(*) FROM label") > 0)
        process.kill()
        process.communicate()
        wait_until(lambda: count(db, "SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 0)
    assert count(db, "SELECT count(*) FROM label_task WHERE status = 'running'") == 0


def test_a_restart_of_the_database_is_survived(open_folder: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from mlffdb.config import load_settings
    from mlffdb.pipeline import setup

    monkeypatch.setenv("MLFFDB_DATA_DIR", str(open_folder / "db"))
    server = EmbeddedServer(open_folder / "db")
    setup.init()
    with Database(load_settings()) as own:
        add_molecules(own, 400)
        restarted = threading.Event()

        def restart() -> None:
            wait_until(lambda: count(own, "SELECT count(*) FROM label") > 20)
            server.stop()
            time.sleep(0.5)
            server.start()
            restarted.set()

        thread = threading.Thread(target=restart)
        with command("label", "--teacher", TEACHER, "--workers", "1") as process:
            thread.start()
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        thread.join()
        assert restarted.is_set()
        assert_each_labelled_once(own, 400)


def test_a_worker_that_dies_while_the_database_is_away_is_started_again(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlffdb.config import load_settings
    from mlffdb.pipeline import setup

    server = EmbeddedServer(open_folder / "db")
    server.start()
    monkeypatch.setenv("MLFFDB_DATABASE_URL", server.url())  # so that no worker starts it
    setup.init()
    with Database(load_settings()) as own:
        add_molecules(own, 400)

        def kill_while_away() -> None:
            with Database(own.settings) as other:
                wait_until(lambda: count(other, "SELECT count(*) FROM label") > 20)
                pid = count(other, "SELECT pid FROM worker WHERE stopped_at IS NULL")
            server.stop()
            os.kill(pid, signal.SIGKILL)
            time.sleep(3)
            server.start()

        thread = threading.Thread(target=kill_while_away)
        thread.start()
        report = label(own, lease=4.0)
        thread.join()
        assert report.totals.restarts > 0
        assert_each_labelled_once(own, 400)


def test_follow_labels_what_comes_later(db: Database) -> None:
    add_molecules(db, 5)
    with command("label", "--teacher", TEACHER, "--workers", "1", "--follow") as process:
        wait_until(lambda: count(db, "SELECT count(*) FROM label") == 5)
        add_molecules(db, 15)
        wait_until(lambda: count(db, "SELECT count(*) FROM label") == 15)
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_where_and_limit_choose(db: Database) -> None:
    add_molecules(db, 36)
    assert label(db, where="formula = 'H2O'").enqueued == 3
    assert label(db, limit=4).enqueued == 4
    assert count(db, "SELECT count(*) FROM label") == 7


@pytest.mark.parametrize("arguments", ["--gpu 7 --teacher gfn2-xtb", "--gpus all --teacher poison"])
def test_a_gpu_that_is_not_there_ends_with_2(db: Database, poison: Path, arguments: str) -> None:
    if shutil.which("nvidia-smi") is not None and "all" in arguments:
        pytest.skip("there is a GPU")
    add_molecules(db, 1)
    with command("label", *arguments.split()) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert len(err.strip().splitlines()) == 1
    assert count(db, "SELECT count(*) FROM label") == 0


POISON = """
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo
from mlffdb.teachers.base import Capabilities, Identity, Prediction, Teacher
import numpy as np, os

class Poison(Teacher):
    name, device, budget = "poison", "cpu", 1e9
    capabilities = Capabilities(frozenset(range(1, 87)), frozenset({0}), True, True, False, True,
                                True, False, None, "atoms", 1e-6, 1e-5, "MIT")
    identity = Identity("poison", {}, None, "float64")
    def compute(self, batch):
        if any(9 in s.numbers for s in batch):
            os.kill(os.getpid(), 9)
        return [Prediction(-1.0 * s.n_atoms, np.zeros((s.n_atoms, 3)), multiplicity=1)
                for s in batch]

def entry():
    return Entry(TeacherInfo("poison", "kills its process on fluorine", "MIT"),
                 lambda settings: Readiness(True), lambda device, settings: Poison())
"""


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plug-in teacher whose process dies on fluorine; its source may be changed."""
    source = tmp_path / "poison_teacher.py"
    source.write_text(POISON)
    info = tmp_path / "poison-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mlffdb.teachers]\npoison = poison_teacher:entry\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return source


def test_a_teacher_that_fails_at_everything_leaves_the_queue_as_it_was(
    db: Database, poison: Path
) -> None:
    """The command ends with 2 and says why; no task is used up."""
    poison.write_text(POISON.replace("if any(9 in s.numbers for s in batch):", "if True:").replace(
        "os.kill(os.getpid(), 9)", "raise RuntimeError('CUDA error: device lost')"))  # fmt: skip
    add_molecules(db, 60)
    with command("label", "--teacher", "poison", "--max-faults", "30") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "tasks in a row failed and none succeeded" in err
    assert "device_fault: RuntimeError: CUDA error: device lost" in err
    assert "Traceback" not in err
    untouched = "status = 'pending' AND attempts = 0 AND error_code IS NULL"
    assert count(db, f"SELECT count(*) FROM label_task WHERE {untouched}") == 60


def test_a_structure_that_kills_its_workers_ends_as_failed(db: Database, poison: Path) -> None:
    """Its neighbours are labelled all the same."""
    add_molecules(db, 24)
    report = campaign.label(db, "poison", workers=1, lease=30.0)
    assert statuses(db, report.teacher_id) == {"done": 22, "failed": 2}
    assert {code for code, *_ in report.failures} == {"worker_lost"}
