"""How much a worker claims at once, and how often it asks while there is nothing."""

from __future__ import annotations

import random

#: A batch should take about this long: little is lost when a worker dies, and the database is
#: asked rarely.
BATCH_SECONDS = 2.0
MAX_BATCH = 1024
#: While there is nothing to do the queue is asked after FIRST_POLL seconds, then ever more rarely
#: up to LAST_POLL. Measured: an idle worker that asks every few seconds costs the server nothing.
FIRST_POLL = 0.2
LAST_POLL = 4.0
GROWTH = 1.6


class Pace:
    """Number and cost of the tasks to claim next, so that a batch takes about BATCH_SECONDS."""

    def __init__(self, first: int) -> None:
        self.size = first
        #: Largest cost to claim: what takes about twice BATCH_SECONDS; None before that is known.
        self.cost: float | None = None

    def learn(self, claimed: int, cost: float, seconds: float, together: int = 1) -> None:
        """Take into account that a batch of *claimed* tasks and *cost* took so many seconds.

        together: how many the teacher computes in one call; the next claim is a multiple of it, or
            the last call would be padded for a few
        """
        self.cost = max(cost, 2 * cost * BATCH_SECONDS / max(seconds, 1e-3))
        if claimed < self.size and seconds < BATCH_SECONDS:
            return  # the queue or the cost was the limit
        wanted = int(claimed * BATCH_SECONDS / max(seconds, 1e-3))
        size = max(1, min(MAX_BATCH, 4 * self.size, wanted))
        self.size = size - size % together if size > together else size


class Poll:
    """Seconds between two looks at an empty queue; they grow, and no two workers keep step."""

    def __init__(self) -> None:
        self._next = FIRST_POLL

    def reset(self) -> None:
        """Start again: there was work."""
        self._next = FIRST_POLL

    def seconds(self) -> float:
        """Return how long to wait this time."""
        wait = self._next * random.uniform(0.5, 1.5)  # noqa: S311
        self._next = min(LAST_POLL, self._next * GROWTH)
        return wait
