"""Small ASE calculators with known physics, named in test plans as ``MODULE:Class``."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Springs(Calculator):
    """Every pair of atoms joined by a spring of constant k (eV/Å²) and length r0 (Å)."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, k: float = 20.0, r0: float = 1.5) -> None:
        super().__init__()
        self.k, self.r0 = k, r0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        delta = atoms.positions[None, :, :] - atoms.positions[:, None, :]
        distance = np.linalg.norm(delta, axis=-1) + np.eye(len(atoms))
        stretch = (distance - self.r0) * (1 - np.eye(len(atoms)))
        self.results = {
            "energy": 0.25 * self.k * (stretch**2).sum(),
            "forces": self.k * ((stretch / distance)[:, :, None] * delta).sum(axis=1),
        }


class Bomb(Springs):
    """Springs that break down at the given call."""

    def __init__(self, calls: int = 25) -> None:
        super().__init__(k=5.0, r0=1.5)
        self.left = calls

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the bomb went off")
        super().calculate(atoms, properties, system_changes)


class NotANumber(Springs):
    """Forces that are NaN."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.results["forces"] * np.nan
