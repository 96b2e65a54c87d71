"""Sampling and labelling from start to end: queue, workers, counts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlffdb.pipeline import labelling, sampling, validating
from mlffdb.pipeline.labelling import LabelProgress
from mlffdb.sampling import Plan
from mlffdb.store import runs
from mlffdb.store.database import Database
from mlffdb.store.queue import LEASE_SECONDS
from mlffdb.store.sample_tasks import SampleProgress
from mlffdb_workers.supervisor import Totals, WorkerSpec, run_workers

#: How often new structures are looked for while following.
FOLLOW_SECONDS = 5.0
#: Libraries of linear algebra take all cores by themselves; workers are one per core.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What came of sampling."""

    run_id: int
    #: Tasks that this run put into the queue; 0 if the plan was known.
    enqueued: int
    progress: SampleProgress
    failures: list[tuple[str, int, str]]
    totals: Totals


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What came of labelling by one teacher."""

    run_id: int
    teacher: str
    teacher_id: int
    enqueued: int
    #: Structures that the checks rejected before labelling, in all.
    rejected_before: int
    progress: LabelProgress
    failures: list[tuple[str, int, str]]
    totals: Totals


def sample(
    database: Database,
    plan: Plan,
    *,
    workers: int,
    device: str = "cpu",
    on_progress: Callable[[SampleProgress], None] = lambda _progress: None,
    lease: float = LEASE_SECONDS,
) -> SampleReport:
    """Sample *plan* by so many processes; what is done already is skipped."""
    config = sampling.plan_config(plan)
    with runs.recorded(database, "sample", name=plan.name, config=config, seed=plan.seed) as run:
        enqueued = sampling.enqueue(database, plan, run.run_id)
        totals = Totals()

        def tick() -> int:
            found = sampling.progress(database, plan)
            on_progress(found)
            return found.done + found.failed

        if sampling.progress(database, plan).open:
            arguments = ("sample", "--run-id", str(run.run_id), "--device", device,
                         "--lease", str(lease))  # fmt: skip
            totals = run_workers(
                database,
                run.run_id,
                [WorkerSpec(arguments, ONE_THREAD)] * workers,
                prepare=lambda _ready: None,
                tick=tick,
            )
        run.interrupted = totals.interrupted
        found = sampling.progress(database, plan)
        run.counts.update(
            tasks=found.tasks,
            inserted=found.inserted,
            existing=found.existing,
            rejected=found.rejected,
            failed=found.failed,
        )
    return SampleReport(run.run_id, enqueued, found, sampling.failures(database, plan), totals)


def label(
    database: Database,
    teacher: str,
    *,
    device: str = "cpu",
    workers: int = 1,
    follow: bool = False,
    where: str | None = None,
    limit: int | None = None,
    on_progress: Callable[[LabelProgress], None] = lambda _progress: None,
    lease: float = LEASE_SECONDS,
) -> LabelReport:
    """Label everything that *teacher* has not labelled yet, by so many processes.

    Structures are checked first; rejected ones never reach the teacher. With *follow* it goes on
    with structures that come later, until it is stopped.
    """
    config = {"teacher": teacher, "device": device, "workers": workers, "where": where,
              "limit": limit}  # fmt: skip
    with runs.recorded(database, "label", name=teacher, config=config) as run:
        checked = validating.validate_structures(database)
        known: list[int] = []
        enqueued: list[int] = []
        looked = [time.monotonic()]

        def prepare(teacher_id: int) -> None:
            known.append(teacher_id)
            enqueued.append(labelling.enqueue(database, teacher_id, where=where, limit=limit))

        def tick() -> int:
            if not known:
                return 0
            if follow and time.monotonic() - looked[0] > FOLLOW_SECONDS:
                looked[0] = time.monotonic()
                validating.validate_structures(database)
                enqueued.append(labelling.enqueue(database, known[0], where=where, limit=limit))
            found = labelling.progress(database, known[0])
            on_progress(found)
            return found.done + found.failed

        arguments = ["label", "--teacher", teacher, "--device", device, "--run-id",
                     str(run.run_id), "--lease", str(lease)]  # fmt: skip
        if follow:
            arguments.append("--follow")
        environment = ONE_THREAD if device == "cpu" and workers > 1 else {}
        totals = run_workers(
            database,
            run.run_id,
            [WorkerSpec(tuple(arguments), environment)] * workers,
            prepare=prepare,
            tick=tick,
        )
        run.interrupted = totals.interrupted
        teacher_id = known[0] if known else 0
        found = labelling.progress(database, teacher_id)
        reasons = labelling.failures(database, teacher_id)
        run.counts.update(
            enqueued=sum(enqueued),
            done=totals.done,
            failed=totals.failed,
            late=totals.late,
            restarts=totals.restarts,
        )
    return LabelReport(
        run.run_id,
        teacher,
        teacher_id,
        sum(enqueued),
        checked.rejected,
        found,
        reasons,
        totals,
    )


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
