"""Tasks changed by an administrator: what leads where, and that no label and no fence is lost."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from mlffdb.errors import QueryError, TeacherError
from mlffdb.pipeline import tasks
from mlffdb.store import labels, runs, sample_tasks, workers
from mlffdb.store.database import Database
from mlffdb.store.queue import LABEL_TASKS, MAX_ATTEMPTS, SAMPLE_TASKS, Queue, TaskFailure
from mlffdb.store.tasks import Selection
from tests.helpers import add_molecules, add_teacher, approve_all, statuses
from tests.store.claiming import claim, complete

COUNT = 12


@pytest.fixture
def teacher(db: Database) -> int:
    """A teacher with COUNT pending tasks."""
    add_molecules(db, COUNT)
    approve_all(db)
    identity = add_teacher(db)
    with db.begin() as connection:
        labels.enqueue(connection, identity)
    return identity


def fail(db: Database, queue: Queue, claims: list, code: str = "scf") -> None:
    with db.begin() as connection:
        queue.fail(connection, [TaskFailure(c, code, "did not converge", False) for c in claims])


def labelled(db: Database) -> int:
    with db.begin() as connection:
        return connection.execute(text("SELECT count(*) FROM label")).scalar_one()


def test_retry_gives_failed_tasks_all_their_attempts_back(db: Database, teacher: int) -> None:
    queue, claims = claim(db, teacher, 5)
    fail(db, queue, claims[:2], "scf")
    fail(db, queue, claims[2:], "worker_error")
    found = tasks.change_tasks(db, "retry", Selection(where="error_code = 'scf'"))
    assert (found.changed, found.left) == (2, 0)
    assert statuses(db, teacher) == {"pending": COUNT - 3, "failed": 3}
    assert tasks.change_tasks(db, "retry", Selection(), limit=1).changed == 1
    add_teacher(db, "someone-else")
    assert tasks.change_tasks(db, "retry", Selection(name="someone-else")).changed == 0
    with db.begin() as connection:
        attempts = connection.execute(
            text("SELECT DISTINCT attempts FROM label_task WHERE status = 'pending'")
        ).scalars()
        assert list(attempts) == [0]
    queue, claims = claim(db, teacher, COUNT)
    assert len(claims) == COUNT - 2


def test_what_is_cancelled_under_a_worker_is_late(db: Database, teacher: int) -> None:
    queue, claims = claim(db, teacher, 4)
    found = tasks.change_tasks(db, "cancel", Selection(name="test-teacher", statuses=("running",)))
    assert found.changed == 4
    assert complete(db, queue, claims) == 0
    assert labelled(db) == 0
    with db.begin() as connection:
        assert queue.renew(connection, claims) == set()
        assert queue.release(connection, claims) == 0
        assert queue.recover(connection) == 0
    assert statuses(db, teacher) == {"cancelled": 4, "pending": COUNT - 4}
    assert tasks.change_tasks(db, "cancel", Selection()).changed == COUNT - 4
    _, none = claim(db, teacher, COUNT)
    assert none == []


def test_a_label_is_not_asked_for_twice(db: Database, teacher: int) -> None:
    queue, claims = claim(db, teacher, 3)
    assert complete(db, queue, claims) == 3
    tasks.change_tasks(db, "cancel", Selection())
    found = tasks.change_tasks(db, "requeue", Selection())
    assert (found.changed, found.left) == (COUNT - 3, 3)
    assert statuses(db, teacher) == {"done": 3, "pending": COUNT - 3}
    assert labelled(db) == 3


def test_rejected_structures_do_not_become_pending(db: Database, teacher: int) -> None:
    queue, claims = claim(db, teacher, 2)
    fail(db, queue, claims)
    approve_all(db, rejected={claims[0].key})
    assert tasks.change_tasks(db, "retry", Selection()).changed == 1
    tasks.change_tasks(db, "cancel", Selection())
    approve_all(db, rejected={claims[1].key})
    assert tasks.change_tasks(db, "requeue", Selection()).changed == COUNT - 2
    assert statuses(db, teacher) == {"failed": 1, "cancelled": 1, "pending": COUNT - 2}


def test_a_dry_run_counts_and_changes_nothing(db: Database, teacher: int) -> None:
    found = tasks.change_tasks(db, "cancel", Selection(where="cost > 5"), dry_run=True, limit=4)
    assert found.dry_run and found.changed == 4
    assert statuses(db, teacher) == {"pending": COUNT}


def test_pages_cover_all_and_each_once(
    db: Database, teacher: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlffdb.store.tasks.PAGE", 5)
    seen: list[tuple[int, int]] = []
    found = tasks.change_tasks(
        db, "cancel", Selection(), on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(5, COUNT), (10, COUNT), (12, COUNT)]
    assert found.changed == COUNT
    assert tasks.change_tasks(db, "requeue", Selection(), limit=7).changed == 7


def test_priority_decides_and_keeps_the_bands(db: Database, teacher: int) -> None:
    with db.begin() as connection:
        before = bands(connection)
    assert tasks.change_tasks(db, "priority", Selection(), priority=3).changed == COUNT
    urgent = Selection(where="cost = (SELECT max(cost) FROM tasks)")
    most = tasks.change_tasks(db, "priority", urgent, priority=-2).changed
    assert 0 < most < COUNT
    with db.begin() as connection:
        assert bands(connection) == before
    _, claims = claim(db, teacher, most)
    assert len({c.cost for c in claims}) == 1
    rows = tasks.list_tasks(db, Selection(), COUNT)
    assert claims[0].cost == max(row["cost"] for row in rows)


def bands(connection) -> dict[UUID, int]:
    rows = connection.execute(
        text("SELECT structure_id, ((priority % 32) + 32) % 32 FROM label_task")
    )
    return {row[0]: row[1] for row in rows}


def test_conditions_run_as_the_reader(db: Database, teacher: int) -> None:
    for condition, says in (
        ("structure_id IN (SELECT structure_id FROM structure)", "permission denied"),
        ("nonsense", "--where over the view tasks"),
        ("true); DELETE FROM label_task WHERE (true", "syntax error"),
    ):
        with pytest.raises(QueryError, match=says):
            tasks.change_tasks(db, "cancel", Selection(where=condition))
    with pytest.raises(QueryError, match="takes tasks that are failed, not pending"):
        tasks.change_tasks(db, "retry", Selection(statuses=("pending",)))
    add_teacher(db, "100% o'brien :x")
    assert tasks.change_tasks(db, "cancel", Selection(name="100% o'brien :x")).changed == 0
    assert statuses(db, teacher) == {"pending": COUNT}


def test_a_list_says_who_is_at_it_and_why_it_failed(db: Database, teacher: int) -> None:
    worker = uuid4()
    queue = Queue(LABEL_TASKS, teacher, worker)
    with db.begin() as connection:
        workers.register(connection, worker, kind="label", device="cpu", teacher_id=teacher)
        claims = queue.claim(connection, 2)
    fail(db, queue, claims[:1])
    (row,) = tasks.list_tasks(db, Selection(statuses=("failed",)), 10)
    assert (row["error_code"], row["attempts"], row["worker_id"]) == ("scf", 1, worker)
    (row,) = tasks.list_tasks(db, Selection(statuses=("running",)), 10)
    assert row["structure_id"] == claims[1].key
    assert row["host"] and row["pid"] and row["age_seconds"] >= 0
    assert len(tasks.list_tasks(db, Selection(), 5)) == 5


def test_tasks_of_a_former_version_can_be_ended(db: Database, teacher: int) -> None:
    later = add_teacher(db, untrained=True)  # the same name, another fingerprint
    with db.begin() as connection:
        labels.enqueue(connection, later)
        connection.execute(
            text("UPDATE teacher SET created_at = now() - interval '1 h' WHERE teacher_id = :t"),
            {"t": teacher},
        )
    assert superseded(db) == {teacher}
    worker = uuid4()
    with db.begin() as connection:  # somebody still works with the former one
        workers.register(connection, worker, kind="label", device="cpu", teacher_id=teacher)
    assert teacher not in superseded(db)
    with db.begin() as connection:
        connection.execute(
            text("UPDATE worker SET stopped_at = now(), started_at = now() - interval '1 h'")
        )
    found = tasks.change_tasks(db, "cancel", Selection(superseded=True))
    assert found.changed == COUNT
    assert statuses(db, teacher) == {"cancelled": COUNT}
    assert statuses(db, later) == {"pending": COUNT}


def superseded(db: Database) -> set[int]:
    with db.begin() as connection:
        rows = connection.execute(text("SELECT teacher_id FROM progress WHERE superseded"))
        return set(rows.scalars())


def test_sampling_tasks_are_the_same_queue(db: Database) -> None:
    run = runs.start(db, "sample", name="plan-a")
    digest = "a" * 64
    with db.begin() as connection:
        sample_tasks.enqueue(connection, digest, run.run_id, ((i, {}, 1.0) for i in range(4)))
    queue = Queue(SAMPLE_TASKS, digest, uuid4())
    with db.begin() as connection:
        claims = queue.claim(connection, 2)
        queue.fail(connection, [TaskFailure(claims[0], "bad_smiles", "no", False)])
        assert sample_tasks.complete(
            connection, queue, claims[1], run_id=run.run_id, candidates=[], rejected=Counter()
        )
    plan = Selection("sample", "plan-a")
    assert tasks.change_tasks(db, "retry", plan).changed == 1
    assert tasks.change_tasks(db, "cancel", plan).changed == 3
    # one task is done and nothing came of it
    assert tasks.change_tasks(db, "requeue", plan).changed == 4
    (row, *_) = tasks.list_tasks(db, Selection("sample", where="task_index = 2"), 9)
    assert (row["plan"], row["status"]) == ("plan-a", "pending")
    with db.begin() as connection:
        assert len(Queue(SAMPLE_TASKS, digest, uuid4()).claim(connection, 9)) == 4
    runs.finish(db, run, "done", None)


def test_a_paused_teacher_keeps_what_is_claimed(db: Database, teacher: int) -> None:
    queue, claims = claim(db, teacher, 3)
    with pytest.raises(TeacherError, match="has seen no teacher other"):
        tasks.pause_teacher(db, "other")
    with pytest.raises(TeacherError, match="has seen no teacher other"):
        tasks.resume_teacher(db, "other")
    found = tasks.pause_teacher(db, "test-teacher", "broken GPU")
    assert (found.paused, found.changed, found.pending, found.running) == (True, True, COUNT - 3, 3)
    pause = tasks.teacher_pause(db, "test-teacher")
    assert pause is not None and pause.why == "broken GPU"
    assert not tasks.pause_teacher(db, "test-teacher").changed
    assert tasks.teacher_pause(db, "test-teacher") == pause
    with db.begin() as connection:
        assert queue.claim(connection, 3) == []
    assert complete(db, queue, claims) == 3
    (row,) = tasks.list_tasks(db, Selection(where="paused"), 1)
    assert row["status"] in ("pending", "done")
    assert tasks.resume_teacher(db, "test-teacher").changed
    assert not tasks.resume_teacher(db, "test-teacher").changed
    assert tasks.teacher_pause(db, "test-teacher") is None
    with db.begin() as connection:
        assert len(queue.claim(connection, 3)) == 3


def test_quarantine_ends_by_retry(db: Database, teacher: int) -> None:
    """A task whose workers die MAX_ATTEMPTS times is failed, and has as many again by retry."""
    for _ in range(MAX_ATTEMPTS):
        queue = Queue(LABEL_TASKS, teacher, uuid4(), lease_seconds=-1)
        with db.begin() as connection:
            queue.claim(connection, COUNT)
            queue.recover(connection)
    assert statuses(db, teacher) == {"failed": COUNT}
    reasons = Selection(where="error_code = 'worker_lost'")
    assert tasks.change_tasks(db, "retry", reasons).changed == COUNT
    queue, claims = claim(db, teacher, COUNT)
    assert {c.attempt for c in claims} == {1}
