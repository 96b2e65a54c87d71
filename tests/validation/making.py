"""Structures and labels that the validation tests share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from ase import Atoms
from ase.build import molecule
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mlffdb.structures import Structure, StructureArrays
from mlffdb.validation import Finding, LabelArrays, check_structures, load_thresholds

THRESHOLDS = load_thresholds()


def batch(*items: Structure | Atoms) -> StructureArrays:
    """Return *items* as arrays."""
    return StructureArrays.of(
        [item if isinstance(item, Structure) else Structure.from_atoms(item) for item in items]
    )


def g2(name: str) -> Structure:
    """Return a molecule of ASE's g2 set."""
    return Structure.from_atoms(molecule(name))


def skeleton(structure: Structure) -> Structure:
    """Return *structure* without its hydrogens."""
    return Structure(
        structure.numbers[structure.numbers > 1], structure.positions[structure.numbers > 1]
    )


def moved(
    structure: Structure, rng: np.random.Generator, noise: float = 0.0, shuffle: bool = True
) -> Structure:
    """Return *structure* turned, shifted, with *noise* (Å) and its atoms in another order."""
    rotation = Rotation.random(rng=rng).as_matrix()
    order = rng.permutation(structure.n_atoms) if shuffle else np.arange(structure.n_atoms)
    positions = structure.positions + rng.normal(0.0, max(noise, 1e-300), (structure.n_atoms, 3))
    cell = None if structure.cell is None else structure.cell @ rotation
    turned = structure.moved((positions + rng.uniform(-5, 5, 3)) @ rotation, cell)
    return turned.take(order)


def found(
    structures: StructureArrays,
    only: Collection[str] | None = None,
    tags: Sequence[Sequence[str]] = (),
) -> list[Finding]:
    """Return what the structure checks say under the packaged thresholds."""
    return check_structures(structures, THRESHOLDS, only=only, tags=tags)


def labels(
    structures: StructureArrays,
    *,
    energies: Sequence[float] | NDArray[np.float64] | None = None,
    forces: NDArray[np.float64] | None = None,
    stresses: NDArray[np.float64] | None = None,
    conservative: bool = True,
    domains: Sequence[str] = (),
    tags: Sequence[Sequence[str]] = (),
) -> LabelArrays:
    """Return labels of zero energy and force, unless given."""
    n = len(structures)
    return LabelArrays(
        np.zeros(n) if energies is None else np.asarray(energies, dtype=np.float64),
        np.zeros((len(structures.numbers), 3)) if forces is None else forces,
        np.full((n, 6), np.nan) if stresses is None else stresses,
        conservative,
        domains,
        tags,
    )
