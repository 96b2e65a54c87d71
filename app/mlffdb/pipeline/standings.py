"""Where a teacher, a plan, a worker stands, and which tasks are stuck or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from mlffdb.store import watch


@dataclass(frozen=True, slots=True)
class Standing:
    """Tasks of a teacher or a plan by status, and how fast they go."""

    pending: int
    running: int
    done: int
    failed: int
    cancelled: int
    #: Cost of pending and running tasks, in the unit of the tasks.
    remaining_cost: float
    #: Tasks done per second over the last minutes.
    per_second: float
    #: Until nothing is open, by the remaining cost and the cost done lately; None if nothing goes.
    seconds_left: float | None

    @property
    def open(self) -> int:
        """Tasks still to do."""
        return self.pending + self.running

    @property
    def tasks(self) -> int:
        """All tasks."""
        return self.open + self.done + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class TeacherStanding(Standing):
    """Where labelling by one exact teacher stands."""

    teacher: str
    teacher_id: int
    #: Since when it is paused, or None.
    paused_at: datetime | None
    paused_why: str | None
    #: Whether another exact teacher of this name was used since.
    superseded: bool


@dataclass(frozen=True, slots=True)
class PlanStanding(Standing):
    """Where sampling of one plan stands; its tasks are items of its sources."""

    plan: str
    plan_digest: str
    #: Structures that came of it, without those that were there already.
    structures: int
    structures_per_second: float


@dataclass(frozen=True, slots=True)
class WorkerStanding:
    """A worker that did not end cleanly, and was heard of lately."""

    worker_id: UUID
    #: label, sample or audit.
    kind: str
    teacher: str | None
    teacher_id: int | None
    host: str
    pid: int
    device: str
    version: str
    run_id: int | None
    done: int
    failed: int
    #: Results refused because the lease was lost.
    late: int
    #: Tasks done and failed per second, by its last beats.
    per_second: float
    #: Share of its time spent computing, by its last beats, 0-1.
    compute_share: float
    #: Largest cost of a batch, learned for the device; None if nothing is learned.
    budget: float | None
    started_at: datetime
    heartbeat_at: datetime
    #: Since the last heartbeat.
    silent_seconds: float
    #: Whether it missed its heartbeats: dead, frozen, or cut off from the database.
    stale: bool


@dataclass(frozen=True, slots=True)
class StuckTask:
    """A running task whose lease is over, or that is tried again and again."""

    kind: str
    #: Teacher or plan.
    name: str
    #: Structure, or place in the plan.
    key: str
    attempts: int
    #: Since its lease ended; negative if it has not.
    overdue_seconds: float
    host: str | None
    pid: int | None
    #: Of the attempt before.
    error_code: str | None
    error: str | None
    #: How many such tasks there are of this kind; only the worst are listed.
    tasks: int


@dataclass(frozen=True, slots=True)
class TaskFailures:
    """Tasks that failed for good, for one reason."""

    #: Teacher or plan.
    name: str
    error_code: str
    tasks: int
    #: One of the messages, and the structure or place in the plan that it is about.
    example: str
    example_key: str


def _tasks(rows: Sequence[Mapping[str, Any]], *statuses: str) -> int:
    return sum(row["tasks"] for row in rows if row["status"] in statuses)


def _cost(rows: Sequence[Mapping[str, Any]], *statuses: str) -> float:
    return float(sum(row["cost"] for row in rows if row["status"] in statuses))


def teacher_standing(
    connection: Connection,
    teacher: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    counted_at: datetime,
    at_work: Mapping[tuple[str, int | None], float],
) -> TeacherStanding:
    """Bring the counts of *counted_at* up to date by what was labelled since."""
    teacher_id = teacher["teacher_id"]
    recent = watch.rate(connection, teacher_id, counted_at)
    open_then = _tasks(rows, "pending", "running")
    since = min(recent["since"], open_then)
    running = watch.running(connection, teacher_id) if open_then else 0
    mean_cost = watch.mean_cost(connection, teacher_id) if recent["labels"] else None
    per_second = _rate(recent, at_work.get(("label", teacher_id)))
    remaining = _cost(rows, "pending", "running")
    if mean_cost is not None:
        remaining = max(0.0, remaining - since * mean_cost)
    return TeacherStanding(
        pending=max(0, open_then - since - running),
        running=running,
        done=_tasks(rows, "done") + since,
        failed=_tasks(rows, "failed"),
        cancelled=_tasks(rows, "cancelled"),
        remaining_cost=remaining,
        per_second=per_second,
        seconds_left=_left(open_then - since, remaining, per_second * (mean_cost or 0.0)),
        teacher=teacher["name"],
        teacher_id=teacher_id,
        paused_at=teacher["paused_at"],
        paused_why=teacher["paused_why"],
        superseded=teacher["superseded"],
    )


def _rate(recent: Mapping[str, Any], at_work: float | None) -> float:
    """Return labels per second of the window."""
    if not recent["labels"]:
        return 0.0
    if recent["labels"] >= watch.RATE_ROWS:
        return float(recent["labels"] / max(recent["first_seconds"], 1e-3))
    return float(recent["labels"] / _span(at_work, recent["first_seconds"]))


def plan_standing(
    name: str,
    digest: str,
    rows: Sequence[Mapping[str, Any]],
    at_work: Mapping[tuple[str, int | None], float],
) -> PlanStanding:
    """Return where a plan stands, as of the counts."""
    span = _span(at_work.get(("sample", None)))
    recent, cost, structures = (
        float(sum(row[key] for row in rows))
        for key in ("recent", "recent_cost", "recent_structures")
    )
    pending, running = _tasks(rows, "pending"), _tasks(rows, "running")
    remaining = _cost(rows, "pending", "running")
    return PlanStanding(
        pending=pending,
        running=running,
        done=_tasks(rows, "done"),
        failed=_tasks(rows, "failed"),
        cancelled=_tasks(rows, "cancelled"),
        remaining_cost=remaining,
        per_second=recent / span,
        seconds_left=_left(pending + running, remaining, cost / span),
        plan=name,
        plan_digest=digest,
        structures=int(sum(row["structures"] for row in rows)),
        structures_per_second=structures / span,
    )


def _span(at_work: float | None, first_seconds: float = 0.0) -> float:
    """Return the time that a rate is over, s: the window, or less where work began in it.

    at_work: since the first of the workers that are there started; None without any
    first_seconds: since the first that is counted was done, by workers before them perhaps
    """
    if at_work is None:
        return watch.WINDOW_SECONDS
    return min(watch.WINDOW_SECONDS, max(at_work, first_seconds, 1.0))


def _left(open_tasks: int, cost: float, cost_per_second: float) -> float | None:
    if not open_tasks:
        return 0.0
    return cost / cost_per_second if cost_per_second > 0 else None


def failures(rows: Sequence[Mapping[str, Any]], names: Mapping[Any, str]) -> list[TaskFailures]:
    """Return what failed for good, the most frequent reason first."""
    found = [
        TaskFailures(names.get(row["scope"], ""), row["code"], row["tasks"], *row["example"])
        for row in rows
        if row["status"] == "failed"
    ]
    return sorted(found, key=lambda one: (-one.tasks, one.name, one.error_code))
