"""Relaxing a parent to the nearest minimum of an engine."""

from __future__ import annotations

from typing import Any

from mlffdb.sampling.engine_spec import EngineSpec
from mlffdb.sampling.engines import EngineCache
from mlffdb.sampling.items import Item, Parent


class NotConvergedError(Exception):
    """A relaxation did not reach its force limit; ends a method with a rejection."""


def minimum_label(engine: EngineSpec, fmax: float) -> str:
    """Return what `Parent.minimum_of` holds for a minimum of *engine* within *fmax* (eV/Å)."""
    return f"{engine.label} {fmax:g}"


def relax(
    item: Item,
    parent: Parent,
    cache: EngineCache,
    *,
    engine: EngineSpec,
    fmax: float,
    max_steps: int,
) -> tuple[Parent, int]:
    """Return the minimum next to *parent* and the steps taken; the cell stays as it is.

    BFGS of ASE until no atom feels more than *fmax* eV/Å. Raises NotConvergedError after
    *max_steps*, EngineFailedError where the engine fails.
    """
    from ase.optimize import BFGS

    atoms: Any = parent.structure.to_atoms()
    atoms.calc = cache.engine(engine, item)
    optimiser = BFGS(atoms, logfile=None, maxstep=0.1)
    if not optimiser.run(fmax=fmax, steps=max_steps):
        raise NotConvergedError(f"{engine.name}: no minimum within {max_steps} steps of BFGS")
    minimum = parent.structure.moved(atoms.positions)
    return Parent.of(minimum, minimum_label(engine, fmax)), int(optimiser.nsteps)
