"""What `Watcher` sees of real tasks, labels and workers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import text

from mlffdb.pipeline import watching
from mlffdb.pipeline.asking import status
from mlffdb.pipeline.watching import Watch, Watcher, next_step
from mlffdb.store import labels, runs, sample_tasks, watch, workers
from mlffdb.store.database import Database
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import LABEL_TASKS, Claim, Queue, TaskFailure
from mlffdb.store.records import decode
from tests.helpers import add_molecules, add_teacher, approve_all, statuses


@pytest.fixture
def teacher(db: Database) -> int:
    """A teacher with 12 pending tasks of 2 to 14 atoms."""
    add_molecules(db, 12)
    approve_all(db)
    teacher_id = add_teacher(db)
    with db.begin() as connection:
        labels.enqueue(connection, teacher_id)
    return teacher_id


class Worker:
    """Claims and writes as worker processes do, one step at a time."""

    def __init__(self, db: Database, teacher_id: int) -> None:
        self.db = db
        self.queue = Queue(LABEL_TASKS, teacher_id, uuid4())
        with db.begin() as connection:
            workers.register(
                connection, self.queue.worker_id, kind="label", device="cpu", teacher_id=teacher_id
            )

    def claim(self, count: int) -> list[Claim]:
        with self.db.begin() as connection:
            return self.queue.claim(connection, count)

    def complete(self, claims: list[Claim]) -> None:
        rows = []
        for claim in claims:
            n_atoms = decode(claim.row).n_atoms
            rows.append(LabelRow(claim, n_atoms, -1.0, np.zeros((n_atoms, 3)), None, None, None,
                                 0, 1, 1, 0.1, {}))  # fmt: skip
        with self.db.begin() as connection:
            labels.complete(connection, self.queue, rows, run_id=None, device="cpu")

    def fail(self, claims: list[Claim], code: str) -> None:
        failures = [TaskFailure(claim, code, f"{code} of a task", retry=False) for claim in claims]
        with self.db.begin() as connection:
            self.queue.fail(connection, failures)

    def beat(self, done: int, compute_seconds: float) -> None:
        with self.db.begin() as connection:
            workers.beat(connection, self.queue.worker_id, done=done, failed=0, late=2,
                         compute_seconds=compute_seconds, budget=64.0)  # fmt: skip


def change(db: Database, statement: str, **values: Any) -> None:
    with db.begin() as connection:
        connection.execute(text(statement), values)


def cost(db: Database, *chosen: str) -> float:
    with db.begin() as connection:
        found = connection.scalar(
            text("SELECT sum(cost) FROM label_task WHERE status = ANY(:chosen)"),
            {"chosen": list(chosen)},
        )
    return float(found or 0)


def age_worker(db: Database, seconds: float) -> None:
    change(db, "UPDATE worker SET started_at = now() - make_interval(secs => :s)", s=seconds)


def test_before_any_worker_there_is_no_rate_and_no_end(db: Database, teacher: int) -> None:
    (found,) = Watcher(db).look().labelling
    assert (found.pending, found.running, found.done, found.open, found.tasks) == (12, 0, 0, 12, 12)
    assert found.remaining_cost == pytest.approx(cost(db, "pending"))
    assert (found.per_second, found.seconds_left) == (0.0, None)
    step = next_step(Watcher(db).look())
    assert step == "mlffdb label --teacher test-teacher, which continues"


def test_counts_are_kept_up_to_date_without_counting_again(
    db: Database, teacher: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "COUNT_SHARE", 1e9)  # this watcher counts once
    watcher = Watcher(db)
    first = watcher.look()
    worker = Worker(db, teacher)
    worker.complete(worker.claim(5))
    held = worker.claim(3)
    second = watcher.look()
    fresh = Watcher(db).look()
    assert first.counted_at == second.counted_at < fresh.counted_at
    (old,), (new,) = second.labelling, fresh.labelling
    assert (old.pending, old.running, old.done) == (new.pending, new.running, new.done) == (4, 3, 5)
    assert old.remaining_cost == pytest.approx(cost(db, "pending", "running"))
    worker.fail(held, "scf_failed")  # only counting finds out
    assert watcher.look().labelling[0].failed == 0
    assert Watcher(db).look().labelling[0].failed == 3


def test_time_left_goes_by_cost_and_not_by_count(
    db: Database, teacher: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(db, "UPDATE label_task SET priority = 0")  # small ones first
    worker = Worker(db, teacher)
    worker.complete(worker.claim(6))
    age_worker(db, 30)
    (found,) = Watcher(db).look().labelling
    assert found.per_second == pytest.approx(6 / 30, rel=0.05)
    by_cost = 30 * cost(db, "pending") / cost(db, "done")
    assert found.seconds_left == pytest.approx(by_cost, rel=0.05)
    assert by_cost > 2 * (6 / found.per_second)  # what the count would say
    monkeypatch.setattr(watch, "WINDOW_SECONDS", 1e-3)  # nothing came lately
    (later,) = Watcher(db).look().labelling
    assert (later.per_second, later.seconds_left) == (0.0, None)


def test_workers_have_rates_of_their_last_beats_and_stale_ones_are_marked(
    db: Database, teacher: int
) -> None:
    worker = Worker(db, teacher)
    age_worker(db, 20)
    worker.beat(done=10, compute_seconds=15.0)
    watcher = Watcher(db)
    (found,) = watcher.look().workers
    assert (found.kind, found.teacher, found.device) == ("label", "test-teacher", "cpu")
    assert (found.done, found.late, found.budget, found.stale) == (10, 2, 64.0, False)
    assert found.per_second == pytest.approx(0.5, rel=0.05)
    assert found.compute_share == pytest.approx(0.75, rel=0.05)
    assert next_step(watcher.look()) == "mlffdb status --watch, while workers label"
    # a minute later it does nothing: the rate is that of the last minute, not of its life
    for ago in (70, 5):
        change(db, "UPDATE worker SET heartbeat_at = now() + make_interval(secs => :s)", s=75 - ago)
        (idle,) = watcher.look().workers
    assert (idle.per_second, idle.compute_share) == (0.0, 0.0)
    change(db, "UPDATE worker SET heartbeat_at = now() - interval '40 s'")
    (stale,) = Watcher(db).look().workers
    assert stale.stale
    assert stale.silent_seconds == pytest.approx(40, abs=2)
    assert next_step(Watcher(db).look()) == "mlffdb label --teacher test-teacher, which continues"
    change(db, "UPDATE worker SET stopped_at = now()")
    assert Watcher(db).look().workers == []


def test_stuck_tasks_are_named_with_their_worker(db: Database, teacher: int) -> None:
    worker = Worker(db, teacher)
    overdue, again, _fine = worker.claim(3)
    change(db, "UPDATE label_task SET lease_expires_at = now() - interval '90 s'"
               " WHERE structure_id = :key", key=overdue.key)  # fmt: skip
    change(db, "UPDATE label_task SET attempts = 3, error_code = 'hung', error = 'took too long'"
               " WHERE structure_id = :key", key=again.key)  # fmt: skip
    first, second = Watcher(db).look().stuck
    assert (first.key, first.name, first.tasks) == (str(overdue.key), "test-teacher", 2)
    assert first.overdue_seconds == pytest.approx(90, abs=5)
    assert first.pid is not None
    assert (second.key, second.attempts, second.error_code) == (str(again.key), 3, "hung")
    assert second.overdue_seconds < 0


def test_failures_come_by_reason_with_an_example(db: Database, teacher: int) -> None:
    worker = Worker(db, teacher)
    claims = worker.claim(3)
    worker.fail(claims[:2], "scf_failed")
    worker.fail(claims[2:], "out_of_memory")
    first, second = Watcher(db).look().failures
    assert (first.name, first.error_code, first.tasks) == ("test-teacher", "scf_failed", 2)
    assert first.example == "scf_failed of a task"
    assert first.example_key in {str(claim.key) for claim in claims[:2]}
    assert (second.error_code, second.example_key) == ("out_of_memory", str(claims[2].key))


def test_paused_and_former_teachers_say_what_to_do(db: Database, teacher: int) -> None:
    change(db, "UPDATE teacher SET paused_at = now(), paused_why = 'new weights'")
    found = Watcher(db).look()
    assert found.labelling[0].paused_why == "new weights"
    assert next_step(found) == "mlffdb teachers resume test-teacher, which is paused"
    other = replace(found.labelling[0], teacher="zz", teacher_id=0, paused_at=None)
    both = replace(found, labelling=[*found.labelling, other])
    assert next_step(both) == "mlffdb label --teacher zz, which continues"
    change(db, "UPDATE teacher SET paused_at = NULL, created_at = now() - interval '1 day'")
    add_teacher(db, "test-teacher", untrained=True)  # another fingerprint of the same name
    found = Watcher(db).look()
    assert found.labelling[0].superseded
    assert "12 tasks wait for a former test-teacher" in str(next_step(found))


def test_sampling_is_watched_too(db: Database) -> None:
    run = runs.start(db, "sample", name="alcohols")
    with db.begin() as connection:
        tasks = [(i, {"block": "b", "payload": {}}, 2.0) for i in range(4)]
        sample_tasks.enqueue(connection, "f" * 64, run.run_id, tasks)
    change(db, "UPDATE sample_task SET status = 'done', inserted = 5 WHERE task_index < 2")
    change(db, "UPDATE sample_task SET status = 'failed', error_code = 'task_error', error = 'no'"
               " WHERE task_index = 3")  # fmt: skip
    worker = uuid4()
    with db.begin() as connection:
        workers.register(connection, worker, kind="sample", device="cpu", run_id=run.run_id)
    age_worker(db, 20)
    found = Watcher(db).look()
    (plan,) = found.sampling
    assert (plan.plan, plan.pending, plan.done, plan.failed) == ("alcohols", 1, 2, 1)
    assert (plan.structures, plan.remaining_cost) == (10, 2.0)
    assert plan.structures_per_second == pytest.approx(0.5, rel=0.05)
    assert plan.seconds_left == pytest.approx(10, rel=0.05)
    (failure,) = found.sampling_failures
    assert (failure.name, failure.example, failure.example_key) == ("alcohols", "no", "3")
    assert next_step(found) == "mlffdb status --watch, while workers sample"


def test_status_holds_all_that_is_watched(db: Database, teacher: int) -> None:
    found = status(db)
    assert set(Watch.__slots__) < set(found)
    assert found["structures"] == 12
    assert found["next"] == "mlffdb label --teacher test-teacher, which continues"
    assert statuses(db, teacher) == {"pending": 12}
