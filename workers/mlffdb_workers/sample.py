"""Sampling: claimed items of a plan into structures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mlffdb.errors import PlanError, TeacherError
from mlffdb.sampling import Plan, Task, run_task
from mlffdb.sampling.engines import EngineCache
from mlffdb.store import sample_tasks
from mlffdb.store.queue import Claim, Queue, TaskFailure
from mlffdb.structures import Candidate, Rejection
from mlffdb_workers.job import Counters, Flaw

MESSAGE_LENGTH = 500


@dataclass(slots=True)
class _Outcome:
    candidates: list[Candidate]
    rejected: Counter[str]
    error: str | None = None


class SampleJob:
    """Structures of one plan."""

    one_statement = False

    def __init__(self, queue: Queue, plan: Plan, engines: EngineCache, run_id: int) -> None:
        self.queue = queue
        self.plan = plan
        self.engines = engines
        self.run_id = run_id
        self.first_batch = 1
        self.together = 1

    def prepare(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return the tasks as they are."""
        return list(claims)

    def compute(self, prepared: list[Claim]) -> list[_Outcome]:
        """Return what came of each claimed task."""
        return [self._sample(claim) for claim in prepared]

    def flaw(self, outcome: _Outcome) -> Flaw | None:
        """Return why the task failed, or None."""
        if outcome.error is None:
            return None
        return Flaw("task_error", outcome.error, retry=False, suspicious=True)

    def _sample(self, claim: Claim) -> _Outcome:
        outcome = _Outcome([], Counter())
        task = Task(claim.key, claim.row[0]["block"], claim.row[0]["payload"], int(claim.cost))
        try:
            for made in run_task(self.plan, task, engines=self.engines):
                if isinstance(made, Rejection):
                    outcome.rejected[made.code] += 1
                else:
                    outcome.candidates.append(made)
        except (TeacherError, PlanError):
            raise  # an engine that cannot be had: no fault of the task, which stays open
        except Exception as error:
            outcome.error = f"{type(error).__name__}: {error}"[:MESSAGE_LENGTH]
        return outcome

    def write(
        self, connection: Connection, claims: Sequence[Claim], outcomes: Sequence[_Outcome]
    ) -> Counters:
        """Store structures and complete their tasks, where the leases are still held."""
        counters = Counters()
        for claim, made in zip(claims, outcomes, strict=True):
            if made.error is not None:
                failure = TaskFailure(claim, "task_error", made.error, retry=False)
                written = bool(self.queue.fail(connection, [failure]))
                counters.failed += written
            else:
                written = sample_tasks.complete(
                    connection,
                    self.queue,
                    claim,
                    run_id=self.run_id,
                    candidates=made.candidates,
                    rejected=made.rejected,
                )
                counters.done += written
            counters.late += not written
        return counters

    def budget(self) -> float | None:
        """Return None: nothing is learned."""
        return None
