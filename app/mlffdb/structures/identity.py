"""The identity of a structure: a content hash that only physics can change.

Canonical form: positions on an integer grid of about 1e-6 Å, wrapped by integer modulo along the
periodic axes, atoms sorted by element and grid position, with cell, pbc, charge and
multiplicity. Atom order and translations by lattice vectors leave it as it is.

Atoms of perfect crystals sit on simple fractions of the cell (1/2, 1/3, 1/8 …). The number of
grid points along a periodic axis is a multiple of 5040 = 2⁴·3²·5·7, so that those fractions fall
on grid points and never on a rounding tie, where the last bit of a float would decide.

Near-duplicates that differ by more than the grid are found by tolerance and kept as pairs.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures.structure import Structure

GRID = 1e-6  # Å
HIGHLY_COMPOSITE = 5040
_VERSION = b"mlffdb structure 1"


def canonical_order(structure: Structure) -> NDArray[np.intp]:
    """Return the (n_atoms,) indices that put the atoms into canonical order."""
    return _sorted(structure, grid_positions(structure))


def structure_id(structure: Structure) -> UUID:
    """Return the identity: the first 16 bytes of a SHA-256 over the canonical form."""
    grid = grid_positions(structure)
    return _digest(structure, grid, _sorted(structure, grid))


def canonicalise(structure: Structure) -> tuple[UUID, NDArray[np.intp]]:
    """Return identity and canonical order in one pass."""
    grid = grid_positions(structure)
    order = _sorted(structure, grid)
    return _digest(structure, grid, order), order


def grid_positions(structure: Structure) -> NDArray[np.int64]:
    """Return (n_atoms, 3) int64 grid coordinates, wrapped along periodic axes."""
    if structure.cell is None:
        return np.rint(structure.positions / GRID).astype(np.int64)
    frame = _frame(structure)
    points = _grid_points(structure)
    fractional = np.linalg.solve(frame.T, structure.positions.T).T
    grid = np.rint(fractional * points).astype(np.int64)
    periodic = np.array(structure.pbc)
    grid[:, periodic] %= points[periodic].astype(np.int64)
    return grid


def _sorted(structure: Structure, grid: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.lexsort((grid[:, 2], grid[:, 1], grid[:, 0], structure.numbers))


def _digest(structure: Structure, grid: NDArray[np.int64], order: NDArray[np.intp]) -> UUID:
    multiplicity = structure.spin_multiplicity
    header = (structure.n_atoms, *structure.pbc, structure.charge, multiplicity or 0)
    digest = hashlib.sha256(_VERSION)
    digest.update(np.array(header, dtype="<i8").tobytes())
    digest.update(structure.numbers[order].tobytes())
    digest.update(np.ascontiguousarray(grid[order], dtype="<i8").tobytes())
    if structure.cell is not None:
        digest.update(_grid_cell(structure).astype("<i8").tobytes())
    return UUID(bytes=digest.digest()[:16])


def _grid_cell(structure: Structure) -> NDArray[np.int64]:
    """Lattice vectors on the grid; vectors of axes that are not periodic are ignored."""
    assert structure.cell is not None
    cell = np.rint(structure.cell / GRID).astype(np.int64)
    cell[~np.array(structure.pbc)] = 0
    return cell


def _grid_points(structure: Structure) -> NDArray[np.float64]:
    """Grid points along each axis: a multiple of 5040 when periodic, else one per GRID."""
    length = np.linalg.norm(_grid_cell(structure).astype(np.float64), axis=1)
    points = np.maximum(np.rint(length / HIGHLY_COMPOSITE), 1.0) * HIGHLY_COMPOSITE
    return np.where(np.array(structure.pbc), points, 1.0 / GRID)


def _frame(structure: Structure) -> NDArray[np.float64]:
    """Periodic lattice vectors, completed by unit vectors normal to all of them."""
    assert structure.cell is not None
    periodic = np.array(structure.pbc)
    if periodic.all():
        return structure.cell
    frame = np.array(structure.cell)
    normals = np.linalg.svd(frame[periodic])[2][periodic.sum() :]
    # a fixed sign, so that the same cell gives the same frame
    leading = np.argmax(np.abs(normals) > 1e-9, axis=1)
    frame[~periodic] = normals * np.sign(normals[np.arange(len(normals)), leading])[:, None]
    return frame
