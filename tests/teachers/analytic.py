"""A teacher written out by hand: a sum of pair energies, exact to the last digit.

It runs out of memory above a number of atoms in a batch and fails on gold, so that the search for
a bad structure meets what real teachers do.
"""

from __future__ import annotations

import numpy as np

from mlffdb.teachers.base import Capabilities, Identity, Prediction, Teacher

WIDTH = 2.0  # Å
GOLD = 79


class PairTeacher(Teacher):
    """E = Σ Z_i Z_j exp(−(r/WIDTH)²)/1000 over pairs, in eV."""

    def __init__(self, memory: float = 1e9, budget: float = 1000.0) -> None:
        self.name = "pair"
        self.device = "cpu"
        self.budget = budget
        self.memory = memory
        self.calls: list[int] = []
        self.resets = 0
        self.identity = Identity("pair", {}, None, "float64")
        self.capabilities = Capabilities(
            elements=frozenset(range(1, 100)),
            periodicity=frozenset({0}),
            charged=False,
            open_shell=False,
            stress=False,
            conservative=True,
            equivariant=True,
            spread=False,
            max_atoms=50,
            cost_unit="atoms",
            energy_tolerance=1e-9,
            force_tolerance=1e-9,
            licence="none",
        )

    def compute(self, batch):
        self.calls.append(len(batch))
        if sum(structure.n_atoms for structure in batch) > self.memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if any(GOLD in structure.numbers for structure in batch):
            raise ValueError("gold")
        return [self.one(structure) for structure in batch]

    def one(self, structure):
        vectors = structure.positions[:, None] - structure.positions[None]
        charges = structure.numbers.astype(float)
        pair = np.outer(charges, charges) * np.exp(-(vectors**2).sum(-1) / WIDTH**2) / 1000
        np.fill_diagonal(pair, 0.0)
        forces = (2 / WIDTH**2) * (pair[..., None] * vectors).sum(axis=1)
        return Prediction(float(pair.sum() / 2), forces, multiplicity=1)

    def reset(self):
        self.resets += 1
