"""Watching a campaign: rates, time left, workers, what is stuck and what fails.

`Watcher.look` may be called every second on a queue of millions: tasks are counted by one pass over
their table, which takes at most one part in COUNT_SHARE of the time, and in between only labels,
leases and workers are looked at, by indexes. `look` at once after `Watcher` is what `status` shows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from mlffdb.pipeline.standings import (
    PlanStanding,
    StuckTask,
    TaskFailures,
    TeacherStanding,
    WorkerStanding,
    failures,
    plan_standing,
    teacher_standing,
)
from mlffdb.store import watch
from mlffdb.store.database import Database
from mlffdb.store.queue import LABEL_TASKS, SAMPLE_TASKS

#: Tasks are counted again after so many times as long as counting took.
COUNT_SHARE = 20
#: A worker beats every ten seconds; one that missed three beats is marked.
STALE_SECONDS = 35.0
#: A worker's rate is over the beats of so long.
WORKER_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Watch:
    """What is going on at one moment."""

    time: datetime
    #: When tasks were counted; what was labelled since is added.
    counted_at: datetime
    sampling: list[PlanStanding]
    labelling: list[TeacherStanding]
    workers: list[WorkerStanding]
    stuck: list[StuckTask]
    failures: list[TaskFailures]
    sampling_failures: list[TaskFailures]


@dataclass(slots=True)
class _Counted:
    """What the last pass over the tasks found."""

    at: datetime
    due: float
    labels: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Beat:
    at: datetime
    tasks: int
    compute_seconds: float


class Watcher:
    """Looks at one database again and again; keeps counts and heartbeats between looks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._counted: _Counted | None = None
        self._beats: dict[UUID, list[_Beat]] = {}

    def look(self) -> Watch:
        """Return what is going on; raises DatabaseError if the database does not answer."""
        if self._counted is None or time.monotonic() >= self._counted.due:
            self._counted = self._count()
        counted = self._counted
        with self.database.begin() as connection:
            now = connection.scalar(text("SELECT now()"))
            assert isinstance(now, datetime)
            at_work = watch.at_work(connection)
            names = {row["teacher_id"]: row for row in watch.teachers(connection)}
            plans = watch.plans(connection) if counted.samples else {}
            stuck = [StuckTask(**row) for row in watch.stuck(connection)]
            workers = self._workers(watch.workers(connection))
            labelling = [
                teacher_standing(connection, names[scope], rows, counted.at, at_work)
                for scope, rows in _by_scope(counted.labels).items()
            ]
        sampling = [
            plan_standing(plans.get(scope, ""), scope, rows, at_work)
            for scope, rows in _by_scope(counted.samples).items()
        ]
        return Watch(
            now,
            counted.at,
            sorted(sampling, key=lambda one: (one.plan, one.plan_digest)),
            sorted(labelling, key=lambda one: (one.teacher, one.teacher_id)),
            workers,
            stuck,
            failures(counted.labels, {key: row["name"] for key, row in names.items()}),
            failures(counted.samples, plans),
        )

    def _count(self) -> _Counted:
        started = time.monotonic()
        with self.database.begin() as connection:
            now = connection.scalar(text("SELECT now()"))
            assert isinstance(now, datetime)
            found = _Counted(
                now,
                0.0,
                watch.counts(connection, LABEL_TASKS),
                watch.counts(connection, SAMPLE_TASKS),
            )
        ended = time.monotonic()
        found.due = ended + COUNT_SHARE * (ended - started)
        return found

    def _workers(self, rows: Sequence[Mapping[str, Any]]) -> list[WorkerStanding]:
        known = {row["worker_id"] for row in rows}
        self._beats = {key: beats for key, beats in self._beats.items() if key in known}
        found = [self._worker(row) for row in rows]
        return sorted(found, key=lambda one: (one.stale, one.kind, one.host, one.device, one.pid))

    def _worker(self, row: Mapping[str, Any]) -> WorkerStanding:
        beat = _Beat(row["heartbeat_at"], row["done"] + row["failed"], row["compute_seconds"])
        beats = self._beats.setdefault(
            row["worker_id"], [_Beat(row["started_at"], 0, 0.0)] if row["seconds"] > 0 else []
        )
        if not beats or beat.at > beats[-1].at:
            beats.append(beat)
        while len(beats) > 2 and _seconds(beats[1].at, beat.at) >= WORKER_WINDOW_SECONDS:
            beats.pop(0)
        first = beats[0]
        seconds = max(_seconds(first.at, beat.at), 1e-3)
        same = {key: row[key] for key in WorkerStanding.__slots__ if key in row}
        return WorkerStanding(
            **same,
            per_second=(beat.tasks - first.tasks) / seconds,
            compute_share=min(1.0, (beat.compute_seconds - first.compute_seconds) / seconds),
            stale=row["silent_seconds"] > STALE_SECONDS,
        )


def next_step(found: Watch) -> str | None:
    """Return what to do about an unfinished campaign; None if nothing is open."""
    working = {(w.kind, w.teacher_id) for w in found.workers if not w.stale}
    for plan in found.sampling:
        if plan.open and any(kind == "sample" for kind, _ in working):
            return "mlffdb status --watch, while workers sample"
        if plan.open:
            return f"mlffdb sample {plan.plan or 'PLAN'}, which continues"
    steps = [
        _step_of(teacher, at_work=("label", teacher.teacher_id) in working)
        for teacher in found.labelling
        if teacher.open
    ]
    return min(steps)[1] if steps else None


def _step_of(teacher: TeacherStanding, *, at_work: bool) -> tuple[int, str]:
    """Return what to do for the open tasks of *teacher*, and how much can wait for it."""
    if teacher.paused_at is not None:
        return 3, f"mlffdb teachers resume {teacher.teacher}, which is paused"
    if at_work:
        return 0, "mlffdb status --watch, while workers label"
    if teacher.superseded:
        return 2, f"mlffdb tasks cancel --superseded: {teacher.open:,} tasks wait for a former " \
            f"{teacher.teacher}"  # fmt: skip
    return 1, f"mlffdb label --teacher {teacher.teacher}, which continues"


def _by_scope(rows: Sequence[Mapping[str, Any]]) -> dict[Any, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["scope"], []).append(row)
    return found


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
