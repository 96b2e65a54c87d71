"""Distances between atoms against the sums of their covalent radii."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Isolated structures up to this size list all their pairs; larger ones take a neighbour list.
ALL_PAIRS_MAX_ATOMS = 200


@cache
def covalent_radii() -> Floats:
    """Return (119,) covalent radii in Å by atomic number.

    Cordero et al., Dalton Trans. 2832 (2008), as ASE has them; 1.5 Å where the paper has none.
    """
    from ase.data import covalent_radii as radii

    values = np.array(radii[:119], dtype=np.float64)
    values[values < 0.25] = 1.5
    return values


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """P pairs of atoms, periodic images included.

    i, j: (P,) int64
    shift: (P, 3) float64, Å; lattice translation of j
    radii: (P,) float64, Å; sum of the covalent radii
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    shift: NDArray[np.float64]
    radii: NDArray[np.float64]

    def distances(self, positions: NDArray[np.float64]) -> Floats:
        """Return (..., P) distances in Å for (..., n_atoms, 3) positions."""
        delta = positions[..., self.j, :] - positions[..., self.i, :] + self.shift
        return np.asarray(np.sqrt(np.einsum("...k,...k->...", delta, delta)))

    def select(self, mask: NDArray[np.bool_]) -> Pairs:
        """Return the pairs where *mask* is true."""
        return Pairs(self.i[mask], self.j[mask], self.shift[mask], self.radii[mask])


def pairs_within(structure: Structure, factor: float, margin: float = 0.0) -> Pairs:
    """Return at least the pairs closer than *factor* × the sum of radii + *margin* (Å)."""
    radii = covalent_radii()[structure.numbers]
    if structure.n_periodic == 0 and structure.n_atoms <= ALL_PAIRS_MAX_ATOMS:
        i, j = np.triu_indices(structure.n_atoms, k=1)
        return Pairs(i, j, np.zeros((len(i), 3)), radii[i] + radii[j])
    i, j, shift = _near_pairs(structure, float(factor * 2 * radii.max() + margin))
    return Pairs(i, j, shift, radii[i] + radii[j])


def _near_pairs(structure: Structure, cutoff: float) -> tuple[Indices, Indices, Floats]:
    """Return i, j and the lattice translation of j (Å) of all pairs within *cutoff*, each once.

    A k-d tree over the atoms, wrapped into the cell, and those of their images that can be near.
    """
    from scipy.spatial import cKDTree

    cell = _full_cell(structure)
    periodic = np.array(structure.pbc)
    fractional = structure.positions @ np.linalg.inv(cell)
    home = np.where(periodic, np.floor(fractional), 0.0)
    fractional = fractional - home
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.where(periodic, cutoff / heights, np.inf)
    steps = [np.arange(-n, n + 1) for n in np.where(periodic, np.ceil(reach), 0).astype(int)]
    images = np.array(np.meshgrid(*steps, indexing="ij")).reshape(3, -1).T
    moved = fractional[None, :, :] + images[:, None, :]
    image, atom = np.nonzero(((moved > -reach) & (moved < 1 + reach)).all(axis=-1))
    tree = cKDTree(fractional @ cell)
    found = tree.sparse_distance_matrix(
        cKDTree(moved[image, atom] @ cell), cutoff, output_type="ndarray"
    )
    i, j, S = found["i"].astype(np.int64), atom[found["j"]], images[image[found["j"]]]
    once = (i < j) | ((i == j) & (S @ np.array([9e6, 3e3, 1]) > 0))
    i, j, S = i[once], j[once], S[once]
    order = np.lexsort((*S.T, j, i))
    i, j, S = i[order], j[order], S[order]
    return i, j, (S - home[j] + home[i]) @ cell


def closest_contact(structure: Structure, factor: float = 3.0) -> float:
    """Return the smallest distance over sum of covalent radii; *factor* where none is below it."""
    pairs = pairs_within(structure, factor)
    if len(pairs.i) == 0:
        return factor
    return float(min(factor, (pairs.distances(structure.positions) / pairs.radii).min()))


def _full_cell(structure: Structure) -> Floats:
    if structure.cell is None:
        return np.eye(3)
    if structure.n_periodic == 3:
        return structure.cell
    from ase.geometry import complete_cell

    cell = np.where(np.array(structure.pbc)[:, None], structure.cell, 0.0)
    return np.asarray(complete_cell(cell), dtype=np.float64)
