"""How workers stop: in their grace, after it, by a second signal, and when everything fails."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from mlffdb.store.database import Database
from mlffdb_workers.breaker import WorkerBrokenError
from mlffdb_workers.courier import HUNG, RELEASED
from tests.helpers import statuses
from tests.workers.looping import (
    FAULT,
    REFUSAL,
    Job,
    attempts,
    in_thread,
    loop_of,
    number,
    tasks_of_teacher,
)

HELD = "SELECT count(*) FROM label_task WHERE lease_expires_at IS NOT NULL"
ALIVE = "SELECT count(*) FROM worker WHERE stopped_at IS NULL"


class Stuck(Job):
    """Computes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.computing = threading.Event()
        self.go_on = threading.Event()

    def compute(self, prepared: Any) -> Any:
        self.computing.set()
        assert self.go_on.wait(30)
        return super().compute(prepared)


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_the_batch_at_hand_is_finished_within_the_grace(db: Database) -> None:
    teacher = tasks_of_teacher(db, 12)
    job = Stuck()
    loop = loop_of(db, teacher, job, grace=30)
    thread = in_thread(loop)
    assert job.computing.wait(20)
    loop.stop()
    wait_until(lambda: number(db, HELD) == 4)  # what was claimed ahead is given back at once
    job.go_on.set()
    thread.join(20)
    assert statuses(db, teacher) == {"done": 4, "pending": 8}
    assert attempts(db)["pending"] == {0}
    assert number(db, HELD) == number(db, ALIVE) == 0
    assert loop.left == []  # type: ignore[attr-defined]


def test_a_batch_that_outlasts_the_grace_is_given_back(db: Database) -> None:
    teacher = tasks_of_teacher(db, 12)
    job = Stuck()
    loop = loop_of(db, teacher, job, grace=0.3)
    thread = in_thread(loop)
    assert job.computing.wait(20)
    loop.stop()
    wait_until(lambda: loop.left)  # type: ignore[attr-defined]
    assert loop.left == [RELEASED]  # type: ignore[attr-defined]
    assert attempts(db) == {"pending": {0}}
    assert number(db, HELD) == number(db, ALIVE) == 0
    job.go_on.set()  # a process would be gone by now
    thread.join(20)
    assert statuses(db, teacher) == {"pending": 12}


def test_a_batch_that_hangs_counts_as_an_attempt_and_ends_the_process(db: Database) -> None:
    teacher = tasks_of_teacher(db, 12)
    job = Stuck()
    loop = loop_of(db, teacher, job, hang=0.5)
    thread = in_thread(loop)
    wait_until(lambda: loop.left)  # type: ignore[attr-defined]
    assert loop.left == [HUNG]  # type: ignore[attr-defined]
    assert number(db, HELD) == 0
    assert number(db, "SELECT count(*) FROM label_task WHERE error_code = 'hung'") == 4
    assert attempts(db) == {"pending": {0, 1}}
    job.go_on.set()
    thread.join(20)
    assert statuses(db, teacher) == {"pending": 12}


def test_a_worker_that_fails_at_everything_stops_and_gives_back(db: Database) -> None:
    teacher = tasks_of_teacher(db, 40)
    loop = loop_of(db, teacher, Job(lambda _: FAULT), max_faults=20)
    with pytest.raises(WorkerBrokenError, match="device_fault: CUDA error") as raised:
        loop.run()
    assert "--max-faults 0" in str(raised.value)
    assert statuses(db, teacher) == {"pending": 40}
    assert attempts(db) == {"pending": {0}}
    assert number(db, "SELECT count(*) FROM label_task WHERE error_code IS NOT NULL") == 0
    assert number(db, ALIVE) == 0


def test_refusals_do_not_stop_a_worker(db: Database) -> None:
    teacher = tasks_of_teacher(db, 40)
    assert loop_of(db, teacher, Job(lambda _: REFUSAL), max_faults=20).run().failed == 40
    assert statuses(db, teacher) == {"failed": 40}


def test_fewer_faults_than_the_limit_are_the_tasks_own(db: Database) -> None:
    teacher = tasks_of_teacher(db, 12)
    lasting = type(FAULT)("teacher_error", "no", retry=False, suspicious=True)
    assert loop_of(db, teacher, Job(lambda _: lasting), max_faults=20).run().failed == 12
    assert statuses(db, teacher) == {"failed": 12}


def test_faults_among_successes_are_stored_and_do_not_add_up(db: Database) -> None:
    teacher = tasks_of_teacher(db, 40)
    lasting = type(FAULT)("teacher_error", "no", retry=False, suspicious=True)
    turns = iter(range(40))
    job = Job(lambda _: -1.0 if next(turns) % 10 == 9 else lasting, first_batch=1)
    counters = loop_of(db, teacher, job, max_faults=12).run()
    assert (counters.done, counters.failed) == (4, 36)


def test_any_number_of_faults_may_be_allowed(db: Database) -> None:
    teacher = tasks_of_teacher(db, 40)
    lasting = type(FAULT)("teacher_error", "no", retry=False, suspicious=True)
    assert loop_of(db, teacher, Job(lambda _: lasting), max_faults=0).run().failed == 40


BUSY = """
import ctypes, sys, time
from mlffdb_workers.signals import watch_signals
watch_signals(lambda: print("asked to stop", flush=True))
print("computing", flush=True)
while True:
    ctypes.CDLL(None).sleep(60)  # as a library does: no Python in the main thread
"""


def test_signals_are_heard_while_a_library_computes_and_the_second_ends_it() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "computing\n"
        time.sleep(0.2)  # it is in the library
        started = time.monotonic()
        busy.send_signal(signal.SIGTERM)
        assert busy.stdout.readline() == "asked to stop\n"
        busy.send_signal(signal.SIGTERM)  # an echo of the first
        assert busy.stdout.readline() == "asked to stop\n"
        time.sleep(0.4)
        assert busy.poll() is None
        busy.send_signal(signal.SIGINT)
        assert busy.wait(timeout=20) == 128 + signal.SIGINT
        assert time.monotonic() - started < 10
