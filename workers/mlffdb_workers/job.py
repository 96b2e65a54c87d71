"""What a worker's loop works on: tasks in batches, and what differs between their kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from mlffdb.store.queue import Claim, Queue


@dataclass(slots=True)
class Counters:
    """What a worker did so far."""

    done: int = 0
    failed: int = 0
    late: int = 0
    compute_seconds: float = 0.0

    def add(self, other: Counters) -> None:
        """Add *other*'s counts."""
        self.done += other.done
        self.failed += other.failed
        self.late += other.late


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why one task did not succeed."""

    code: str
    message: str
    #: Whether trying again can help.
    retry: bool
    #: Whether the worker may be to blame (a broken device, a full disk) rather than the task.
    suspicious: bool


class Job(Protocol):
    """What differs between labelling and sampling."""

    queue: Queue
    #: Tasks to claim first.
    first_batch: int
    #: Tasks that were computed in one call of the last batch at most; 1 where they come one by one.
    together: int
    #: Whether `write` sends one statement where nothing failed: then it needs no transaction
    #: around it, and is one round trip.
    one_statement: bool

    def prepare(self, claims: Sequence[Claim]) -> Any:
        """Return what `compute` takes; runs in the courier while the last batch is computed."""

    def compute(self, prepared: Any) -> Sequence[Any]:
        """Return an outcome per claim for `write`; runs in the main thread, without a database."""

    def flaw(self, outcome: Any) -> Flaw | None:
        """Return why the task of one *outcome* failed; None if it succeeded."""

    def write(
        self, connection: Connection, claims: Sequence[Claim], outcomes: Sequence[Any]
    ) -> Counters:
        """Store outcomes and complete or fail the tasks: in the caller's transaction, or as one.

        Is called again with parts of both where a value cannot be stored.
        """

    def budget(self) -> float | None:
        """Return the largest batch cost learned so far, or None."""
