"""Sampling a plan: its tasks in the queue, and where it stands."""

from __future__ import annotations

from sqlalchemy import text

from mlffdb.errors import DatabaseError
from mlffdb.sampling import Plan, restore_plan, tasks
from mlffdb.store import sample_tasks
from mlffdb.store.database import Database
from mlffdb.store.sample_tasks import SampleProgress


def plan_config(plan: Plan) -> dict[str, object]:
    """Return what a run keeps of *plan*, from which workers read it back."""
    return {"plan": plan.model_dump(mode="json"), "source": plan.source}


def plan_of_run(database: Database, run_id: int) -> Plan:
    """Return the plan that a run was started with."""
    with database.begin() as connection:
        config = connection.scalar(
            text("SELECT config FROM run WHERE run_id = :run"), {"run": run_id}
        )
    if not config or "plan" not in config:
        raise DatabaseError(f"run {run_id} has no plan")
    return restore_plan(config["plan"], config["source"])


def enqueue(database: Database, plan: Plan, run_id: int) -> int:
    """Put the plan's tasks into the queue, once; returns how many are new."""
    with database.begin() as connection:
        return sample_tasks.enqueue(
            connection,
            plan.sampling_digest,
            run_id,
            (
                (task.index, {"block": task.block, "payload": task.payload}, float(task.expected))
                for task in tasks(plan)
            ),
        )


def failures(database: Database, plan: Plan) -> list[tuple[str, int, str]]:
    """Return reason, count and an example of the failed tasks, most frequent first."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
SELECT coalesce(error_code, 'unknown'), count(*), min(error) FROM sample_task
WHERE plan_digest = :plan AND status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1"""),
            {"plan": plan.sampling_digest},
        ).all()
    return [(row[0], int(row[1]), row[2] or "") for row in rows]


def progress(database: Database, plan: Plan) -> SampleProgress:
    """Return where *plan* stands."""
    with database.begin() as connection:
        return sample_tasks.progress(connection, plan.sampling_digest)
