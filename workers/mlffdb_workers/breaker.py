"""The circuit breaker: a worker that fails at everything stops, and leaves the tasks to others.

A broken GPU or a full disk fails every structure, and would turn the whole queue into failures
within minutes. So failures that the worker may be to blame for are held back until something
succeeds: then they are the tasks' own, and are stored. If too many come in a row, all of them are
given back as if they had never been tried, and the worker stops. (QCFractal issue 772.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlffdb.errors import MlffdbError
from mlffdb.store.queue import Claim
from mlffdb_workers.job import Flaw

#: Different tasks that may fail in a row, with nothing succeeding, before a worker stops.
MAX_FAULTS = 20


class WorkerBrokenError(MlffdbError):
    """A worker failed at everything and stopped, so that the tasks are not used up."""


class Breaker:
    """Holds back failures until it is known whose fault they are.

    limit: suspicious failures in a row that stop the worker; 0 never does
    flaw: tells why an outcome failed, or None
    """

    def __init__(self, limit: int, flaw: Callable[[Any], Flaw | None]) -> None:
        self.limit = limit
        self.flaw = flaw
        #: Tasks held back, still leased.
        self.claims: list[Claim] = []
        self._outcomes: list[Any] = []
        self._last: Flaw | None = None

    @property
    def tripped(self) -> bool:
        """Whether so many failed in a row that the worker must stop."""
        return 0 < self.limit <= len(self.claims)

    def sift(
        self, claims: Sequence[Claim], outcomes: Sequence[Any]
    ) -> tuple[list[Claim], list[Any]]:
        """Return what of a batch, and of what was held back, is to be stored at once."""
        if self.limit == 0:
            return list(claims), list(outcomes)
        kept: list[tuple[Claim, Any]] = []
        held: list[tuple[Claim, Any]] = []
        succeeded = False
        for claim, outcome in zip(claims, outcomes, strict=True):
            flaw = self.flaw(outcome)
            succeeded = succeeded or flaw is None
            if flaw is not None and flaw.suspicious:
                held.append((claim, outcome))
                self._last = flaw
            else:
                kept.append((claim, outcome))
        if succeeded:
            before, outcomes_before = self.release()
            return before + list(claims), outcomes_before + list(outcomes)
        self.claims += [claim for claim, _ in held]
        self._outcomes += [outcome for _, outcome in held]
        return [claim for claim, _ in kept], [outcome for _, outcome in kept]

    def release(self) -> tuple[list[Claim], list[Any]]:
        """Return all that is held back, and hold it no longer."""
        held = self.claims, self._outcomes
        self.claims, self._outcomes = [], []
        return held

    def error(self) -> WorkerBrokenError:
        """Return what to tell the user when it tripped."""
        assert self._last is not None
        return WorkerBrokenError(
            f"{len(self.claims)} tasks in a row failed and none succeeded, the last by "
            f"{self._last.code}: {self._last.message}; they were given back untouched. Look at the "
            "device, memory and disk of this worker (mlffdb doctor), and run the command again; "
            "if the structures themselves are at fault, add --max-faults 0"
        )
