"""What `status` shows of a campaign: tables for a screen, lines for a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from mlffdb.pipeline.standings import (
    PlanStanding,
    StuckTask,
    TaskFailures,
    TeacherStanding,
    WorkerStanding,
)
from mlffdb.pipeline.watching import Watch, next_step
from mlffdb_cli.output import drawn

LONGEST = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A table about one field of Watch."""

    field: str
    title: str
    columns: tuple[str, ...]
    row: Callable[[Any], Sequence[Any]]
    #: Columns that narrow terminals do without.
    expendable: tuple[str, ...] = ()
    #: Most rows for people; --json has all.
    most: int = 1_000


def _plan(one: PlanStanding) -> Sequence[Any]:
    return (one.plan, one.pending, one.running, one.done, one.failed, one.structures,
            rate(one.structures_per_second), _left(one))  # fmt: skip


def _teacher(one: TeacherStanding) -> Sequence[Any]:
    return (one.teacher, one.pending, one.running, one.done, one.failed, one.cancelled,
            _speed(one), _left(one))  # fmt: skip


def _speed(one: PlanStanding | TeacherStanding) -> str:
    return rate(one.per_second if one.open else 0.0)


def _left(one: PlanStanding | TeacherStanding) -> str:
    if isinstance(one, TeacherStanding) and one.paused_at is not None:
        return f"paused: {one.paused_why}" if one.paused_why else "paused"
    if not one.open:
        return "done"
    if isinstance(one, TeacherStanding) and one.superseded:
        return "former version"
    return "–" if one.seconds_left is None else duration(one.seconds_left)


def _worker(one: WorkerStanding) -> Sequence[Any]:
    heard = f"{duration(one.silent_seconds)} ago"
    return (one.kind, one.teacher, one.host, str(one.pid), one.device, one.done, one.failed,
            one.late, rate(one.per_second), f"{one.compute_share:.0%}",
            f"{heard}, stale" if one.stale else heard)  # fmt: skip


def _stuck(one: StuckTask) -> Sequence[Any]:
    lease = f"over for {duration(one.overdue_seconds)}" if one.overdue_seconds > 0 else "held"
    where = f"{one.host}:{one.pid}" if one.host else None
    return (one.name, one.key, one.attempts, lease, where, one.error_code, _beginning(one.error))


def _failure(one: TaskFailures) -> Sequence[Any]:
    return (one.name, one.error_code, one.tasks, _beginning(one.example), one.example_key)


PARTS = (
    Part("sampling", "Sampling",
         ("plan", "pending", "running", "done", "failed", "structures", "rate", "left"), _plan,
         ("running", "failed")),
    Part("sampling_failures", "Failures of sampling",
         ("plan", "reason", "tasks", "example", "item"), _failure, ("item",)),
    Part("labelling", "Labelling",
         ("teacher", "pending", "running", "done", "failed", "cancelled", "rate", "left"), _teacher,
         ("cancelled", "running")),
    Part("failures", "Failures of labelling",
         ("teacher", "reason", "tasks", "example", "structure"), _failure, ("structure",)),
    Part("stuck", "Stuck",
         ("name", "task", "attempts", "lease", "worker", "last reason", "message"), _stuck,
         ("message", "worker"), most=5),
    Part("workers", "Workers",
         ("kind", "teacher", "host", "pid", "device", "done", "failed", "late", "rate", "computing",
          "heard"), _worker, ("kind", "pid", "failed", "teacher", "late")),
)  # fmt: skip


def tables(found: Watch, width: int) -> Iterator[RenderableType]:
    """Give the tables of all that is going on, for a terminal of *width* columns."""
    for part in PARTS:
        found_rows = getattr(found, part.field)
        rows = [part.row(one) for one in found_rows[: part.most]]
        used = [i for i in range(len(part.columns)) if any(row[i] is not None for row in rows)]
        if rows:
            yield drawn(
                [part.columns[i] for i in used],
                [[row[i] for i in used] for row in rows],
                _title(part, found_rows),
                width=width,
                expendable=part.expendable,
            )


def screen(found: Watch, width: int) -> RenderableType:
    """Return one picture of `status --watch`."""
    parts: list[RenderableType] = [Text(f"{found.time:%Y-%m-%d %H:%M:%S} by the database's clock")]
    for table in tables(found, width):
        parts += [Text(), table]
    if len(parts) == 1:
        parts += [Text(), Text("Nothing was sampled or labelled yet.")]
    parts += [Text(), Text(f"Next: {_next(found)}"), Text("Ctrl-C ends watching.", style="dim")]
    return Group(*parts)


def lines(found: Watch) -> Iterator[str]:
    """Give one picture of `status --watch` as lines, where there is no terminal."""
    clock = f"{found.time:%H:%M:%S}"
    everything: list[PlanStanding | TeacherStanding] = [*found.sampling, *found.labelling]
    for one in everything:
        name = f"sampling {one.plan}" if isinstance(one, PlanStanding) else one.teacher
        yield (
            f"{clock} {name}: {one.done:,} done, {one.pending:,} pending, {one.running:,} running, "
            f"{one.failed:,} failed; {_speed(one)}, left: {_left(one)}"
        )
    stale = sum(worker.stale for worker in found.workers)
    yield (
        f"{clock} {len(found.workers):,} workers, {stale:,} of them stale; "
        f"{sum(one.tasks for one in _first_of_each(found.stuck)):,} tasks stuck"
    )


def _next(found: Watch) -> str:
    step = next_step(found)
    if step is None:
        return "mlffdb status, for all the rest"
    return step.replace("mlffdb status --watch, while", "nothing, while")


def _title(part: Part, rows: Sequence[Any]) -> str:
    if part.field == "stuck":
        count = sum(one.tasks for one in _first_of_each(rows))
        return f"Stuck: {count:,} tasks whose lease is over, or that are tried again and again"
    if part.field != "workers":
        return part.title
    working = [worker for worker in rows if not worker.stale]
    if not working:
        return f"{part.title}: none alive"
    share = sum(worker.compute_share for worker in working) / len(working)
    total = rate(sum(worker.per_second for worker in working))
    return f"{part.title}: {len(working):,} alive, {total}, {share:.0%} of their time computing"


def _first_of_each(stuck: Sequence[StuckTask]) -> list[StuckTask]:
    return list({one.kind: one for one in stuck}.values())


def _beginning(value: str | None) -> str | None:
    """Keep the beginning of a long text, on one line."""
    if value is None:
        return None
    line = " ".join(value.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def rate(per_second: float) -> str:
    """Return a rate for people."""
    if per_second <= 0:
        return "–"
    if per_second < 1:
        return f"{60 * per_second:.2g}/min"
    return f"{per_second:,.1f}/s" if per_second < 100 else f"{per_second:,.0f}/s"


def duration(seconds: float) -> str:
    """Return a time for people, in its two largest units."""
    whole = round(max(0.0, seconds))
    for size, name, smaller, its_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size:,} {name}" + (f" {rest} {its_name}" if rest else "")
    return f"{whole} s"
