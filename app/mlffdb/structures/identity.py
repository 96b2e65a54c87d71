"""The identity of a structure: a content hash that only physics can change.

Canonical form: positions on an integer grid, wrapped by integer modulo along the periodic axes,
atoms sorted by element and grid position, with cell, pbc, charge and multiplicity. Atom order and
translations by lattice vectors leave it as it is; moving one atom by more than 2e-6 Å never does.

Atoms of perfect crystals sit on simple fractions of the cell (0, 1/2, 1/3, 1/8 …) and numbers
from files on short decimals. Rounding them to the nearest grid point meets ties there, where the
last bit of a float decides. So the border between two grid points lies at an irrational place,
the golden ratio: a fraction with denominator q stays at least 0.38/q² grid steps away from it,
which is far above the noise of float64 (about 1e-9 steps; 1e-6 after a shift of 1000 cells).

Near-duplicates that differ by more than the grid are found by tolerance and kept as pairs.
"""

from __future__ import annotations

import hashlib
import math
import struct
from itertools import chain
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures.structure import Structure

#: Grid step of Cartesian coordinates and cell vectors, Å.
GRID = 1e-6
#: Grid points per Å along a periodic axis: twice as fine as GRID, because a move of 2e-6 Å can be
#: spread over three lattice vectors that are almost parallel.
POINTS_PER_ANGSTROM = 2e6
#: Grid point = floor(value + GOLDEN): borders at irrational places, see above.
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_PER_ANGSTROM = 1e6  # 1 / GRID, exact
_VERSION = b"mlffdb structure 1"

Vector = tuple[float, float, float]


def canonical_order(structure: Structure) -> NDArray[np.intp]:
    """Return the (n_atoms,) indices that put the atoms into canonical order."""
    return _sorted(structure, grid_positions(structure))


def structure_id(structure: Structure) -> UUID:
    """Return the identity: the first 16 bytes of a SHA-256 over the canonical form."""
    return canonicalise(structure)[0]


def canonicalise(structure: Structure) -> tuple[UUID, NDArray[np.intp]]:
    """Return identity and canonical order in one pass."""
    grid = grid_positions(structure)
    order = _sorted(structure, grid)
    return _digest(structure, grid, order), order


def grid_positions(structure: Structure) -> NDArray[np.int64]:
    """Return (n_atoms, 3) int64 grid coordinates, wrapped along periodic axes.

    Isolated structures: Cartesian coordinates in GRID. Three periodic axes: fractional
    coordinates. One or two: (n_atoms, n_periodic + 3), fractional coordinates along the periodic
    axes, then what is left of the Cartesian ones without their part along those axes.
    """
    positions = structure.positions
    if structure.cell is None:
        return _to_grid(positions * _PER_ANGSTROM)
    vectors = _periodic_vectors(structure)
    points = np.array([_points(vector) for vector in vectors])
    duals = np.array(_duals(vectors))
    # sums of products instead of a matrix product, whose last bit differs between machines
    fractional = (
        positions[:, :1] * duals[:, 0]
        + positions[:, 1:2] * duals[:, 1]
        + positions[:, 2:] * duals[:, 2]
    )
    grid: NDArray[np.int64] = _to_grid(fractional * points) % points
    if len(vectors) == 3:
        return grid
    rest = positions.copy()
    for axis, vector in enumerate(vectors):
        rest -= fractional[:, axis : axis + 1] * np.array(vector)
    return np.hstack([grid, _to_grid(rest * _PER_ANGSTROM)])


def _points(vector: Vector) -> int:
    """Return the number of grid points along a periodic lattice vector."""
    return max(math.floor(math.hypot(*vector) * POINTS_PER_ANGSTROM + GOLDEN), 1)


def _to_grid(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(values + GOLDEN).astype(np.int64)


def _sorted(structure: Structure, grid: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.lexsort((*grid.T[::-1], structure.numbers))


def _digest(structure: Structure, grid: NDArray[np.int64], order: NDArray[np.intp]) -> UUID:
    multiplicity = structure.spin_multiplicity or 0
    header = (structure.n_atoms, *structure.pbc, structure.charge, multiplicity)
    digest = hashlib.sha256(_VERSION)
    digest.update(struct.pack("<6q", *header))
    digest.update(structure.numbers[order].tobytes())
    digest.update(grid[order].astype("<i8", copy=False).tobytes())
    if structure.cell is not None:
        entries = chain.from_iterable(_periodic_vectors(structure))
        cell = [math.floor(x * _PER_ANGSTROM + GOLDEN) for x in entries]
        digest.update(struct.pack(f"<{len(cell)}q", *cell))
    return UUID(bytes=digest.digest()[:16])


def _periodic_vectors(structure: Structure) -> list[Vector]:
    """Lattice vectors of the periodic axes; those of other axes mean nothing."""
    assert structure.cell is not None
    rows = structure.cell.tolist()
    return [tuple(row) for row, periodic in zip(rows, structure.pbc, strict=True) if periodic]


def _duals(vectors: list[Vector]) -> list[Vector]:
    """Return the vectors b with b_i · a_j = δ_ij in the space that the *vectors* a span."""
    if len(vectors) == 1:
        return [_scaled(vectors[0], 1.0 / _dot(vectors[0], vectors[0]))]
    a, b = vectors[:2]
    c = vectors[2] if len(vectors) == 3 else _cross(a, b)
    inverse = 1.0 / _dot(_cross(a, b), c)
    duals = [_scaled(v, inverse) for v in (_cross(b, c), _cross(c, a), _cross(a, b))]
    return duals[: len(vectors)]


def _cross(a: Vector, b: Vector) -> Vector:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _scaled(a: Vector, factor: float) -> Vector:
    return (a[0] * factor, a[1] * factor, a[2] * factor)
