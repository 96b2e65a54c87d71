"""One worker process: `python -m mlffdb_workers label|sample …`, started by the supervisor.

It loads what it needs, says ``{"ready": …}`` on standard output, and starts when it reads a line;
when standard input ends the supervisor is gone, and it stops as after SIGTERM. SIGTERM and SIGINT:
finish the batch at hand, give back the rest, exit 0; a second one exits at once.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
from types import FrameType
from uuid import UUID, uuid4

import click

from mlffdb.config import load_settings
from mlffdb.errors import DatabaseError, MlffdbError
from mlffdb.store import workers
from mlffdb.store.database import Database
from mlffdb.store.queue import LABEL_TASKS, LEASE_SECONDS, SAMPLE_TASKS, Queue, TaskTable
from mlffdb_workers.loop import Job, WorkLoop


@click.group()
@click.option("--log-level", default="WARNING")
def main(log_level: str) -> None:
    """Run one worker process."""
    logging.basicConfig(level=log_level, format="%(asctime)s %(process)d %(message)s")


@main.command()
@click.option("--teacher", required=True)
@click.option("--device", required=True)
@click.option("--run-id", type=int, required=True)
@click.option("--lease", type=float, default=LEASE_SECONDS)
@click.option("--follow", is_flag=True)
def label(teacher: str, device: str, run_id: int, lease: float, follow: bool) -> None:
    """Label structures by a teacher."""
    from mlffdb.pipeline.teachers import load_teacher, teacher_row
    from mlffdb.store import labels
    from mlffdb_workers.label import LabelJob

    with _reporting_errors():
        settings = load_settings()
        loaded = load_teacher(teacher, device=device, settings=settings)
        database = Database(settings)
        with database.begin() as connection:
            teacher_id = labels.register_teacher(connection, teacher_row(loaded))
            learned = workers.learned_budget(connection, teacher_id, loaded.device)
        if learned is not None:
            loaded.budget = min(loaded.budget, learned)

        def job(queue: Queue) -> Job:
            return LabelJob(queue, loaded, run_id)

        try:
            _work(
                database,
                LABEL_TASKS,
                teacher_id,
                job,
                kind="label",
                device=loaded.device,
                run_id=run_id,
                teacher_id=teacher_id,
                lease=lease,
                follow=follow,
            )
        finally:
            loaded.close()


@main.command()
@click.option("--run-id", type=int, required=True)
@click.option("--device", default="cpu")
@click.option("--lease", type=float, default=LEASE_SECONDS)
def sample(run_id: int, device: str, lease: float) -> None:
    """Sample the plan that a run was started with."""
    from mlffdb.pipeline.sampling import plan_of_run
    from mlffdb.sampling.engines import EngineCache
    from mlffdb_workers.sample import SampleJob

    with _reporting_errors():
        settings = load_settings()
        database = Database(settings)
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
            follow=False,
        )


def _work(
    database: Database,
    table: TaskTable,
    scope: int | str,
    make_job: object,
    *,
    kind: str,
    device: str,
    run_id: int,
    teacher_id: int | None,
    lease: float,
    follow: bool,
) -> None:
    worker_id = uuid4()
    queue = Queue(table, scope, worker_id, lease_seconds=lease)
    loop = WorkLoop(database, make_job(queue), worker_id, follow=follow)  # type: ignore[operator]
    _stop_on_signals(loop)
    _say({"ready": teacher_id})
    if not _told_to_start(loop):
        return
    threading.Thread(target=_stop_when_alone, args=(loop,), daemon=True).start()
    _register(database, worker_id, kind, device, run_id, teacher_id)
    counters = loop.run()
    database.close()
    _say({"done": counters.done, "failed": counters.failed, "late": counters.late})


def _told_to_start(loop: WorkLoop) -> bool:
    """Wait for the supervisor's word; False if it is gone, or a signal came first."""
    while not loop.stopping:
        if select.select([sys.stdin], [], [], 0.5)[0]:
            return bool(sys.stdin.readline())
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


def _stop_on_signals(loop: WorkLoop) -> None:
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        loop.stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _stop_when_alone(loop: WorkLoop) -> None:
    sys.stdin.read()
    loop.stop()


def _say(message: dict[str, object]) -> None:
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
        _say({"error": str(error), "exit_code": error.exit_code, "away": away})
        sys.stdout.flush()
        os._exit(error.exit_code)


if __name__ == "__main__":
    main()
