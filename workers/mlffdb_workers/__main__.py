"""One worker process: `python -m mlffdb_workers label|sample …`, started by the supervisor.

It loads what it needs, says ``{"ready": …}`` on standard output, and starts when it reads a line.
Afterwards it says ``{"alive": …}`` and its counts now and then. When it reads another line, or
standard input ends since the supervisor is gone, it stops as after SIGTERM. SIGTERM and SIGINT:
finish the batch at hand if the grace allows, give back the rest, exit 0; a second signal exits at
once. The supervisor asks by a line, so that a signal to the whole group of processes counts once.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import click

from mlffdb.config import load_settings
from mlffdb.errors import DatabaseError, MlffdbError
from mlffdb.store import workers
from mlffdb.store.database import Database
from mlffdb.store.queue import LABEL_TASKS, LEASE_SECONDS, SAMPLE_TASKS, Queue, TaskTable
from mlffdb_workers.breaker import MAX_FAULTS, WorkerBrokenError
from mlffdb_workers.job import Counters, Job
from mlffdb_workers.loop import WorkLoop
from mlffdb_workers.observer import timed
from mlffdb_workers.signals import watch_signals
from mlffdb_workers.state import GRACE_SECONDS, HANG_SECONDS, LoopOptions
from mlffdb_workers.telemetry import Observing, worker_telemetry

ALIVE_SECONDS = 5.0
#: When this process came to itself, monotonic s.
BORN = time.monotonic()


@click.group()
def main() -> None:
    """Run one worker process."""


def _loop_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the loop."""
    for name, kind, default in (
        ("--lease", float, LEASE_SECONDS),
        ("--grace", float, GRACE_SECONDS),
        ("--hang", float, HANG_SECONDS),
        ("--max-faults", int, MAX_FAULTS),
    ):
        command = click.option(name, type=kind, default=default)(command)
    command = click.option("--telemetry", default="", help="See telemetry.Telemetry.")(command)
    return click.option("--follow", is_flag=True)(command)


@main.command()
@click.option("--teacher", required=True)
@click.option("--device", required=True)
@click.option("--device-name", help="What labels say the device is; --device if not given.")
@click.option("--run-id", type=int, required=True)
@_loop_options
def label(
    teacher: str,
    device: str,
    device_name: str | None,
    run_id: int,
    lease: float,
    telemetry: str,
    **options: Any,
) -> None:
    """Label structures by a teacher."""
    from mlffdb.pipeline.teachers import load_teacher, teacher_row
    from mlffdb.store import labels
    from mlffdb_workers.label import LabelJob

    with _reporting_errors(), worker_telemetry(telemetry) as observing:
        settings = load_settings()
        loaded = load_teacher(teacher, device=device, settings=settings)
        database = Database(settings, ping=False)
        with database.begin() as connection:
            teacher_id = labels.register_teacher(connection, teacher_row(loaded))
            name = device_name or loaded.device
            learned = workers.learned_budget(connection, teacher_id, name)
        if learned is not None:
            loaded.recall(learned)

        def job(queue: Queue) -> Job:
            return LabelJob(queue, loaded, run_id, device=name)

        try:
            _work(
                database,
                LABEL_TASKS,
                teacher_id,
                job,
                kind="label",
                device=name,
                run_id=run_id,
                teacher_id=teacher_id,
                lease=lease,
                options=LoopOptions(**options),
                observing=observing,
                teacher=teacher,
            )
        finally:
            loaded.close()


@main.command()
@click.option("--run-id", type=int, required=True)
@click.option("--device", default="cpu")
@_loop_options
def sample(run_id: int, device: str, lease: float, telemetry: str, **options: Any) -> None:
    """Sample the plan that a run was started with."""
    from mlffdb.pipeline.sampling import plan_of_run
    from mlffdb.sampling.engines import EngineCache
    from mlffdb_workers.sample import SampleJob

    with _reporting_errors(), worker_telemetry(telemetry) as observing:
        settings = load_settings()
        database = Database(settings, ping=False)
        plan = plan_of_run(database, run_id)
        engines = EngineCache(settings, device)

        def job(queue: Queue) -> Job:
            return SampleJob(queue, plan, engines, run_id)

        _work(
            database,
            SAMPLE_TASKS,
            plan.sampling_digest,
            job,
            kind="sample",
            device=device,
            run_id=run_id,
            teacher_id=None,
            lease=lease,
            options=LoopOptions(**options),
            observing=observing,
            plan=plan.name,
        )


def _work(
    database: Database,
    table: TaskTable,
    scope: int | str,
    make_job: Callable[[Queue], Job],
    *,
    kind: str,
    device: str,
    run_id: int,
    teacher_id: int | None,
    lease: float,
    options: LoopOptions,
    observing: Observing,
    teacher: str | None = None,
    plan: str | None = None,
) -> None:
    worker_id = uuid4()
    queue = Queue(table, scope, worker_id, lease_seconds=lease)

    def leave(status: int) -> None:
        _say_counts(loop.counters)
        os._exit(status)

    facts = {"worker": str(worker_id), "kind": kind, "device": device, "run": run_id,
             "teacher": teacher, "plan": plan}  # fmt: skip
    with observing(facts) as observer:
        loop = WorkLoop(
            database,
            make_job(queue),
            worker_id,
            options=options,
            observer=observer,
            leave=leave,
            alive=_Alive(lambda: loop.counters),
        )
        watch_signals(loop.stop)
        observer.phase("load", BORN, time.monotonic(), {})
        _say({"ready": teacher_id})
        with timed(observer, "wait"):
            told = _told_to_start(loop)
        if not told:
            return
        threading.Thread(target=_stop_when_told, args=(loop,), daemon=True).start()
        _register(database, worker_id, kind, device, run_id, teacher_id)
        try:
            loop.run()
        finally:
            _say_counts(loop.counters)
    database.close()


def _told_to_start(loop: WorkLoop) -> bool:
    """Wait for the supervisor's word; False if it is gone, or a signal came first."""
    while not loop.stopping:
        if select.select([sys.stdin], [], [], 0.5)[0]:
            return sys.stdin.readline().strip() == "go"
    return False


def _register(
    database: Database,
    worker_id: UUID,
    kind: str,
    device: str,
    run_id: int,
    teacher_id: int | None,
) -> None:
    with database.begin() as connection:
        workers.register(
            connection,
            worker_id,
            kind=kind,
            device=device,
            run_id=run_id,
            teacher_id=teacher_id,
        )


def _stop_when_told(loop: WorkLoop) -> None:
    """Stop when the supervisor asks by a line, or is gone."""
    sys.stdin.readline()
    loop.stop()


class _Alive:
    """Tells the supervisor now and then that this process is not stuck as a whole.

    And how much it did so far, the first of it at once: it may be killed.
    """

    def __init__(self, counters: Callable[[], Counters]) -> None:
        self._counters = counters
        self._next = 0.0
        self._done = 0

    def __call__(self) -> None:
        now = time.monotonic()
        done = self._counters().done
        if now >= self._next or (done and not self._done):
            self._next, self._done = now + ALIVE_SECONDS, done
            _say({"alive": round(now)})
            _say_counts(self._counters())


def _say_counts(counters: Counters) -> None:
    _say({"done": counters.done, "failed": counters.failed, "late": counters.late})


def _say(message: dict[str, object]) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone; seen by standard input
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


class _reporting_errors:  # noqa: N801 - reads as a statement
    """Send an error that the user can mend to the supervisor, which prints it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, MlffdbError):
            return
        away = isinstance(error, DatabaseError)
        broken = isinstance(error, WorkerBrokenError)
        _say({"error": str(error), "exit_code": error.exit_code, "away": away, "broken": broken})
        sys.stdout.flush()
        os._exit(error.exit_code)


if __name__ == "__main__":
    main()
