"""Progress of long work: a bar with rate and time left on a terminal, lines otherwise."""

from __future__ import annotations

import time
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
    TimeRemainingColumn,
)
from rich.text import Text

from mlffdb_cli.output import err, say

LINE_SECONDS = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.1f}/s")


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

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Show *done* of *total*, with a short note."""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, completed=done, total=total, description=f"{self.what} {note}".strip()
            )
            return
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if self._quiet or now - self._last < LINE_SECONDS:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._begun, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if total and rate > 0 else ""
        of = f" of {total:,.0f}" if total else ""
        say(f"{self.what}: {done:,.0f}{of} ({rate:,.1f}/s{left}) {note}".rstrip())


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
        TimeRemainingColumn(),
        console=console,
        transient=True,  # what came of it is printed after
    ) as progress:
        yield Bar(what, progress, total)
