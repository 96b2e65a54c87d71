"""How far two structures of the same composition are apart once one is moved onto the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Starting positions tried per pair; only highly symmetric structures have more.
_MAX_STARTS = 2_000


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """Atoms to superpose.

    numbers: (n_atoms,) atomic numbers
    positions: (n_atoms, 3) Å, centred at their mean where isolated
    cell: (3, 3) Å, lower triangular, None where isolated
    """

    numbers: NDArray[np.uint8]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] | None = None


def lattice_shape(
    numbers: NDArray[np.uint8], positions: NDArray[np.float64], cell: NDArray[np.float64]
) -> Shape:
    """Return a crystal turned so that its cell is lower triangular: rotations no longer count.

    The third diagonal element is negative for a left-handed cell.
    """
    triangle = np.linalg.cholesky(cell @ cell.T)
    triangle[2, 2] *= np.sign(np.linalg.det(cell))
    turned = triangle.astype(np.float64)
    return Shape(numbers, positions @ np.linalg.inv(cell) @ turned, turned)


def superpose(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (P,) RMSD of centred positions (P, n_atoms, 3), Å, after the best proper rotation.

    Kabsch, Acta Cryst. A32 (1976) 922.
    """
    covariances = np.einsum("pni,pnj->pij", first, second)
    left, _, right = np.linalg.svd(covariances)
    signs = np.ones((len(first), 3))
    signs[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotations = (left * signs[:, None, :]) @ right
    rest = first @ rotations - second
    distances: NDArray[np.float64] = np.sqrt((rest**2).sum(axis=(1, 2)) / first.shape[1])
    return distances


def rmsd_matched(first: Shape, second: Shape, tolerance: float) -> float:
    """Return the RMSD (Å) of isolated structures after the best rotation and matching of atoms.

    Infinity where none below *tolerance* was found; the first found counts, so that in a highly
    symmetric molecule it need not be the smallest. Two atoms of one are laid upon all pairs of the
    other that lie alike, then each atom takes the nearest.
    """
    for rotation in _starts(first, second, tolerance * np.sqrt(len(first.numbers))):
        match = _match(first, second, first.positions @ rotation)
        if match is not None:
            distance = float(superpose(first.positions[None], second.positions[match][None])[0])
            if distance <= tolerance:
                return distance
    return float("inf")


def rmsd_periodic(first: Shape, second: Shape, tolerance: float) -> float:
    """Return the RMSD (Å) of crystals in the same cell after the best translation and matching.

    Infinity where none below *tolerance* was found, or a cell vector differs by more.
    """
    assert first.cell is not None and second.cell is not None
    if np.linalg.norm(first.cell - second.cell, axis=1).max() > tolerance:
        return float("inf")
    inverse = np.linalg.inv(first.cell)
    here = first.positions @ inverse
    there = second.positions @ np.linalg.inv(second.cell)
    number = _rarest(first.numbers)
    anchor = here[np.flatnonzero(first.numbers == number)[0]]
    for target in there[second.numbers == number]:
        distance = _best_shift(first, second, here - anchor, there - target)
        if distance <= tolerance:
            return distance
    return float("inf")


def _best_shift(
    first: Shape, second: Shape, here: NDArray[np.float64], there: NDArray[np.float64]
) -> float:
    """Return the RMSD with two atoms laid upon each other, then the mean shift taken off."""
    assert first.cell is not None
    steps = here[:, None] - there[None]
    steps -= np.rint(steps)
    vectors = steps @ first.cell
    squares = np.einsum("ijk,ijk->ij", vectors, vectors)
    squares[first.numbers[:, None] != second.numbers[None]] = np.inf
    match = squares.argmin(axis=1)
    if len(np.unique(match)) < len(match):
        return float("inf")
    moved = vectors[np.arange(len(match)), match]
    moved = moved - moved.mean(axis=0)
    return float(np.sqrt((moved**2).sum() / len(moved)))


def _starts(first: Shape, second: Shape, slack: float) -> Iterator[NDArray[np.float64]]:
    """Yield rotations that lay two atoms of *first* upon two alike of *second*, within *slack* Å.

    With the centre as third point two atoms fix the rotation, unless all atoms lie on one line
    through the centre, where any rotation about the line does.
    """
    here, there = first.positions, second.positions
    radii_here, radii_there = np.linalg.norm(here, axis=1), np.linalg.norm(there, axis=1)

    def alike(atom: int) -> NDArray[np.intp]:
        near = np.abs(radii_there - radii_here[atom]) <= slack
        return np.flatnonzero(near & (second.numbers == first.numbers[atom]))

    choices = np.array([len(alike(atom)) for atom in range(len(here))])
    if not choices.all():
        return
    # far from the centre, and with few atoms alike
    one = int(np.argmax(radii_here / choices))
    heights = np.linalg.norm(np.cross(here, here[one]), axis=1) / max(radii_here[one], 1e-9)
    two = int(np.argmax(heights / choices))
    gap = np.linalg.norm(here[one] - here[two])
    frame = _frame(here[one], here[two])
    tried = 0
    for a in alike(one):
        for b in alike(two):
            if abs(np.linalg.norm(there[a] - there[b]) - gap) <= 2 * slack:
                yield frame.T @ _frame(there[a], there[b])
                tried += 1
                if tried == _MAX_STARTS:
                    return


def _frame(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 3) orthonormal right-handed rows: along *one*, towards *two*, normal to both."""
    length = float(np.linalg.norm(one))
    along = one / length if length > 1e-9 else np.array([1.0, 0.0, 0.0])
    across = two - (two @ along) * along
    if np.linalg.norm(across) < 1e-6:
        across = np.eye(3)[np.abs(along).argmin()]
        across = across - (across @ along) * along
    across = across / np.linalg.norm(across)
    return np.stack([along, across, np.cross(along, across)])


def _match(first: Shape, second: Shape, turned: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """Return for each atom the nearest of its element in *second*; None if two want the same."""
    steps = turned[:, None] - second.positions[None]
    squares = np.einsum("ijk,ijk->ij", steps, steps)
    squares[first.numbers[:, None] != second.numbers[None]] = np.inf
    match: NDArray[np.intp] = squares.argmin(axis=1)
    return match if len(np.unique(match)) == len(match) else None


def _rarest(numbers: NDArray[np.uint8]) -> int:
    counts = np.bincount(numbers)
    counts[counts == 0] = len(numbers) + 1
    return int(counts.argmin())
