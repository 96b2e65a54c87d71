"""The loop of a worker on a real database, with work that fails in all ways."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, text

from mlffdb.store import labels, runs, workers
from mlffdb.store.database import Database
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import LABEL_TASKS, MAX_ATTEMPTS, Claim, Queue
from mlffdb.store.records import decode
from mlffdb_workers.job import Counters, Flaw
from mlffdb_workers.loop import WorkLoop
from tests.helpers import add_molecules, add_teacher, approve_all, statuses


@pytest.fixture
def teacher(db: Database) -> int:
    """A teacher with 12 pending tasks."""
    add_molecules(db, 12)
    approve_all(db)
    teacher_id = add_teacher(db)
    with db.begin() as connection:
        labels.enqueue(connection, teacher_id)
    return teacher_id


class Job:
    """Labels of zero forces; *energy* gives what stands for the energy of a claim."""

    first_batch = 12
    together = 1
    one_statement = True

    def __init__(self, energy: Callable[[Claim], Any]) -> None:
        self.energy = energy
        self.queue: Queue

    def prepare(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        return claims

    def compute(self, prepared: Sequence[Claim]) -> Sequence[Any]:
        return [self.energy(claim) for claim in prepared]

    def flaw(self, outcome: Any) -> Flaw | None:
        return None

    def write(
        self, connection: Connection, claims: Sequence[Claim], outcomes: Sequence[Any]
    ) -> Counters:
        rows = []
        for claim, (energy, details) in zip(claims, outcomes, strict=True):
            n_atoms = decode(claim.row).n_atoms
            rows.append(LabelRow(claim, n_atoms, energy, np.zeros((n_atoms, 3)), None, None, None,
                                 0, 1, 1, 0.1, details))  # fmt: skip
        done = labels.complete(connection, self.queue, rows, run_id=None, device="cpu")
        return Counters(len(done), 0, len(claims) - len(done))

    def budget(self) -> float | None:
        return None


def work(db: Database, teacher: int, job: Job) -> Counters:
    worker = uuid4()
    job.queue = Queue(LABEL_TASKS, teacher, worker)
    with db.begin() as connection:
        workers.register(connection, worker, kind="label", device="cpu")
    return WorkLoop(db, job, worker).run()


def test_a_value_that_cannot_be_stored_fails_its_own_task_only(db: Database, teacher: int) -> None:
    energies = iter([(-1.0, {"a": float("nan")}), ("no number", {}), *[(-1.0, {})] * 10])
    counters = work(db, teacher, Job(lambda _: next(energies)))
    assert (counters.done, counters.failed, counters.late) == (10, 2, 0)
    assert statuses(db, teacher) == {"done": 10, "failed": 2}
    with db.begin() as connection:
        codes = connection.execute(text("SELECT DISTINCT error_code FROM label_task"))
        assert {row[0] for row in codes} == {None, "not_storable"}


def test_numbers_of_numpy_are_stored(db: Database, teacher: int) -> None:
    assert work(db, teacher, Job(lambda _: (np.float32(-1.5), {}))).done == 12
    with db.begin() as connection:
        assert connection.scalar(text("SELECT DISTINCT energy FROM label")) == -1.5


def test_a_computation_that_raises_counts_as_an_attempt(db: Database, teacher: int) -> None:
    def broken(_: Claim) -> Any:
        raise RuntimeError("out\x00side \udcff of all care")

    def die() -> set[tuple[int, str]]:
        with pytest.raises(RuntimeError, match="of all care"):
            work(db, teacher, Job(broken))
        with db.begin() as connection:
            connection.execute(text("UPDATE label_task SET not_before = now()"))
            rows = connection.execute(text("SELECT attempts, error FROM label_task"))
            return {(row[0], row[1]) for row in rows}

    message = "RuntimeError: outside ? of all care"
    assert die() == {(1, message)}
    assert die() == {(2, message)}
    assert die() == {(2, message), (3, message)}  # from now on alone
    with db.begin() as connection:
        connection.execute(
            text("DELETE FROM label_task WHERE attempts < 3"),
        )
    for attempt in range(4, MAX_ATTEMPTS + 1):
        assert die() == {(attempt, message)}
    assert statuses(db, teacher) == {"failed": 1}


def test_a_deadlock_is_tried_again(db: Database, teacher: int) -> None:
    class Unlucky(Job):
        one_statement = False
        lost = 0

        def write(self, connection: Connection, *rest: Any) -> Counters:
            counters = super().write(connection, *rest)
            if self.lost < 2:
                self.lost += 1
                connection.exec_driver_sql("DO $$ BEGIN RAISE 'deadlock' USING ERRCODE = '40P01'; "
                                           "END $$")  # fmt: skip
            return counters

    job = Unlucky(lambda _: (-1.0, {}))
    assert work(db, teacher, job).done == 12
    assert job.lost == 2


@pytest.mark.parametrize("how", ["signal", "end of input"])
def test_a_worker_that_waits_for_its_start_stops(db: Database, how: str) -> None:
    pytest.importorskip("tblite", reason="needs the extra xtb")
    run = runs.start(db, "label")
    arguments = ["label", "--teacher", "gfn2-xtb", "--device", "cpu", "--run-id", str(run.run_id)]
    with subprocess.Popen(
        [sys.executable, "-m", "mlffdb_workers", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert "ready" in process.stdout.readline()
        if how == "signal":
            process.terminate()
        else:
            process.stdin.close()
        try:
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
