"""What a check is given: arrays of many structures or labels, and what checks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mlffdb.structures import StructureArrays
from mlffdb.validation.finding import MAX_ATOMS_NAMED, Finding
from mlffdb.validation.pairs import Pairs, close_pairs
from mlffdb.validation.thresholds import Threshold, Thresholds

Tags = Sequence[Sequence[str]]

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False, slots=True)
class LabelArrays:
    """Labels of B structures with N atoms in all by one teacher, aligned with StructureArrays.

    energies: (B,) float64, eV
    forces: (N, 3) float64, eV/Å
    stresses: (B, 6) float64, eV/Å³, tensile positive, xx yy zz yz xz xy; a row of six NaN where
        there is none
    conservative: whether the teacher's forces are the gradient of its energy
    domains, tags: of the structures, length B; empty when not known
    """

    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    stresses: NDArray[np.float64]
    conservative: bool
    domains: Sequence[str] = ()
    tags: Tags = ()


class StructureBatch:
    """B structures to check, with what several checks need computed once."""

    def __init__(
        self,
        structures: StructureArrays,
        thresholds: Thresholds,
        domains: Sequence[str] = (),
        tags: Tags = (),
    ) -> None:
        self.structures = structures
        self.thresholds = thresholds
        self.domains = aligned(domains, len(structures), "")
        self.tags = aligned(tags, len(structures), ())

    def __len__(self) -> int:
        return len(self.structures)

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """(N,) the structure of each atom."""
        return self.structures.owner()

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """(B,) whether all coordinates and periodic cell vectors are finite numbers."""
        arrays = self.structures
        broken = self.owner[np.any(~np.isfinite(arrays.positions), axis=1)]
        sound = np.all(np.isfinite(arrays.cells), axis=2) | ~arrays.pbc
        finite: NDArray[np.bool_] = np.all(sound, axis=1)
        finite[broken] = False
        return finite

    @cached_property
    def n_periodic(self) -> NDArray[np.int64]:
        """(B,) number of periodic directions."""
        count: NDArray[np.int64] = np.sum(self.structures.pbc, axis=1, dtype=np.int64)
        return count

    @cached_property
    def n_electrons(self) -> NDArray[np.int64]:
        """(B,) number of electrons: the sum of atomic numbers minus the charge."""
        protons = np.bincount(self.owner, self.structures.numbers, minlength=len(self))
        return protons.astype(np.int64) - self.structures.charges

    @cached_property
    def pairs(self) -> Pairs:
        """All pairs of atoms near enough to be bonded, of structures with finite coordinates."""
        return close_pairs(self.structures, self.finite)

    def count(self, atoms: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(B,) how many of the marked *atoms* (N,) each structure has."""
        return np.bincount(self.owner[atoms], minlength=len(self))

    def judged(self, limit: Threshold) -> NDArray[np.bool_]:
        """(B,) the structures that *limit* applies to: no tag exempts them."""
        if not limit.exempt_tags:
            return np.ones(len(self), dtype=bool)
        exempt = set(limit.exempt_tags)
        return np.array([exempt.isdisjoint(tags) for tags in self.tags], dtype=bool)

    def local(self, index: int, atoms: NDArray[np.int64]) -> tuple[int, ...]:
        """Return global *atoms* of structure *index* as indices into it, the first few."""
        start = int(self.structures.offsets[index])
        return tuple(int(atom) - start for atom in atoms[:MAX_ATOMS_NAMED])

    def atom_name(self, atom: int) -> str:
        """Return the element and index, within its structure, of a global *atom*: ``H12``."""
        start = self.structures.offsets[self.owner[atom]]
        return f"{chemical_symbols[self.structures.numbers[atom]]}{atom - start}"


class LabelBatch(StructureBatch):
    """B structures with one label each."""

    def __init__(
        self, structures: StructureArrays, labels: LabelArrays, thresholds: Thresholds
    ) -> None:
        super().__init__(structures, thresholds, labels.domains, labels.tags)
        size, n_atoms = len(structures), len(structures.numbers)
        shapes = (labels.energies.shape, labels.forces.shape, labels.stresses.shape)
        if shapes != ((size,), (n_atoms, 3), (size, 6)):
            raise ValueError(f"labels of shapes {shapes} for {size} structures, {n_atoms} atoms")
        self.labels = labels

    @cached_property
    def has_stress(self) -> NDArray[np.bool_]:
        """(B,) whether there is a stress."""
        stated: NDArray[np.bool_] = np.any(~np.isnan(self.labels.stresses), axis=1)
        return stated

    @cached_property
    def forces(self) -> NDArray[np.float64]:
        """(N, 3) eV/Å, no component beyond 1e100, so that squares and sums are finite numbers."""
        return np.clip(self.labels.forces, -1e100, 1e100)

    @cached_property
    def broken_forces(self) -> NDArray[np.int64]:
        """(B,) atoms whose force is not finite."""
        return self.count(np.any(~np.isfinite(self.labels.forces), axis=1))

    def sum_per_structure(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, 3) sums over the atoms of each structure of *values* (N, 3)."""
        columns = [np.bincount(self.owner, column, minlength=len(self)) for column in values.T]
        return np.stack(columns, axis=1)

    @cached_property
    def summable(self) -> NDArray[np.bool_]:
        """(B,) whether all forces are finite."""
        sound: NDArray[np.bool_] = self.broken_forces == 0
        return sound


def finding(
    check: str,
    limit: Threshold,
    index: int,
    value: float | None,
    message: str,
    atoms: tuple[int, ...] = (),
) -> Finding:
    """Return a Finding of *check* that crossed *limit*."""
    return Finding(
        int(index), check, limit.severity, value, limit.value, limit.unit, message, atoms
    )


def value_of(limit: Threshold) -> float:
    """Return the number of a *limit* that has one."""
    assert limit.value is not None
    return limit.value


def aligned(values: Sequence[_T], size: int, default: _T) -> Sequence[_T]:
    """Return *values*, or *size* times *default* where there are none.

    Raises ValueError where their number is another.
    """
    if len(values) == 0:
        return [default] * size
    if len(values) != size:
        raise ValueError(f"{len(values)} values for {size} structures")
    return values
