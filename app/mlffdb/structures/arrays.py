"""Many structures as flat arrays: what checks, snapshots and loaders work on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures.structure import Structure


@dataclass(frozen=True, eq=False, slots=True)
class StructureArrays:
    """B structures with N atoms in all, concatenated.

    offsets: (B+1,) int64; atoms of structure i are ``offsets[i]:offsets[i+1]``
    numbers: (N,) uint8
    positions: (N, 3) float64, Å
    cells: (B, 3, 3) float64, Å; zero for isolated structures
    pbc: (B, 3) bool
    charges: (B,) int16, e
    multiplicities: (B,) int16; 0 where there is none
    """

    offsets: NDArray[np.int64]
    numbers: NDArray[np.uint8]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    charges: NDArray[np.int16]
    multiplicities: NDArray[np.int16]

    @classmethod
    def of(cls, structures: Sequence[Structure]) -> StructureArrays:
        """Concatenate *structures*."""
        sizes = np.array([s.n_atoms for s in structures], dtype=np.int64)
        empty = np.zeros((3, 3))
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.concatenate([s.numbers for s in structures])
            if structures
            else np.zeros(0, np.uint8),
            np.concatenate([s.positions for s in structures]) if structures else np.zeros((0, 3)),
            np.array([empty if s.cell is None else s.cell for s in structures]).reshape(-1, 3, 3),
            np.array([s.pbc for s in structures], dtype=bool).reshape(-1, 3),
            np.array([s.charge for s in structures], dtype=np.int16),
            np.array([s.multiplicity or 0 for s in structures], dtype=np.int16),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_atoms(self) -> NDArray[np.int64]:
        """(B,) int64, atoms of each structure."""
        return np.diff(self.offsets)

    def owner(self) -> NDArray[np.int64]:
        """(N,) int64, the structure that each atom belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.n_atoms)

    def __getitem__(self, index: int) -> Structure:
        index = range(len(self))[index]
        start, stop = self.offsets[index], self.offsets[index + 1]
        pbc = self.pbc[index]
        multiplicity = int(self.multiplicities[index])
        return Structure(
            self.numbers[start:stop],
            self.positions[start:stop],
            self.cells[index] if pbc.any() else None,
            (bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
            int(self.charges[index]),
            multiplicity or None,
        )

    def __iter__(self) -> Iterator[Structure]:
        return (self[index] for index in range(len(self)))
