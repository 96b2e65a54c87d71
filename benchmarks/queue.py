"""The queue: claim and complete with results against other queues, and claims when it is large.

`python -m benchmarks queue` measures the first at 100,000 tasks and the second at 100,000 and
200,000; `python -m benchmarks.queue drain|latency|enqueue --rows N` measure one of them at any
size.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from sqlalchemy import make_url

from benchmarks import _queue_tables as tables
from benchmarks._queue_processes import BATCH, Drained, asyncpg_arguments, drain
from mlffdb.config import Settings
from mlffdb.store import labels, migrate
from mlffdb.store.database import Database, libpq
from mlffdb.store.queue import LABEL_TASKS, Queue
from mlffdb_cli.output import print_json, print_rows

PROCESSES = 4
OURS = f"mlffdb, batch {BATCH}"
#: Batches of pgqueuer that are tried; the best counts.
PGQUEUER_BATCHES = (100, 500)
#: procrastinate is slow: so many of its jobs in a run.
PROCRASTINATE_JOBS = 1500

Row = dict[str, Any]


def run(quick: bool = False) -> list[Row]:
    """Return the rows of `drain` and `latency`; *quick* takes a twentieth of the tasks."""
    rows, rounds = (5_000, 1) if quick else (100_000, 3)
    return [*measure_drain(rows, rounds), *measure_latency(rows, 2 * rows, rounds)]


# ---- claim and complete with results ----


def measure_drain(rows: int, rounds: int) -> list[Row]:
    """Let each contender empty a queue of *rows*, in turns; medians of *rounds*."""
    found: dict[str, list[Drained]] = {}
    with _server() as database:
        tables.add_structures(database, rows)
        tables.execute(database, tables.BARE)
        contenders = _contenders(database, rows)
        for number in range(rounds):
            for name, contend in contenders.items():
                found.setdefault(name, []).append(contend(number))
    return [_compared(name, them, found[OURS]) for name, them in found.items()]


def _compared(name: str, them: list[Drained], ours: list[Drained]) -> Row:
    """Return medians, and the medians of the ratios within a round: machines change their speed."""
    row: Row = {
        "what": f"claim and complete, {name}",
        "tasks": them[0].done,
        "per_second": round(statistics.median(one.per_second for one in them)),
        "client_us": round(statistics.median(1e6 * one.client / one.done for one in them), 1),
        "server_us": round(statistics.median(1e6 * one.server / one.done for one in them), 1),
    }
    if name != OURS:
        pairs = list(zip(ours, them, strict=True))
        row["rate_of_it"] = round(
            statistics.median(we.per_second / it.per_second for we, it in pairs), 2
        )
        row["per_cpu_of_it"] = round(
            statistics.median(
                ((it.client + it.server) / it.done) / ((we.client + we.server) / we.done)
                for we, it in pairs
            ),
            2,
        )
    return row


def _contenders(database: Database, rows: int) -> dict[str, Callable[[int], Drained]]:
    """Return what fills and empties each queue that is installed, by name."""
    url = database.url.render_as_string(hide_password=False)

    def ours(number: int) -> Drained:
        teacher = _enqueue(database, f"round {number}")
        tables.settle(database, "label_task", "label")
        return _drain(database, "ours", scope=teacher)

    def bare(number: int) -> Drained:
        teacher = _enqueue(database, f"bare round {number}")
        tables.add_bare_tasks(database, teacher)
        tables.execute(database, f"DELETE FROM label_task WHERE teacher_id = {teacher}")
        tables.settle(database, "bare_task", "bare_label", "label_task")
        return _drain(database, "bare", scope=teacher)

    found = {OURS: ours, f"bare prototype, batch {BATCH}": bare}
    if find_spec("pgqueuer") and find_spec("asyncpg"):
        asyncio.run(_install_pgqueuer(url))
        for size in PGQUEUER_BATCHES:
            found[f"pgqueuer without results, batch {size}"] = _pgqueuer(database, url, rows, size)
    if find_spec("procrastinate"):
        _install_procrastinate(url)
        found["procrastinate without results"] = _procrastinate(database, rows)
    return found


def _drain(database: Database, contender: str, *, batch: int = BATCH, scope: int = 0) -> Drained:
    url = database.url.render_as_string(hide_password=False)
    file = next(Path(database.settings.data_dir).rglob("postmaster.pid"))
    server = int(file.read_text().split()[0])
    return drain(contender, url, PROCESSES, server=server, batch=batch, scope=scope)


def _enqueue(database: Database, name: str) -> int:
    teacher = tables.add_teacher(database, name)
    with database.begin() as connection:
        labels.enqueue(connection, teacher)
    return teacher


async def _install_pgqueuer(url: str) -> None:
    import asyncpg
    from pgqueuer import AsyncpgDriver, Queries

    connection = await asyncpg.connect(**asyncpg_arguments(url))
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


def _pgqueuer(database: Database, url: str, rows: int, batch: int) -> Callable[[int], Drained]:
    async def fill() -> None:
        import asyncpg
        from pgqueuer import AsyncpgDriver, Queries

        connection = await asyncpg.connect(**asyncpg_arguments(url))
        await connection.execute("TRUNCATE pgqueuer, pgqueuer_log")
        queries = Queries(AsyncpgDriver(connection))
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            await queries.enqueue(["nothing"] * count, [None] * count, [0] * count)
        await connection.close()

    def contend(_: int) -> Drained:
        asyncio.run(fill())
        tables.settle(database, "pgqueuer")
        return _drain(database, "pgqueuer", batch=batch)

    return contend


def _install_procrastinate(url: str) -> None:
    import procrastinate

    app = procrastinate.App(
        connector=procrastinate.SyncPsycopgConnector(kwargs=libpq(make_url(url)))
    )
    with app.open():
        app.schema_manager.apply_schema()


def _procrastinate(database: Database, rows: int) -> Callable[[int], Drained]:
    def contend(_: int) -> Drained:
        tables.execute(
            database,
            "TRUNCATE procrastinate_jobs CASCADE",
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) SELECT 'default',"
            f" 'nothing', '{{}}' FROM generate_series(1, {min(rows, PROCRASTINATE_JOBS)})",
        )
        tables.settle(database, "procrastinate_jobs")
        return _drain(database, "procrastinate", batch=10)

    return contend


# ---- claims of a large queue ----


def measure_latency(small: int, large: int, rounds: int) -> list[Row]:
    """Compare claims from full to empty at two sizes, also while a reader holds a snapshot."""
    found: dict[tuple[int, bool], list[dict[str, float]]] = {}
    for size in (small, large):
        with _server() as database:
            tables.add_structures(database, size)
            for number in range(rounds):
                for held in (False, True):
                    latencies = _claims(database, f"round {number} {held}", held=held)
                    found.setdefault((size, held), []).append(latencies)
    median = {
        key: {name: statistics.median(one[name] for one in runs) for name in runs[0]}
        for key, runs in found.items()
    }
    return [
        {
            "what": "claim, a snapshot held open" if held else "claim",
            "tasks": size,
            **{name: round(value, 2) for name, value in values.items()},
            "median_of_small": round(values["median_ms"] / median[small, held]["median_ms"], 2),
            "p99_of_small": round(values["p99_ms"] / median[small, held]["p99_ms"], 2),
        }
        for (size, held), values in median.items()
    ]


def _claims(database: Database, name: str, *, held: bool) -> dict[str, float]:
    """Drain a queue and return how long claims took, ms, also in the first and last tenth."""
    teacher = _enqueue(database, name)
    tables.settle(database, "label_task", "label")
    reader = database.raw()
    if held:
        reader.set_session(isolation_level="REPEATABLE READ")
        reader.cursor().execute("SELECT count(*) FROM teacher")
    try:
        drained = _drain(database, "ours", scope=teacher)
    finally:
        reader.close()
    taken = [1e3 * seconds for _, seconds in sorted(drained.claims)[:-PROCESSES]]
    tenth = max(1, len(taken) // 10)
    return {
        "median_ms": statistics.median(taken),
        "p99_ms": statistics.quantiles(taken, n=100)[98],
        "first_tenth_ms": statistics.median(taken[:tenth]),
        "last_tenth_ms": statistics.median(taken[-tenth:]),
        "per_second": drained.per_second,
    }


# ---- a queue of millions ----


def measure_enqueue(rows: int) -> list[Row]:
    """Enqueue *rows* tasks for as many structures of one atom; time, size on disk, claims."""
    with _server() as database:
        started = time.perf_counter()
        tables.add_structures(database, rows, smallest=1, largest=1)
        filled = time.perf_counter()
        tables.settle(database, "structure", "verdict")
        began = time.perf_counter()
        teacher = _enqueue(database, "large")
        seconds = time.perf_counter() - began
        tables.settle(database, "label_task")
        size = tables.execute(
            database,
            "SELECT pg_table_size('label_task'), pg_indexes_size('label_task'),"
            " pg_total_relation_size('structure'), pg_total_relation_size('verdict')",
        )[0]
        claims = _some_claims(database, teacher)
    names = ("tasks_mb", "task_indexes_mb", "structures_mb", "verdicts_mb")
    return [
        {
            "what": "enqueue",
            "tasks": rows,
            "seconds": round(seconds, 1),
            "per_second": round(rows / seconds),
            **{name: round(value / 1e6) for name, value in zip(names, size, strict=True)},
            "claim_median_ms": round(1e3 * statistics.median(claims), 2),
            "claim_p99_ms": round(1e3 * statistics.quantiles(claims, n=100)[98], 2),
            "structures_seconds": round(filled - started, 1),
        }
    ]


def _some_claims(database: Database, teacher: int, count: int = 500) -> list[float]:
    queue = Queue(LABEL_TASKS, teacher, uuid4())
    taken = []
    with database.autocommit() as connection:
        for _ in range(count):
            started = time.perf_counter()
            claimed = queue.claim(connection, BATCH)
            taken.append(time.perf_counter() - started)
            if len(claimed) < BATCH:
                break
    return taken


# ---- around ----


@contextmanager
def _server() -> Iterator[Database]:
    """Give a migrated database on a server of its own with the settings that users get."""
    with tempfile.TemporaryDirectory(prefix="mlffdb-bench-", dir="/tmp") as name:
        Path(name).chmod(0o755)  # a server started by root runs as another user
        with Database(Settings(data_dir=Path(name) / "data")) as database:
            try:
                migrate.upgrade(database)
                yield database
            finally:
                database.close()
                database.server.stop()


@click.command()
@click.argument("part", type=click.Choice(["drain", "latency", "enqueue"]))
@click.option("--rows", default=1_000_000, show_default=True, help="Tasks.")
@click.option("--rounds", default=5, show_default=True, help="Runs of which the median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(part: str, rows: int, rounds: int, as_json: bool) -> None:
    """Measure one part of the queue at any size.

    \b
    Example:
      python -m benchmarks.queue latency --rows 1000000
    """
    if part == "drain":
        found = measure_drain(rows, rounds)
    elif part == "latency":
        found = measure_latency(rows // 10, rows, rounds)
    else:
        found = measure_enqueue(rows)
    if as_json:
        print_json(found)
    else:
        columns = list(dict.fromkeys(key for row in found for key in row))
        print_rows(columns, [[row.get(name) for name in columns] for row in found])


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.queue")
