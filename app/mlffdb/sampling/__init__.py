"""Sampling: from a plan to structures worth labelling; no database here.

A plan (one YAML file) holds blocks. A block names a *source*, which gives items (a molecule, a
crystal, a pair), and *methods*, which make structures from each item, in the order of the plan:

- An item has *parents*, in order: the structures that methods start from. A source of structures
  gives them itself, and they are stored too (method ``as_is``). A source of molecules gives none:
  ``etkdg`` makes conformers and they become the parents, the first one first. Where a plan names
  no ``etkdg`` before the first other method, one conformer is made and stored.
- Each method starts from the first ``parents`` of them (1 unless the plan says more) and makes
  its ``count`` from each. All parents are stored, so every structure's parent is in the database.
- ``relax`` and ``normal_modes`` put the minimum that they found in the place of the parent, so
  what follows starts from the minimum. All other methods leave the parents as they are.

The structures of a plan are fixed by its content: the random stream of a method follows from the
plan's seed, the block's name, the item and the method alone, never from the order of the work or
from the worker that does it.

Sources and methods are small classes found by name: a module in ``sources`` or ``methods``, or a
package's entry point ``mlffdb.sources`` or ``mlffdb.methods``.
"""

from mlffdb.sampling.load import PlanInfo, load_plan, packaged_plans, restore_plan
from mlffdb.sampling.plan import Plan
from mlffdb.sampling.tasks import Task, describe, run_task, tasks

__all__ = [
    "Plan",
    "PlanInfo",
    "Task",
    "describe",
    "load_plan",
    "packaged_plans",
    "restore_plan",
    "run_task",
    "tasks",
]
