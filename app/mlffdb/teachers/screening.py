"""The checks before a teacher computes, over a whole batch at once.

A few operations on long arrays say which structures are certainly fine; only the others are looked
at one by one, so that a refusal always has the reason that `checks.precheck` gives. Measured on
structures of 24 to 36 atoms: 6 µs for each instead of 26, and 21 for crystals instead of 10,000.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Failure, Teacher
from mlffdb.teachers.checks import DENSE_LIMIT, MIN_DISTANCE, MIN_VOLUME_PER_ATOM, precheck

#: Structures of alike size are looked at together, padded to a multiple of so many atoms.
WIDTH = 8

Flags = NDArray[np.bool_]


def screen(teacher: Teacher, structures: Sequence[Structure]) -> list[Failure | None]:
    """Return for each structure why *teacher* must not compute it, or None."""
    if not structures:
        return []
    fine = _is_plain(teacher.capabilities, structures)
    fine &= _is_known(teacher.capabilities, structures)
    fine &= _is_apart(structures, fine)
    return [
        None if good else precheck(teacher, structure)
        for good, structure in zip(fine.tolist(), structures, strict=True)
    ]


def _is_plain(able: Capabilities, structures: Sequence[Structure]) -> Flags:
    """Whether each is isolated or a crystal, of allowed size, charge and multiplicity."""
    most = able.max_atoms or np.inf
    spins = None if able.open_shell else (None, 1)
    kinds = {kind: n for kind, n in (((False,) * 3, 0), ((True,) * 3, 3)) if n in able.periodicity}
    return np.array(
        [
            structure.pbc in kinds
            and 0 < len(structure.numbers) <= most
            and (able.charged or structure.charge == 0)
            and (spins is None or structure.multiplicity in spins)
            for structure in structures
        ]
    )


def _is_known(able: Capabilities, structures: Sequence[Structure]) -> Flags:
    """Whether each has elements that the teacher knows, and a multiplicity that fits."""
    lengths = np.array([len(structure.numbers) for structure in structures])
    if not lengths.all():
        return np.zeros(len(structures), dtype=bool)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
    numbers = np.concatenate([structure.numbers for structure in structures])
    known = np.zeros(256, dtype=bool)
    known[list(able.elements)] = True
    charges = np.array([structure.charge for structure in structures])
    electrons = np.add.reduceat(numbers.astype(np.int64), starts) - charges
    unpaired = np.array([(structure.multiplicity or 1) - 1 for structure in structures])
    fits = ((electrons - unpaired) % 2 == 0) & (electrons >= unpaired)
    fits |= np.array([structure.cell is not None for structure in structures])
    return np.asarray(np.logical_and.reduceat(known[numbers], starts) & fits)


def _is_apart(structures: Sequence[Structure], among: Flags) -> Flags:
    """Whether the atoms of each of *among* are finite and MIN_DISTANCE apart; else False."""
    apart = np.zeros(len(structures), dtype=bool)
    alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for index in np.flatnonzero(among).tolist():
        structure = structures[index]
        width = -(-len(structure.numbers) // WIDTH) * WIDTH
        alike[width, structure.cell is not None].append(index)
    for (width, crystals), indices in alike.items():
        # one by one is faster for a few large ones, and tree search for the largest
        if width > DENSE_LIMIT or (3 * len(indices) < width and not crystals):
            continue
        positions = np.full((len(indices), width, 3), np.nan)
        for place, index in zip(positions, indices, strict=True):
            place[: len(structures[index].numbers)] = structures[index].positions
        numbers = np.array([len(structures[index].numbers) for index in indices])
        finite = np.isfinite(positions).sum(axis=(1, 2)) == 3 * numbers
        with np.errstate(invalid="ignore"):  # infinity from infinity
            if crystals:
                cells = np.array([structures[index].cell for index in indices])
                apart[indices] = finite & _crystals_apart(positions, cells, numbers)
            else:
                apart[indices] = finite & (nearest_squared(positions) >= MIN_DISTANCE**2)
    return apart


def _crystals_apart(
    positions: NDArray[np.float64], cells: NDArray[np.float64], numbers: NDArray[np.int_]
) -> Flags:
    """Whether crystals have room and no close atoms, their images included.

    Rounding fractional differences finds every image within MIN_DISTANCE where all planes of the
    lattice are twice as far apart; cells that are thinner are left to the search by neighbours.
    """
    volumes = np.abs(np.linalg.det(cells))
    roomy = volumes / numbers >= MIN_VOLUME_PER_ATOM
    inverse = np.linalg.inv(np.where(roomy[:, None, None], cells, np.eye(3)))
    heights = 1.0 / np.linalg.norm(inverse, axis=1)
    thick = (heights >= 2 * MIN_DISTANCE).all(axis=1)
    nearest = nearest_squared(positions @ inverse, cells)
    return np.asarray(roomy & thick & (nearest >= MIN_DISTANCE**2))


def nearest_squared(
    positions: NDArray[np.float64], cells: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the smallest squared distance in each of n structures of n_atoms, Å².

    positions: (n, n_atoms, 3) Å, or fractional where *cells* (n, 3, 3) are given: then to the image
        that rounding finds; NaN where there is no atom
    """
    # structures last, so that each operation runs over long rows: 1.2 µs for 30 atoms
    axes = np.ascontiguousarray(positions.transpose(2, 1, 0))
    nearest = np.full(len(positions), np.inf)
    for shift in range(1, positions.shape[1]):
        vectors = axes[:, shift:] - axes[:, :-shift]
        if cells is None:
            vectors *= vectors
            squared = vectors.sum(axis=0)
        else:
            vectors -= np.rint(vectors)
            squared = _squared_lengths(vectors, cells)
        np.fmin(nearest, np.fmin.reduce(squared, axis=0), out=nearest)
    return nearest


def _squared_lengths(
    fractional: NDArray[np.float64], cells: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return f·G·f (n_vectors, n) of vectors (3, n_vectors, n) by the metric G of each cell."""
    a, b, c = fractional
    metric = cells @ cells.transpose(0, 2, 1)
    aa, ab, ac, bb, bc, cc = metric[:, (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)].T
    squared = a * (aa * a + (2 * ab) * b + (2 * ac) * c)
    squared += b * (bb * b + (2 * bc) * c)
    squared += cc * (c * c)
    return np.asarray(squared)
