"""What workers that wait for tasks cost the server.

Real loops with `--follow` on a queue of finished tasks, each with its own connection, as threads
of a few processes. Of the server: share of one core (all its processes, from /proc), transactions
per second (pg_stat_database), and memory (proportional set size). Without a Linux /proc, or as a
user who may not read the server's, memory is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks._queue_tables import add_structures, add_teacher, execute, settle
from mlffdb.config import Settings
from mlffdb.pipeline import setup
from mlffdb.store import labels, workers
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from mlffdb.store.queue import LABEL_TASKS, Queue

WORKERS = 300
PROCESSES = 3
TICK = os.sysconf("SC_CLK_TCK")


class Nothing:
    """A job that never gets a task."""

    first_batch = 64

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def budget(self) -> None:
        """Return that nothing was learned."""

    def prepare(self, claims: Sequence[Any]) -> Any:
        """Refuse: there is nothing to do."""
        raise AssertionError(claims)

    compute = flaw = write = prepare


def run(*, quick: bool = False) -> list[dict[str, Any]]:
    """Measure the server alone, and with workers that wait."""
    seconds, tasks = (5, 1000) if quick else (60, 100_000)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "data", settings={"max_connections": "400"})
        server.start()
        try:
            with Database(Settings(data_dir=Path(folder) / "data")) as database:
                teacher = _finished_queue(database, tasks)
                return [
                    _measured(database, server, count, teacher, seconds)
                    for count in ((0, 30) if quick else (0, WORKERS // 3, WORKERS))
                ]
        finally:
            server.stop()


def _finished_queue(database: Database, tasks: int) -> int:
    """Return a teacher all of whose tasks are done."""
    setup.prepare(database)
    add_structures(database, tasks)
    teacher = add_teacher(database, "idle")
    with database.begin() as connection:
        labels.enqueue(connection, teacher)
    execute(database, "UPDATE label_task SET status = 'done'")
    settle(database, "label_task", "structure")
    return teacher


def _measured(
    database: Database, server: EmbeddedServer, count: int, teacher: int, seconds: float
) -> dict[str, Any]:
    with _waiting(database, count, teacher):
        time.sleep(5 if count < WORKERS else 15)  # until they ask as rarely as they will
        before, started = _look(database, server), time.monotonic()
        time.sleep(seconds)
        after, passed = _look(database, server), time.monotonic() - started
    return {
        "workers": count,
        "connections": after["connections"],
        "core %": round(100 * (after["cpu"] - before["cpu"]) / passed, 2),
        "transactions/s": round((after["transactions"] - before["transactions"]) / passed, 1),
        "memory MiB": after["memory"] and round(after["memory"] / 2**20),
        "seconds": round(passed),
    }


@contextmanager
def _waiting(database: Database, count: int, teacher: int) -> Iterator[None]:
    """Let *count* workers wait for tasks meanwhile."""
    each = count // PROCESSES
    folder = str(database.settings.data_dir)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.idle", folder, str(teacher), str(each)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(PROCESSES if each else 0)
    ]  # fmt: skip
    try:
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        yield
    finally:
        for process in started:
            process.communicate()  # its input ends, and so does it


def wait_for_tasks(folder: str, teacher: int, count: int) -> None:
    """Be *count* workers that wait for tasks, until standard input ends."""
    from mlffdb_workers.loop import WorkLoop
    from mlffdb_workers.state import LoopOptions

    loops, threads = [], []
    for _ in range(count):
        worker = uuid4()
        database = Database(Settings(data_dir=Path(folder)))
        with database.begin() as connection:
            workers.register(connection, worker, kind="label", device="cpu", teacher_id=teacher)
        job: Any = Nothing(Queue(LABEL_TASKS, teacher, worker))
        loops.append(WorkLoop(database, job, worker, options=LoopOptions(follow=True)))
        threads.append(threading.Thread(target=loops[-1].run))
        threads[-1].start()
    print("waiting", flush=True)
    sys.stdin.read()
    for loop in loops:
        loop.stop()
    for thread in threads:
        thread.join()


def _look(database: Database, server: EmbeddedServer) -> dict[str, Any]:
    """Return what the server has used so far."""
    (row,) = execute(
        database,
        "SELECT xact_commit + xact_rollback, (SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid())"
        " FROM pg_stat_database WHERE datname = current_database()",
    )
    postmaster = int((server.cluster / "postmaster.pid").read_text().splitlines()[0])
    family = [postmaster, *_children(postmaster)]
    return {
        "transactions": row[0],
        "connections": row[1],
        "cpu": sum(map(_cpu, family)) + _cpu_of_ended_children(postmaster),
        "memory": sum(map(_memory, family)) or None,
    }


def _children(pid: int) -> list[int]:
    return [int(child) for child in _read(pid, f"task/{pid}/children").split()]


def _cpu(pid: int) -> float:
    """Return the CPU time of a process, s; 0 if it has ended."""
    return int(_read(pid, "schedstat").partition(" ")[0] or 0) / 1e9


def _cpu_of_ended_children(pid: int) -> float:
    user, system = _read(pid, "stat").rpartition(")")[2].split()[13:15]
    return (int(user) + int(system)) / TICK


def _memory(pid: int) -> int:
    """Return the proportional set size of a process, bytes; 0 if it has ended."""
    lines = _read(pid, "smaps_rollup").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _read(pid: int, name: str) -> str:
    """Return a file of /proc; nothing if the process has ended meanwhile or is another's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    except OSError:
        return ""


if __name__ == "__main__":
    wait_for_tasks(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
