"""Making plans and running them."""

from __future__ import annotations

from mlffdb.sampling import run_task, tasks
from mlffdb.sampling.engines import EngineCache
from mlffdb.sampling.plan import Plan
from mlffdb.structures import Candidate, Rejection


def make_plan(source, methods=(), *, seed=0, name="b", **block) -> Plan:
    return Plan.model_validate(
        {
            "name": "test",
            "seed": seed,
            "blocks": [{"name": name, "source": source, "methods": list(methods), **block}],
        }
    )


def sample(plan: Plan) -> tuple[list[Candidate], list[Rejection]]:
    engines = EngineCache()
    out = [entry for task in tasks(plan) for entry in run_task(plan, task, engines=engines)]
    made = [entry for entry in out if isinstance(entry, Candidate)]
    return made, [entry for entry in out if isinstance(entry, Rejection)]
