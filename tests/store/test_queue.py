"""The queue, on a real PostgreSQL: claims, leases, fences, attempts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from psycopg2 import extensions
from sqlalchemy import Connection, text

from mlffdb.store import labels, queue
from mlffdb.store.database import Database
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import BY_KEY, LABEL_TASKS, MAX_ATTEMPTS, Claim, Queue, TaskFailure
from mlffdb.store.records import decode
from tests.helpers import add_molecules, add_teacher, approve_all, statuses


@pytest.fixture
def teacher(db: Database) -> int:
    """A teacher with 60 pending tasks."""
    add_molecules(db, 60)
    approve_all(db)
    teacher_id = add_teacher(db)
    with db.begin() as connection:
        assert labels.enqueue(connection, teacher_id) == 60
    return teacher_id


def a_queue(teacher: int, lease: float = 60.0) -> Queue:
    return Queue(LABEL_TASKS, teacher, uuid4(), lease_seconds=lease)


def claim(db: Database, q: Queue, limit: int, budget: float | None = None) -> list[Claim]:
    with db.begin() as connection:
        return q.claim(connection, limit, budget)


def label_rows(claims: list[Claim]) -> list[LabelRow]:
    rows = []
    for one in claims:
        n_atoms = decode(one.row).n_atoms
        rows.append(
            LabelRow(
                one, n_atoms, -1.0 * n_atoms, np.zeros((n_atoms, 3)), None, None, None, 0, 1, 1,
                0.1, {}
            )
        )  # fmt: skip
    return rows


def complete(db: Database, q: Queue, claims: list[Claim]) -> set[UUID]:
    with db.begin() as connection:
        return labels.complete(connection, q, label_rows(claims), run_id=None, device="cpu")


def test_enqueue_twice_adds_nothing(db: Database, teacher: int) -> None:
    with db.begin() as connection:
        assert labels.enqueue(connection, teacher) == 0


def test_unchecked_and_rejected_structures_are_not_enqueued(db: Database) -> None:
    ids = add_molecules(db, 5)
    teacher_id = add_teacher(db)
    with db.begin() as connection:
        assert labels.enqueue(connection, teacher_id) == 0
    approve_all(db, rejected={ids[0]})
    with db.begin() as connection:
        assert labels.enqueue(connection, teacher_id) == 4


def test_claims_come_by_priority_then_cost(db: Database, teacher: int) -> None:
    with db.begin() as connection:
        urgent = connection.execute(
            text(
                "UPDATE label_task SET priority = -1 WHERE structure_id = (SELECT structure_id"
                " FROM label_task ORDER BY cost DESC, structure_id LIMIT 1) RETURNING structure_id"
            )
        ).scalar_one()
    claims = claim(db, a_queue(teacher), 60)
    assert claims[0].key == urgent
    bands = [(one.key.bytes[0] * labels.BANDS // 256, one.cost) for one in claims[1:]]
    assert bands == sorted(bands)
    assert len({band for band, _ in bands}) > 10


def test_claim_stops_at_the_budget_but_takes_at_least_one(db: Database, teacher: int) -> None:
    q = a_queue(teacher)
    claims = claim(db, q, 50, budget=40)
    assert 1 < len(claims) < 50
    assert sum(one.cost for one in claims) <= 40
    assert len(claim(db, q, 50, budget=0.5)) == 1


def test_many_workers_claim_each_task_once(db: Database, teacher: int) -> None:
    taken: Counter[UUID] = Counter()
    lock = threading.Lock()

    def work() -> None:
        own = Database(db.settings)
        q = a_queue(teacher)
        while found := claim(own, q, 4):
            with lock:
                taken.update(one.key for one in found)
            assert complete(own, q, found) == {one.key for one in found}
        own.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 60
    assert set(taken.values()) == {1}
    assert statuses(db, teacher) == {"done": 60}


def test_result_and_completion_are_one_transaction(db: Database, teacher: int) -> None:
    q = a_queue(teacher)
    claims = claim(db, q, 5)

    class SomethingBrokeError(Exception):
        pass

    with pytest.raises(SomethingBrokeError), db.begin() as connection:
        labels.complete(connection, q, label_rows(claims), run_id=None, device="cpu")
        raise SomethingBrokeError
    assert statuses(db, teacher) == {"running": 5, "pending": 55}
    with db.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM label")) == 0


def test_a_worker_that_lost_its_lease_changes_nothing(db: Database, teacher: int) -> None:
    zombie, heir = a_queue(teacher, lease=0.05), a_queue(teacher)
    lost = claim(db, zombie, 5)
    time.sleep(0.1)
    with db.begin() as connection:
        assert queue.recover(connection, LABEL_TASKS, teacher) == 5
    inherited = claim(db, heir, 5)
    assert {one.key for one in inherited} == {one.key for one in lost}
    assert complete(db, zombie, lost) == set()
    with db.begin() as connection:
        assert zombie.renew(connection, lost) == set()
        assert zombie.release(connection, lost) == 0
        failures = [TaskFailure(one, "late", "late", retry=False) for one in lost]
        assert zombie.fail(connection, failures) == 0
        assert connection.scalar(text("SELECT count(*) FROM label")) == 0
    assert complete(db, heir, inherited) == {one.key for one in inherited}


def test_the_same_worker_is_fenced_by_the_attempt(db: Database, teacher: int) -> None:
    q = a_queue(teacher, lease=0.05)
    first = claim(db, q, 1)
    time.sleep(0.1)
    with db.begin() as connection:
        q.recover(connection)
    second = claim(db, q, 1)
    assert second[0].key == first[0].key
    assert complete(db, q, first) == set()
    assert complete(db, q, second) == {second[0].key}


def test_an_unexpired_lease_is_not_taken(db: Database, teacher: int) -> None:
    claim(db, a_queue(teacher), 60)
    with db.begin() as connection:
        assert queue.recover(connection, LABEL_TASKS, teacher) == 0
    assert claim(db, a_queue(teacher), 60) == []


def test_renewal_extends_the_lease(db: Database, teacher: int) -> None:
    q = a_queue(teacher, lease=0.3)
    claims = claim(db, q, 3)
    for _ in range(4):
        time.sleep(0.15)
        with db.begin() as connection:
            assert q.renew(connection, claims) == {one.key for one in claims}
            assert queue.recover(connection, LABEL_TASKS, teacher) == 0


def test_a_task_that_kills_its_workers_ends_as_failed(db: Database, teacher: int) -> None:
    q = a_queue(teacher, lease=0.0)
    for _ in range(MAX_ATTEMPTS):
        assert len(claim(db, q, 60)) == 60
        time.sleep(0.01)
        with db.begin() as connection:
            q.recover(connection)
    assert claim(db, q, 60) == []
    assert statuses(db, teacher) == {"failed": 60}
    with db.begin() as connection:
        codes = connection.execute(text("SELECT DISTINCT error_code FROM label_task")).scalars()
        assert list(codes) == [queue.LOST]


def test_releasing_gives_the_attempt_back(db: Database, teacher: int) -> None:
    q = a_queue(teacher)
    claims = claim(db, q, 60)
    with db.begin() as connection:
        assert q.release(connection, claims) == 60
    assert [one.attempt for one in claim(db, q, 60)] == [1] * 60


def test_failures_retry_with_backoff_until_they_are_final(db: Database, teacher: int) -> None:
    q = a_queue(teacher)
    with db.begin() as connection:
        connection.execute(text("DELETE FROM label_task WHERE cost > 3 OR cost < 3"))
        left = connection.scalar(text("SELECT count(*) FROM label_task"))
    assert left
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claims = claim(db, q, 100)
        assert [one.attempt for one in claims] == [attempt] * left
        with db.begin() as connection:
            failures = [TaskFailure(one, "out_of_memory", "no room", retry=True) for one in claims]
            assert q.fail(connection, failures) == left
        assert claim(db, q, 100) == []
        with db.begin() as connection:
            waiting = connection.scalar(
                text("SELECT min(extract(epoch FROM not_before - now())) FROM label_task")
            )
            if attempt < MAX_ATTEMPTS:
                assert waiting > 0.8 * queue.BACKOFF_SECONDS * 2 ** (attempt - 1)
            connection.execute(text("UPDATE label_task SET not_before = now()"))
    assert statuses(db, teacher) == {"failed": left}


def test_a_final_failure_keeps_its_reason(db: Database, teacher: int) -> None:
    q = a_queue(teacher)
    claims = claim(db, q, 1)
    with db.begin() as connection:
        q.fail(connection, [TaskFailure(claims[0], "charge", "x" * 5000, retry=False)])
        row = connection.execute(
            text("SELECT status, error_code, length(error) FROM label_task WHERE error IS NOT NULL")
        ).one()
    assert tuple(row) == ("failed", "charge", 1000)


def test_the_cursor_comes_back_for_urgent_and_requeued_tasks(db: Database, teacher: int) -> None:
    q = a_queue(teacher)
    first = claim(db, q, 10)
    with db.begin() as connection:
        q2 = a_queue(teacher)
        assert len(q2.claim(connection, 40)) == 40
        connection.execute(
            text(
                "UPDATE label_task SET status = 'pending', lease_expires_at = NULL,"
                " worker_id = NULL WHERE structure_id = :id"
            ),
            {"id": first[0].key},
        )
    seen = {one.key for _ in range(4) for one in claim(db, q, 5)}
    assert first[0].key in seen
    assert len(seen) == 11


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The plans of all that the queue runs in the test, each taken just before it runs."""
    found: list[str] = []

    class Explaining(extensions.cursor):
        def execute(self, statement: Any, parameters: Any = None) -> None:
            super().execute(statement.replace(BY_KEY, BY_KEY + "EXPLAIN "), parameters)
            found.append("\n".join(row[0] for row in self.fetchall()))
            super().execute(statement, parameters)

    def cursor(connection: Connection) -> Any:
        return connection.connection.cursor(cursor_factory=Explaining)

    monkeypatch.setattr(queue, "driver_cursor", cursor)
    monkeypatch.setattr(labels, "driver_cursor", cursor)
    return found


@pytest.mark.parametrize("batch", [64, 1024])
@pytest.mark.parametrize("statistics", ["fresh", "of an empty queue"])
def test_each_statement_goes_by_the_keys_of_its_rows(
    db: Database, plans: list[str], batch: int, statistics: str
) -> None:
    """A plan that scans the queue would ruin every campaign; hold it at two sizes."""
    teacher_id = add_teacher(db)
    fill_queue(db, teacher_id, 20_000, analyze=statistics == "fresh")
    for _ in range(4):
        claim(db, a_queue(teacher_id), 1024)  # others' running tasks
    q = a_queue(teacher_id)
    plans.clear()
    first, second = claim(db, q, batch), claim(db, q, batch, budget=1e6)
    assert len(first) == len(second) == batch
    from_start, behind = plans
    assert "ROW(priority, cost, structure_id) >" not in from_start
    assert "ROW(priority, cost, structure_id) >" in behind
    for plan in plans:
        assert "Index Scan using ix_label_task_claim on label_task" in plan
        assert "Tid Scan on label_task q" in plan
        assert "Index Scan using pk_structure on structure s" in plan
        assert "Seq Scan" not in plan
    plans.clear()
    with db.begin() as connection:
        assert len(q.renew(connection, first)) == batch
        assert q.release(connection, second[:10]) == 10
        assert q.fail(connection, [TaskFailure(one, "a", "b", True) for one in second[10:20]]) == 10
    assert len(complete(db, q, first)) == batch
    assert len(plans) == 4
    for plan in plans:
        assert "Index Scan using pk_label_task on label_task q" in plan
        assert "ix_label_task_running" not in plan  # all running tasks for each row
        assert "Seq Scan" not in plan


def fill_queue(db: Database, teacher_id: int, rows: int, *, analyze: bool) -> None:
    """Make *rows* pending tasks, quickly; else *analyze* the statistics are of empty tables."""
    with db.begin() as connection:
        if not analyze:
            connection.execute(text("ANALYZE label_task, structure"))
        connection.execute(text("INSERT INTO run (action, config_hash, versions, host)"
                                " VALUES ('import', '', '{}', 'here')"))  # fmt: skip
        connection.execute(
            text("""
INSERT INTO structure (structure_id, run_id, n_atoms, numbers, positions, pbc, n_periodic, charge,
    formula, elements, element_counts, domain, source_order)
SELECT gen_random_uuid(), (SELECT max(run_id) FROM run), 1, '\\x02',
    decode(repeat('00', 24), 'hex'),
    0, 0, 0, 'He', '{2}', '{1}', 'inorganic', '\\x0000' FROM generate_series(1, :rows)"""),
            {"rows": rows},
        )
        connection.execute(
            text("INSERT INTO label_task (teacher_id, structure_id, cost)"
                 " SELECT :teacher, structure_id, 10 + (random() * 50)::int FROM structure"),
            {"teacher": teacher_id},
        )  # fmt: skip
        if analyze:
            connection.execute(text("ANALYZE label_task, structure"))
