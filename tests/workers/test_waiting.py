"""What workers do while they cannot go on: bounded queues, polls, pauses and outages."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, text

from benchmarks._proxy import Proxy
from mlffdb.store import pausing, waiting
from mlffdb.store.database import Database, libpq
from mlffdb.store.queue import LABEL_TASKS, Queue
from mlffdb_workers import campaign
from mlffdb_workers.job import Counters
from mlffdb_workers.observer import Observer
from mlffdb_workers.pace import LAST_POLL, Pace, Poll
from mlffdb_workers.state import MAX_COMPUTED, MAX_READY
from tests.helpers import statuses
from tests.workers.looping import Job, in_thread, loop_of, number, register, tasks_of_teacher
from tests.workers.test_stopping import wait_until


def test_a_database_that_is_slow_to_write_holds_the_computation_up(db: Database) -> None:
    """At most MAX_COMPUTED batches wait, MAX_READY are claimed ahead, and nothing more."""

    class Slow(Job):
        computed = 0
        go_on = threading.Event()

        def compute(self, prepared: Any) -> Any:
            self.computed += len(prepared)
            return super().compute(prepared)

        def write(self, connection: Connection, *rest: Any) -> Counters:
            assert self.go_on.wait(30)
            return super().write(connection, *rest)

    teacher = tasks_of_teacher(db, 36)
    job = Slow(first_batch=1)
    loop = loop_of(db, teacher, job)
    loop._shared.pace.learn = lambda *_: None  # type: ignore[method-assign]
    thread = in_thread(loop)
    wait_until(lambda: job.computed > 0)
    time.sleep(1)
    held = number(db, "SELECT count(*) FROM label_task WHERE status = 'running'")
    assert job.computed <= MAX_COMPUTED
    assert held <= MAX_COMPUTED + MAX_READY
    job.go_on.set()
    thread.join(30)
    assert statuses(db, teacher) == {"done": 36}


def test_a_worker_that_waits_asks_ever_more_rarely() -> None:
    poll = Poll()
    waits = [poll.seconds() for _ in range(30)]
    assert waits[0] <= 0.3
    assert min(waits[-10:]) >= LAST_POLL / 2
    assert max(waits) <= 1.5 * LAST_POLL
    assert len(set(waits[-10:])) == 10  # jittered
    poll.reset()
    assert poll.seconds() <= 0.3


def test_batches_grow_until_they_take_long_enough() -> None:
    pace = Pace(1)
    for _ in range(10):
        pace.learn(pace.size, 30.0 * pace.size, 0.01 * pace.size)
    assert 150 <= pace.size <= 250  # 2 s at 10 ms each
    pace.learn(pace.size, 30.0 * pace.size, 20.0)
    assert pace.size <= 25
    assert pace.cost is not None


def test_a_paused_teacher_waits_and_goes_on(db: Database) -> None:
    teacher = tasks_of_teacher(db, 40)
    started = threading.Event()

    def slow(_: Any) -> float:
        started.set()
        time.sleep(0.02)
        return -1.0

    loop = loop_of(db, teacher, Job(slow, first_batch=2))
    with db.begin() as connection:
        pausing.pause(connection, "test-teacher", "the price of electricity")
    thread = in_thread(loop)
    time.sleep(0.5)
    assert not started.is_set()
    assert thread.is_alive()
    with pytest.raises(campaign.TeacherPausedError) as raised:
        campaign.label(db, "test-teacher")
    for said in ("test-teacher is paused since", "electricity", "teachers resume test-teacher"):
        assert said in str(raised.value)
    with db.begin() as connection:
        pausing.resume(connection, "test-teacher")
    thread.join(30)
    assert statuses(db, teacher) == {"done": 40}


def test_a_lost_connection_loses_no_batch(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    teacher = tasks_of_teacher(db, 12)
    cut: list[int] = []

    def decide(_: Any) -> float:
        if not cut:
            with Database(db.settings) as other, other.begin() as connection:
                cut.append(
                    connection.scalar(
                        text(
                            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                        )
                    )
                )
        return -1.0

    counters = loop_of(db, teacher, Job(decide)).run()
    assert cut[0] > 0
    assert (counters.done, counters.late) == (12, 0)
    assert not [record for record in caplog.records if record.name.startswith("sqlalchemy")]
    assert number(db, "SELECT max(attempts) FROM label_task") == 1


def test_a_full_disk_is_one_outage_and_is_asked_ever_more_rarely(db: Database) -> None:
    """The server goes on to renew leases and refuses labels: neither is news each time."""
    events: list[str] = []
    asked: list[float] = []

    class Refused(Job):
        def write(self, connection: Connection, *rest: Any) -> Counters:
            asked.append(time.monotonic())
            if len(asked) < 5:
                full = "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'"
                connection.execute(text(f"DO $$ BEGIN {full}; END $$"))
            return super().write(connection, *rest)

    class Ear(Observer):
        def event(self, name: str, **facts: Any) -> None:
            events.append(name)

    teacher = tasks_of_teacher(db, 12)
    assert loop_of(db, teacher, Refused(), observer=Ear()).run().done == 12
    assert events == ["started", "away", "back", "stopped"]
    waits = [later - earlier for earlier, later in pairwise(asked[:5])]
    assert waits[3] > 2 * waits[0]


class Counting(Proxy):
    """Counts how often a client speaks and then waits for the server."""

    trips = 0

    def __init__(self, target: Path) -> None:
        self._speaking: set[socket.socket] = set()
        super().__init__(target)

    def _serve(self, end: socket.socket) -> None:
        peer = self._peers.get(end)
        if peer is not None and peer.family == socket.AF_UNIX:
            self.trips += end not in self._speaking
            self._speaking.add(end)
        elif peer is not None:
            self._speaking.discard(peer)
        super()._serve(end)


def test_a_batch_is_one_round_trip_to_claim_and_one_to_store(db: Database) -> None:
    found = libpq(db.url)
    if not str(found.get("host", "")).startswith("/"):
        pytest.skip("needs a server on a Unix socket")
    proxy = Counting(Path(found["host"]) / f".s.PGSQL.{found['port']}")
    trips: list[tuple[str, int]] = []

    class Meter(Observer):
        last = 0

        def phase(self, name: str, started: float, ended: float, facts: dict[str, Any]) -> None:
            if name in ("claim", "prepare", "write", "renew"):
                if facts.get("tasks"):
                    trips.append((name, proxy.trips - self.last))
                self.last = proxy.trips

    teacher = tasks_of_teacher(db, 24)
    url = f"postgresql://{found['user']}@127.0.0.1:{proxy.port}/{found['dbname']}"
    settings = db.settings.model_copy(update={"database_url": SecretStr(url)})
    try:
        with Database(settings, ping=False) as own:
            job = Job(first_batch=2)
            assert loop_of(own, teacher, job, observer=Meter()).run().done == 24
    finally:
        proxy.close()
    after = trips[1:]  # the first claim connects
    assert {n for name, n in after if name == "write"} == {1}
    assert {n for name, n in after if name == "claim"} <= {1, 2}  # 2: at the end of the cursor
    assert ("claim", 1) in after


def test_leases_of_the_dead_are_taken_when_they_end(db: Database) -> None:
    """First label after at most the lease and a second, though nobody is told of the death."""
    teacher = tasks_of_teacher(db, 12)
    dead = Queue(LABEL_TASKS, teacher, register(db), lease_seconds=2.0)
    with db.begin() as connection:
        assert len(dead.claim(connection, 12)) == 12
    started = time.monotonic()
    assert loop_of(db, teacher, Job(), lease=2.0).run().done == 12
    assert 1.5 < time.monotonic() - started < 3.5


def test_after_an_outage_others_renew_their_leases_first(db: Database) -> None:
    teacher = tasks_of_teacher(db, 12)
    holder = Queue(LABEL_TASKS, teacher, register(db), lease_seconds=0.2)
    with db.begin() as connection:
        claims = holder.claim(connection, 4)
    loop = loop_of(db, teacher, Job(), lease=8.0)
    courier = loop._courier
    time.sleep(0.3)  # the holder's leases have ended meanwhile
    courier._come_back()
    thread = in_thread(loop)
    wait_until(lambda: statuses(db, teacher).get("done") == 8)
    time.sleep(1)
    assert statuses(db, teacher) == {"done": 8, "running": 4}
    with db.begin() as connection:
        assert len(holder.renew(connection, claims)) == 4  # it was quick enough
        holder.release(connection, claims)
    thread.join(30)
    assert statuses(db, teacher) == {"done": 12}


def test_what_a_worker_is_told_when_there_is_nothing(db: Database) -> None:
    teacher = tasks_of_teacher(db, 2)
    queue = Queue(LABEL_TASKS, teacher, register(db), lease_seconds=30)
    with db.begin() as connection:
        assert waiting.look(connection, LABEL_TASKS, teacher) == waiting.Waiting(True, None)
        queue.claim(connection, 2)
        found = waiting.look(connection, LABEL_TASKS, teacher)
        assert found.open
        assert found.expires_in is not None
        assert 25 < found.expires_in <= 30
        connection.execute(text("UPDATE label_task SET status = 'done', lease_expires_at = NULL"))
        pausing.pause(connection, "test-teacher", None)
        assert waiting.look(connection, LABEL_TASKS, teacher) == waiting.Waiting(False, None, True)


def test_a_claim_is_of_whole_calls_of_the_teacher() -> None:
    pace = Pace(128)
    pace.learn(128, 2432.0, 0.1, together=53)
    assert pace.size == 9 * 53
    pace.learn(9 * 53, 9063.0, 0.4, together=53)
    assert pace.size == 19 * 53
    pace.learn(19 * 53, 19133.0, 60.0, together=53)
    assert 0 < pace.size < 53
