"""Random displacements that keep atoms apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlffdb.sampling.geometry import Pairs, pairs_within
from mlffdb.sampling.items import Context, Item
from mlffdb.sampling.method import Method, Pool
from mlffdb.structures import Candidate, Rejection, Structure

#: No atom goes further than this many standard deviations from where it started.
MAX_DEVIATIONS = 6.0


class Rattle(Method):
    """Monte-Carlo rattle: Gaussian steps, of which those that bring atoms too close are undone.

    After Eriksson, Fransson, Erhart, Adv. Theory Simul. 2, 1800184 (2019) (hiPhive): the sum of
    ``sweeps`` steps of width std/√sweeps has the width ``std``. The limit on distances is a
    fraction of the covalent radii, since a flat one in Å fails for X–H; atoms of the parent that
    are closer already may only move apart.
    """

    type: Literal["rattle"] = "rattle"
    std: float = Field(gt=0, le=1, description="standard deviation of each coordinate, Å")
    count: int = Field(default=1, ge=1, description="structures of each parent")
    sweeps: int = Field(default=10, ge=1, description="Monte-Carlo steps of each atom")
    min_contact: float = Field(
        default=0.7,
        ge=0,
        le=1.5,
        description="smallest distance allowed, in sums of covalent radii",
    )

    def expected(self, pool: Pool) -> tuple[int, Pool]:
        return len(pool[: self.parents]) * self.count, pool

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        facts = {"std_A": self.std, "sweeps": self.sweeps, "min_contact": self.min_contact}
        for parent in item.parents[: self.parents]:
            positions = rattled(
                parent.structure,
                context.rng,
                std=self.std,
                count=self.count,
                sweeps=self.sweeps,
                min_contact=self.min_contact,
            )
            for index in range(self.count):
                yield item.candidate(
                    parent.structure.moved(positions[index]),
                    self.type,
                    parameters=facts | {"index": index},
                    seed=context.seed,
                    parent=parent,
                )


def rattled(
    structure: Structure,
    rng: np.random.Generator,
    *,
    std: float,
    count: int,
    sweeps: int = 10,
    min_contact: float = 0.7,
) -> NDArray[np.float64]:
    """Return (count, n_atoms, 3) rattled positions in Å; all *count* walk side by side."""
    start = structure.positions
    reach = MAX_DEVIATIONS * std
    pairs, limits = _guarded_pairs(structure, min_contact, 2 * reach)
    now = np.broadcast_to(start, (count, *start.shape)).copy()
    for _ in range(sweeps):
        trial = now + rng.normal(0.0, std / np.sqrt(sweeps), now.shape)
        too_far = ((trial - start) ** 2).sum(axis=-1) > reach**2
        now = _undo(now, trial, too_far, pairs, limits)
    return now


def _undo(
    now: NDArray[np.float64],
    trial: NDArray[np.float64],
    undone: NDArray[np.bool_],
    pairs: Pairs,
    limits: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return *trial* without the moves in *undone* and those that bring atoms too close.

    Undoing one move can bring it into conflict with another, so until nothing changes; at the
    latest when all are undone.
    """
    while True:
        trial = np.where(undone[..., None], now, trial)
        undone = _in_conflict(trial, pairs, limits) & (trial != now).any(axis=-1)
        if not undone.any():
            return trial


def _guarded_pairs(
    structure: Structure, min_contact: float, margin: float
) -> tuple[Pairs, NDArray[np.float64]]:
    """Pairs that could come too close within *margin* (Å), and their smallest distances in Å."""
    pairs = pairs_within(structure, min_contact, margin)
    pairs = pairs.select(pairs.i != pairs.j)  # an atom and its own image move together
    distances = pairs.distances(structure.positions)
    limits = np.minimum(min_contact * pairs.radii, distances)
    near = distances < limits + margin
    return pairs.select(near), limits[near]


def _in_conflict(
    positions: NDArray[np.float64], pairs: Pairs, limits: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return (count, n_atoms): atoms of a pair that is too close."""
    copy, pair = np.nonzero(pairs.distances(positions) < limits)
    conflict = np.zeros(positions.shape[:2], dtype=bool)
    conflict[copy, pairs.i[pair]] = True
    conflict[copy, pairs.j[pair]] = True
    return conflict
