"""What a completion stores, and what claims see: paused teachers, priorities, storms of faults."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text

from mlffdb.errors import ConfigError
from mlffdb.store import labels, pausing, queue
from mlffdb.store.database import Database, is_bad_value
from mlffdb.store.labels import LabelRow, Order
from mlffdb.store.queue import LABEL_TASKS, Claim, Queue, TaskFailure
from mlffdb.store.records import decode, decode_forces
from tests.helpers import add_molecules, add_teacher, approve_all, statuses


@pytest.fixture
def teacher(db: Database) -> int:
    """A teacher without tasks, beside 60 structures that may be labelled."""
    add_molecules(db, 60)
    approve_all(db)
    return add_teacher(db)


def enqueue(db: Database, teacher: int, *, priority: int = 0, order: Order = "mixed") -> int:
    with db.begin() as connection:
        return labels.enqueue(connection, teacher, priority=priority, order=order)


def claim(db: Database, q: Queue, limit: int) -> list[Claim]:
    with db.autocommit() as connection:
        return q.claim(connection, limit)


def complete(db: Database, q: Queue, rows: list[LabelRow], run_id: int | None = None) -> set[UUID]:
    with db.autocommit() as connection:
        return labels.complete(connection, q, rows, run_id=run_id, device='cuda:"0\\{}')


def row(claim: Claim, **changes: object) -> LabelRow:
    n_atoms = decode(claim.row).n_atoms
    values = {
        "claim": claim, "n_atoms": n_atoms, "energy": -1.5, "forces": np.zeros((n_atoms, 3)),
        "stress": None, "energy_spread": None, "forces_spread": None, "charge": 0,
        "multiplicity": 1, "batch_size": 1, "wall_seconds": 0.1, "details": {},
    }  # fmt: skip
    return LabelRow(**(values | changes))


def test_labels_are_stored_as_they_were_computed(db: Database, teacher: int) -> None:
    enqueue(db, teacher)
    q = Queue(LABEL_TASKS, teacher, uuid4())
    rng = np.random.default_rng(1)
    sent: dict[UUID, LabelRow] = {}
    for index, one in enumerate(claim(db, q, 60)):
        shape = (decode(one.row).n_atoms, 3)
        sent[one.key] = row(
            one,
            energy=rng.normal() * 1e3 / 7,
            forces=rng.normal(size=shape).astype(f"f{4 + index % 2 * 4}") if index % 5 else None,
            stress=rng.normal(size=6) if index % 3 == 0 else None,
            energy_spread=np.float32(0.25) if index % 2 else None,
            multiplicity=None if index % 2 else 3,
            charge=index % 3 - 1,
            details={'a "quoted" \\ {thing}': [1, None, "é"]} if index % 7 == 0 else {},
        )
    assert complete(db, q, list(sent.values())) == set(sent)
    with db.begin() as connection:
        found = connection.execute(text("SELECT * FROM label")).all()
    assert len(found) == 60
    for label in found:
        one = sent[label.structure_id]
        assert label.energy == one.energy
        assert label.details == (one.details or None)
        assert (label.charge, label.multiplicity) == (one.charge, one.multiplicity)
        assert label.energy_spread == one.energy_spread
        assert (label.worker_id, label.device) == (q.worker_id, 'cuda:"0\\{}')
        assert label.stress == (None if one.stress is None else one.stress.tolist())
        if one.forces is None:
            assert label.forces is None
            assert label.force_max is None
        else:
            stored = decode_forces(label.forces, one.n_atoms)
            assert stored.dtype == one.forces.dtype
            assert np.array_equal(stored, one.forces)
            largest = np.linalg.norm(one.forces, axis=1).max()
            assert label.force_max == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"energy": float("nan")},
        {"energy": "no number"},
        {"forces": np.full((1, 3), np.inf), "n_atoms": 1},
        {"stress": np.ones(5)},
        {"stress": np.full(6, np.nan)},
        {"charge": 10**6},
        {"details": {"a": float("nan")}},
    ],
)  # fmt: skip
def test_a_bad_value_leaves_the_whole_batch_as_it_was(
    db: Database, teacher: int, changes: dict[str, object]
) -> None:
    enqueue(db, teacher)
    q = Queue(LABEL_TASKS, teacher, uuid4())
    claims = claim(db, q, 4)
    bad = [row(claims[0]), row(claims[1], **changes), *map(row, claims[2:])]
    with pytest.raises(Exception) as raised:
        complete(db, q, bad)
    assert is_bad_value(raised.value)
    assert statuses(db, teacher) == {"running": 4, "pending": 56}
    assert len(complete(db, q, list(map(row, claims)))) == 4


def test_nothing_of_a_paused_teacher_is_claimed(db: Database, teacher: int) -> None:
    enqueue(db, teacher)
    other = add_teacher(db, "other")
    enqueue(db, other)
    q = Queue(LABEL_TASKS, teacher, uuid4())
    held = claim(db, q, 5)
    with db.begin() as connection:
        pausing.pause(connection, "test-teacher", None)
    assert claim(db, q, 5) == []
    assert len(claim(db, Queue(LABEL_TASKS, other, uuid4()), 5)) == 5
    assert len(complete(db, q, list(map(row, held)))) == 5
    with db.begin() as connection:
        pausing.resume(connection, "test-teacher")
    assert len(claim(db, q, 60)) == 55


def test_order_and_priority(db: Database, teacher: int) -> None:
    by_cost, mixed = add_teacher(db, "by cost"), add_teacher(db, "mixed")
    enqueue(db, by_cost, order="cost")
    enqueue(db, mixed)
    enqueue(db, teacher, priority=-1024)
    small_first, of_all_sizes = (
        [one.cost for one in claim(db, Queue(LABEL_TASKS, scope, uuid4()), 60)]
        for scope in (by_cost, mixed)
    )
    assert small_first == sorted(small_first)
    assert sum(small_first[:30]) < 0.5 * sum(small_first[30:]) < sum(of_all_sizes[:30])
    with db.begin() as connection:
        lowest, highest = connection.execute(
            text("SELECT min(priority), max(priority) FROM label_task WHERE teacher_id = :t"),
            {"t": teacher},
        ).one()
    assert -(2**15) <= lowest < highest < -(2**15) + labels.BANDS
    with pytest.raises(ConfigError, match="from -1024 to 1023, not 1024"):
        enqueue(db, teacher, priority=1024)


def test_an_urgent_task_is_seen_within_the_cursors_time(
    db: Database, teacher: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "CURSOR_SECONDS", 0.3)
    enqueue(db, teacher, order="cost")
    q = Queue(LABEL_TASKS, teacher, uuid4())
    claim(db, q, 2)
    claim(db, q, 2)
    with db.begin() as connection:
        urgent = connection.scalar(
            text("UPDATE label_task SET priority = -32 WHERE structure_id = (SELECT structure_id"
                 " FROM label_task WHERE status = 'pending' ORDER BY cost DESC LIMIT 1)"
                 " RETURNING structure_id")
        )  # fmt: skip
    assert urgent not in {one.key for one in claim(db, q, 2)}
    time.sleep(0.3)
    claim(db, q, 2)  # notices that its cursor is old
    assert claim(db, q, 2)[0].key == urgent


def test_nothing_is_lost_or_written_twice_in_a_storm_of_faults(
    db: Database, teacher: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers die with their batch, write after their lease, fail and release; all at once."""
    monkeypatch.setattr(queue, "MAX_ATTEMPTS", 1000)
    monkeypatch.setattr(queue, "BACKOFF_SECONDS", 0.0)
    enqueue(db, teacher)
    wrote: Counter[UUID] = Counter()
    happened: Counter[str] = Counter()
    lock = threading.Lock()
    errors: list[BaseException] = []

    def live(seed: int) -> None:
        dice = random.Random(seed)
        q = Queue(LABEL_TASKS, teacher, uuid4(), lease_seconds=0.1)
        with Database(db.settings) as own, own.autocommit() as connection:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                q.recover(connection)
                claims = q.claim(connection, dice.randint(1, 8), dice.choice([None, 30.0]))
                if not claims:
                    if not is_open(db, teacher):
                        return
                    time.sleep(0.01)
                    continue
                what = dice.choice(["die", "late", "fail", "release", "work", "work"])
                late = 0
                if what == "die":
                    q = Queue(LABEL_TASKS, teacher, uuid4(), lease_seconds=0.1)
                elif what == "fail":
                    q.fail(connection, [TaskFailure(one, "a", "b", True) for one in claims])
                elif what == "release":
                    q.release(connection, claims)
                else:
                    if what == "late":
                        time.sleep(0.15)
                    rows = list(map(row, claims))
                    done = labels.complete(connection, q, rows, run_id=None, device="cpu")
                    late = len(claims) - len(done)
                    with lock:
                        wrote.update(done)
                with lock:
                    happened.update({what: 1, "rows refused": late})

    def guarded(seed: int) -> None:
        try:
            live(seed)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert statuses(db, teacher) == {"done": 60}
    assert len(wrote) == 60
    assert set(wrote.values()) == {1}
    with db.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM label")) == 60
    assert happened["die"] > 0
    assert happened["rows refused"] > 0


def is_open(db: Database, teacher: int) -> bool:
    return bool(set(statuses(db, teacher)) & {"pending", "running"})
