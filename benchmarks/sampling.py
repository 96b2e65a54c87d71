"""Structures per second of each sampling method on one core, identities included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from mlffdb.sampling import run_task, tasks
from mlffdb.sampling.engines import EngineCache
from mlffdb.sampling.plan import Plan
from mlffdb.structures import Candidate, structure_id

#: Hexanol to glucose to capped dialanine: 21, 24 and 32 atoms.
MOLECULES = ["CCCCCCO", "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O", "CC(=O)NC(C)C(=O)NC(C)C(=O)NC"]
ROCKSALT = [{"prototype": "rocksalt", "A": ["Na", "K"], "X": ["Cl", "Br"]}]


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return a row for each method; *quick* makes a tenth of the structures."""
    many = 100 if quick else 1000
    return [row for name, block in _blocks(many) if (row := _row(name, block)) is not None]


def _blocks(many: int) -> Iterator[tuple[str, dict[str, Any]]]:
    smiles = {"type": "smiles", "smiles": MOLECULES}
    crystals = {"type": "prototypes", "crystals": ROCKSALT, "min_atoms": 30}
    few = max(many // 50, 2)
    yield "etkdg", {"source": smiles, "methods": [{"type": "etkdg", "count": few}]}
    yield (
        "rattle, molecules of 21–32 atoms",
        {"source": smiles, "methods": [{"type": "rattle", "std": 0.05, "count": many}]},
    )
    yield (
        "rattle, molecules, 3 of each parent",
        {
            "source": smiles,
            "methods": [
                {"type": "etkdg", "count": few},
                {"type": "rattle", "std": 0.05, "count": 3, "parents": few},
            ],
        },
    )
    yield (
        "rattle, crystals of 32 atoms",
        {"source": crystals, "methods": [{"type": "rattle", "std": 0.1, "count": many}]},
    )
    yield (
        "strain, crystals of 32 atoms",
        {"source": crystals, "methods": [{"type": "strain", "count": many}]},
    )
    for engine in ("mmff", "gfn2-xtb"):
        modes = {"type": "normal_modes", "engine": engine, "temperatures": [300], "count": many}
        md = {"type": "md", "engine": engine, "temperature": 300, "frames": few, "spacing_fs": 10}
        yield f"normal_modes, {engine}", {"source": smiles, "methods": [modes]}
        yield f"md, {engine}, 10 steps a frame", {"source": smiles, "methods": [md]}


def _row(name: str, block: dict[str, Any]) -> dict[str, Any] | None:
    if "gfn2-xtb" in name and find_spec("tblite") is None:
        return None
    plan = Plan.model_validate({"name": "benchmark", "blocks": [{"name": "b", **block}]})
    engines = EngineCache()
    for task in list(tasks(plan))[:1]:
        next(run_task(plan, task, engines=engines))  # imports and loading are not what is measured
    engines.calls, engines.seconds = 0, 0.0
    made = rejected = 0
    methods = {method.type for method in plan.blocks[0].methods}
    start = time.perf_counter()
    for task in tasks(plan):
        for entry in run_task(plan, task, engines=engines):
            if isinstance(entry, Candidate):
                structure_id(entry.structure)
                made += entry.origin.method in methods
            else:
                rejected += 1
    seconds = time.perf_counter() - start
    return {
        "method": name,
        "structures": made,
        "rejected": rejected,
        "structures_per_s": round(made / seconds, 1),
        "engine_calls": engines.calls,
        "outside_engine_percent": round(100 * (1 - engines.seconds / seconds), 1),
    }
