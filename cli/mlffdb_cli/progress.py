"""Progress of long work: a bar with rate and time left on a terminal, lines otherwise."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from mlffdb_cli.output import err, say

LINE_SECONDS = 10.0
#: The time left goes by the speed of so many seconds.
RATE_SECONDS = 120.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.1f}/s")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("" if left is None else f"{duration(left)} left")


class _Clock:
    """Time left, from how fast the cost went down of late: large structures take longer."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def left(self, done: float, total: float) -> float | None:
        """Return the seconds that the rest should take; None as long as that is unknown."""
        now = time.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        begun, first = self._seen[0]
        if done <= first or now <= begun:
            return None
        return (total - done) * (now - begun) / (done - first)


def duration(seconds: float) -> str:
    """Return *seconds* as people say them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Bar:
    """One bar; `update` may be called as often as one likes."""

    def __init__(
        self, what: str, progress: Progress | None, total: float | None, *, quiet: bool = False
    ) -> None:
        self.what = what
        self._quiet = quiet
        self._progress = progress
        self._task = progress.add_task(what, total=total) if progress else None
        self._begun = self._last = time.monotonic()
        self._first: float | None = None
        self._clock = _Clock()

    def update(
        self,
        done: float,
        total: float | None = None,
        note: str = "",
        *,
        cost: tuple[float, float] | None = None,
    ) -> None:
        """Show *done* of *total*, with a short note.

        cost: what is done, and all, in a unit that takes equal time; counts if not given
        """
        spent, whole = cost or (done, total)
        left = None if whole is None else self._clock.left(spent, whole)
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                completed=done,
                total=total,
                description=f"{self.what} {note}".strip(),
                left=left,
            )
            return
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if self._quiet or now - self._last < LINE_SECONDS:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._begun, 1e-9)
        remaining = "" if left is None else f", {duration(left)} left"
        of = f" of {total:,.0f}" if total else ""
        say(f"{self.what}: {done:,.0f}{of} ({rate:,.1f}/s{remaining}) {note}".rstrip())


@contextmanager
def bar(what: str, total: float | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """Show progress of *what* while inside, or nothing if *quiet*."""
    console = err()
    if quiet or not console.is_terminal:
        yield Bar(what, None, total, quiet=quiet)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        _Left(),
        console=console,
        transient=True,  # what came of it is printed after
    ) as progress:
        yield Bar(what, progress, total)
