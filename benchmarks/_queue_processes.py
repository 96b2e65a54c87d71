"""One process of a queue under measurement; `drain` starts several and adds up what they say.

Each says that it is ready, waits for its start, works until the queue is empty (or its time is
over), and prints how many tasks it completed, when the last was, and how long its claims took.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg2
from pydantic import SecretStr
from sqlalchemy import make_url

from mlffdb.config import Settings
from mlffdb.store import labels, runs
from mlffdb.store.database import Database, libpq
from mlffdb.store.labels import LabelRow
from mlffdb.store.queue import LABEL_TASKS, Queue

BATCH = 64
RUNAWAY = 600.0  # s


@dataclass(slots=True)
class Drained:
    """What processes did together, or one of them."""

    done: int = 0
    seconds: float = 0.0
    #: Processor time of the clients and of the whole server, s.
    client: float = 0.0
    server: float = 0.0
    #: Seconds since the start and length in seconds of each claim.
    claims: list[tuple[float, float]] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Tasks per second."""
        return self.done / self.seconds


def drain(
    contender: str, url: str, processes: int, *, server: int, batch: int = BATCH, scope: int = 0
) -> Drained:
    """Let *processes* empty a queue; time counts from the common start to the last completion.

    server: process id of the server's first process
    """
    command = [sys.executable, "-m", __name__, contender, str(batch), str(scope)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "QUEUE_URL": url}
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(processes)
    ]
    try:
        for process in started:
            if _pipe(process.stdout).readline() != "ready\n":
                raise RuntimeError(f"a process of {contender} did not start")
        begin, before = time.monotonic(), _server_seconds(server)
        for process in started:
            print(begin, file=_pipe(process.stdin), flush=True)
        said = [json.loads(process.communicate(timeout=RUNAWAY)[0]) for process in started]
    finally:
        for process in started:
            process.kill()
    return Drained(
        sum(one["done"] for one in said),
        max(one["seconds"] for one in said),
        sum(one["client"] for one in said),
        _server_seconds(server) - before,
        [tuple(claim) for one in said for claim in one["claims"]],
    )


def _server_seconds(pid: int) -> float:
    """Return the processor time of process *pid*, its children and those that have ended, s."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(folder.name) == pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _pipe(pipe: Any) -> Any:
    assert pipe is not None
    return pipe


#: Processor time of this process when its measurement began, s.
_started = [0.0]


def _begin() -> float:
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    _started[0] = time.process_time()
    return begin


def ours(url: str, batch: int, teacher_id: int) -> Drained:
    """The product: claims with their structures, labels with forces."""
    result = Drained()
    random = np.random.default_rng(0)
    forces = random.normal(size=(64, 3)).astype(np.float32)
    queue = Queue(LABEL_TASKS, teacher_id, uuid4())
    with (
        Database(Settings(database_url=SecretStr(url))) as database,
        database.autocommit() as connection,
    ):
        run = runs.start(database, "label").run_id
        begin = _begin()
        while True:
            started = time.monotonic()
            claims = queue.claim(connection, batch)
            result.claims.append((started - begin, time.monotonic() - started))
            if not claims:
                return result
            rows = [
                LabelRow(one, n, -38.1 * n, forces[:n], None, None, None, 0, None, batch, 0.001, {})
                for one in claims
                for n in [len(one.row[0])]
            ]
            written = labels.complete(connection, queue, rows, run_id=run, device="cpu")
            result.done += len(written)
            result.seconds = time.monotonic() - begin


_BARE_CLAIM = """
WITH c AS (
    UPDATE bare_task SET status = 'running', attempts = attempts + 1, worker_id = %(worker)s::uuid,
        lease_expires_at = clock_timestamp() + interval '2 minutes', updated_at = now()
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM bare_task WHERE teacher_id = %(teacher)s AND status = 'pending'
            AND (priority, cost, structure_id)
                > (%(priority)s::smallint, %(cost)s::real, %(key)s::uuid)
        ORDER BY priority, cost, structure_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED))
    RETURNING structure_id, attempts, priority, cost
)
SELECT c.structure_id, c.attempts, c.priority, c.cost, s.n_atoms, s.numbers, s.positions
FROM c JOIN structure s USING (structure_id) ORDER BY c.priority, c.cost, c.structure_id"""

_BARE_COMPLETE = """
WITH mine AS (
    UPDATE bare_task q SET status = 'done', lease_expires_at = NULL, error_code = NULL,
        error = NULL, updated_at = now()
    FROM unnest(%(key)s::uuid[], %(attempt)s::smallint[], %(n)s::integer[], %(energy)s::float8[],
        %(place)s::integer[], %(force_max)s::real[], %(charge)s::smallint[],
        %(multiplicity)s::smallint[], %(size)s::integer[], %(wall)s::real[])
        AS i(key, attempt, n, energy, place, force_max, charge, multiplicity, size, wall)
    WHERE q.teacher_id = %(teacher)s AND q.structure_id = i.key AND q.attempts = i.attempt
        AND q.worker_id = %(worker)s::uuid AND q.lease_expires_at IS NOT NULL
    RETURNING i.*
)
INSERT INTO bare_label (structure_id, teacher_id, n_atoms, energy, forces, force_max, charge,
    multiplicity, batch_size, wall_seconds, worker_id, device)
SELECT key, %(teacher)s, n, energy, substr(%(forces)s::bytea, place, 12 * n), force_max, charge,
    multiplicity, size, wall, %(worker)s::uuid, 'cpu' FROM mine"""


def bare(url: str, batch: int, teacher_id: int) -> Drained:
    """The same two statements by the driver alone, on tables without foreign keys and checks."""
    result = Drained()
    forces = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    connection = psycopg2.connect(**libpq(make_url(url)))
    connection.autocommit = True
    same = {"worker": str(uuid4()), "teacher": teacher_id, "batch": batch}
    last: tuple[Any, ...] = (-1, 0, "00000000-0000-0000-0000-000000000000")
    with connection.cursor() as cursor:
        begin = _begin()
        while True:
            started = time.monotonic()
            place = dict(zip(("priority", "cost", "key"), last, strict=True))
            cursor.execute(_BARE_CLAIM, {**same, **place})
            rows = cursor.fetchall()
            result.claims.append((started - begin, time.monotonic() - started))
            if not rows:
                connection.close()
                return result
            last = (rows[-1][2], rows[-1][3], rows[-1][0])
            sizes = [row[4] for row in rows]
            starts = [1 + 12 * sum(sizes[:i]) for i in range(len(sizes))]
            computed = [forces[:n] for n in sizes]
            columns = {
                "key": [row[0] for row in rows],
                "attempt": [row[1] for row in rows],
                "n": sizes,
                "energy": [-38.1 * n for n in sizes],
                "place": starts,
                "force_max": [np.sqrt((one**2).sum(1)).max() for one in computed],
                "charge": [0] * len(rows),
                "multiplicity": ["NULL"] * len(rows),
                "size": [batch] * len(rows),
                "wall": [0.001] * len(rows),
            }
            arrays = {name: f"{{{','.join(map(str, all_))}}}" for name, all_ in columns.items()}
            blob = b"".join(one.tobytes() for one in computed)
            cursor.execute(_BARE_COMPLETE, {**same, **arrays, "forces": blob})
            result.done += cursor.rowcount
            result.seconds = time.monotonic() - begin


def pgqueuer(url: str, batch: int, _: int) -> Drained:
    """pgqueuer's own worker with jobs that do nothing and leave no result."""
    return asyncio.run(_pgqueuer(url, batch))


async def _pgqueuer(url: str, batch: int) -> Drained:
    import asyncpg
    from pgqueuer import AsyncpgDriver, PgQueuer
    from pgqueuer.domain.types import QueueExecutionMode

    result = Drained()
    connection = await asyncpg.connect(**asyncpg_arguments(url))
    queue = PgQueuer(AsyncpgDriver(connection))

    @queue.entrypoint("nothing")
    async def nothing(_: Any) -> None:
        result.done += 1
        result.seconds = time.monotonic() - begin

    begin = _begin()
    await queue.run(
        dequeue_timeout=timedelta(seconds=1), batch_size=batch, mode=QueueExecutionMode.drain
    )
    return result


def asyncpg_arguments(url: str) -> dict[str, Any]:
    """Return *url* as keyword arguments of asyncpg.connect."""
    names = {"dbname": "database", "host": "host", "port": "port", "user": "user",
             "password": "password"}  # fmt: skip
    return {names[name]: value for name, value in libpq(make_url(url)).items() if name in names}


def procrastinate(url: str, batch: int, _: int) -> Drained:
    """procrastinate's own worker, *batch* jobs at a time, jobs that do nothing."""
    return asyncio.run(_procrastinate(url, batch))


async def _procrastinate(url: str, batch: int) -> Drained:
    import procrastinate as package

    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # of where the app is made

    result = Drained()
    app = package.App(connector=package.PsycopgConnector(kwargs=libpq(make_url(url))))

    @app.task(name="nothing")
    async def nothing() -> None:
        result.done += 1
        result.seconds = time.monotonic() - begin

    async with app.open_async():
        begin = _begin()
        await app.run_worker_async(
            wait=False, concurrency=batch, listen_notify=False, install_signal_handlers=False
        )
    return result


CONTENDERS: dict[str, Callable[[str, int, int], Drained]] = {
    "ours": ours,
    "bare": bare,
    "pgqueuer": pgqueuer,
    "procrastinate": procrastinate,
}


def _main() -> None:
    name, batch, scope = sys.argv[1:4]
    result = CONTENDERS[name](os.environ["QUEUE_URL"], int(batch), int(scope))
    result.client = time.process_time() - _started[0]
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    _main()
