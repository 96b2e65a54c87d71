"""Sampling and labelling from start to end: queue, workers, counts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlffdb.errors import MlffdbError
from mlffdb.pipeline import labelling, sampling, tasks, validating
from mlffdb.pipeline.labelling import LabelProgress
from mlffdb.sampling import Plan
from mlffdb.store import runs
from mlffdb.store.database import Database
from mlffdb.store.labels import Order
from mlffdb.store.patience import patiently
from mlffdb.store.queue import LEASE_SECONDS
from mlffdb.store.sample_tasks import SampleProgress
from mlffdb_workers.gpus import VISIBLE, Gpu
from mlffdb_workers.process import WorkerSpec
from mlffdb_workers.state import LoopOptions
from mlffdb_workers.supervisor import Totals, run_workers
from mlffdb_workers.telemetry import Telemetry

#: How often new structures are looked for while following.
FOLLOW_SECONDS = 5.0
#: Libraries of linear algebra take all cores by themselves; workers are one per core.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class TeacherPausedError(MlffdbError):
    """Nothing is claimed for this teacher until it is resumed."""


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
    on_stop: Callable[[], None] = lambda: None,
    lease: float = LEASE_SECONDS,
    options: LoopOptions = LoopOptions(),  # noqa: B008 - immutable
    telemetry: Telemetry = Telemetry(),  # noqa: B008 - immutable
) -> SampleReport:
    """Sample *plan* by so many processes; what is done already is skipped.

    The other parameters are those of `label`.
    """
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
                         *_loop_arguments(lease, options))  # fmt: skip
            totals = run_workers(
                database,
                run.run_id,
                _telling(telemetry, [WorkerSpec(arguments, ONE_THREAD)] * workers),
                prepare=lambda _ready: None,
                tick=tick,
                grace=options.grace,
                hang=options.hang,
                on_stop=on_stop,
            )
        run.interrupted = totals.interrupted
        found = patiently(lambda: sampling.progress(database, plan))
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
    gpus: Sequence[Gpu] = (),
    workers: int = 1,
    where: str | None = None,
    limit: int | None = None,
    order: Order = "mixed",
    priority: int = 0,
    on_progress: Callable[[LabelProgress], None] = lambda _progress: None,
    on_stop: Callable[[], None] = lambda: None,
    lease: float = LEASE_SECONDS,
    options: LoopOptions = LoopOptions(),  # noqa: B008 - immutable
    telemetry: Telemetry = Telemetry(),  # noqa: B008 - immutable
) -> LabelReport:
    """Label everything that *teacher* has not labelled yet.

    workers: processes on *device*, or on each of *gpus*, of which each process sees its own alone
    where, limit, order, priority: which structures, see `pipeline.labelling.enqueue`
    on_stop: called when workers are asked to stop and may need their grace for it
    lease: seconds after which the tasks of a worker that says nothing may be taken by others
    options: how the workers behave; with ``follow`` it goes on with structures that come later,
        until it is stopped
    telemetry: what the workers tell of themselves; the caller opens and closes it by `telling`

    Structures are checked first; rejected ones never reach the teacher. Raises TeacherPausedError,
    and WorkerFailedError where no worker could go on.
    """
    pause = tasks.teacher_pause(database, teacher)
    if pause is not None:
        raise TeacherPausedError(
            f"{teacher} is paused since {pause.since:%Y-%m-%d %H:%M}"
            f"{f' ({pause.why})' if pause.why else ''}; "
            f"`mlffdb teachers resume {teacher}` lets it go on"
        )
    config = {"teacher": teacher, "device": device, "gpus": [gpu.name for gpu in gpus],
              "workers": workers, "where": where, "limit": limit, "order": order,
              "priority": priority}  # fmt: skip

    def enqueue(teacher_id: int) -> int:
        return labelling.enqueue(
            database, teacher_id, where=where, limit=limit, order=order, priority=priority
        )

    with runs.recorded(database, "label", name=teacher, config=config) as run:
        checked = patiently(lambda: validating.validate_structures(database))
        known: list[int] = []
        enqueued: list[int] = []
        looked = [time.monotonic()]

        def prepare(teacher_id: int) -> None:
            known.append(teacher_id)
            enqueued.append(patiently(lambda: enqueue(teacher_id)))

        def tick() -> int:
            if not known:
                return 0
            if options.follow and time.monotonic() - looked[0] > FOLLOW_SECONDS:
                looked[0] = time.monotonic()
                validating.validate_structures(database)
                enqueued.append(enqueue(known[0]))
            found = labelling.progress(database, known[0])
            on_progress(found)
            return found.done + found.failed

        arguments = ("label", "--teacher", teacher, "--run-id", str(run.run_id),
                     *_loop_arguments(lease, options))  # fmt: skip
        totals = run_workers(
            database,
            run.run_id,
            _telling(telemetry, _specs(arguments, device, gpus, workers)),
            prepare=prepare,
            tick=tick,
            grace=options.grace,
            hang=options.hang,
            on_stop=on_stop,
        )
        run.interrupted = totals.interrupted
        teacher_id = known[0] if known else 0
        found = patiently(lambda: labelling.progress(database, teacher_id))
        reasons = patiently(lambda: labelling.failures(database, teacher_id))
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


def _specs(
    arguments: tuple[str, ...], device: str, gpus: Sequence[Gpu], workers: int
) -> list[WorkerSpec]:
    """Return the processes to start: all on one device, or one of its own for each."""
    if not gpus:
        environment = ONE_THREAD if device == "cpu" and workers > 1 else {}
        return [WorkerSpec((*arguments, "--device", device), environment)] * workers
    return [
        WorkerSpec(
            (*arguments, "--device", "cuda:0", "--device-name", gpu.name), {VISIBLE: gpu.handle}
        )
        for gpu in gpus
        for _ in range(workers)
    ]


def _telling(telemetry: Telemetry, specs: Sequence[WorkerSpec]) -> list[WorkerSpec]:
    """Let each of *specs* tell of itself, on a metrics port of its own."""
    return [
        replace(spec, arguments=(*spec.arguments, *telemetry.arguments(index)))
        for index, spec in enumerate(specs)
    ]


def _loop_arguments(lease: float, options: LoopOptions) -> tuple[str, ...]:
    """Return *options* as arguments of a worker process."""
    found = ("--lease", str(lease), "--grace", str(options.grace), "--hang", str(options.hang),
             "--max-faults", str(options.max_faults))  # fmt: skip
    return (*found, "--follow") if options.follow else found


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
