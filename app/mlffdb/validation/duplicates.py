"""Near-duplicates: the same structure again, but for a rigid motion and small noise.

Candidates are blocked by composition, charge, multiplicity and periodicity, and within a block by
invariants that change by no more than the RMSD between two structures, so that a search within the
tolerance (k-d tree, no bins and no edges) misses none:

- isolated: the singular values of the centred positions over √n (Mirsky's theorem), the moment of
  each element, then all distances to the centre, sorted by element (sorting is the best match);
- periodic: the lengths of the cell vectors, and the magnitude of structure factors of several wave
  vectors over the length of these.

What is left is superposed (`mlffdb.validation.superposition`). Mirror images are different
structures. Cells of a crystal must be the same choice of lattice vectors in the same order;
supercells, and structures periodic in one or two directions, are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import StructureArrays
from mlffdb.validation.batch import StructureBatch, finding, value_of
from mlffdb.validation.energy import element_counts
from mlffdb.validation.finding import Finding
from mlffdb.validation.registry import set_check
from mlffdb.validation.superposition import (
    Shape,
    lattice_shape,
    rmsd_matched,
    rmsd_periodic,
    superpose,
)
from mlffdb.validation.thresholds import Thresholds

#: Candidates looked at per structure where a block is so dense that all pairs would be too many.
NEIGHBOURS = 16
_CHUNK = 2_000  # structures whose neighbours are held at a time

_WAVES = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [2, 1, 0]]
)

set_check("duplicate", "The same structure again, but for a rigid motion and small noise")


def find_duplicates(
    structures: StructureArrays, tolerance: float = 0.01
) -> list[tuple[int, int, float]]:
    """Return pairs (i, j, RMSD in Å), i < j, of structures within *tolerance* (Å) of each other.

    Where more than `NEIGHBOURS` structures look alike, only the nearest of each are compared, so
    that not all pairs are listed.
    """
    batch = StructureBatch(structures, _NO_LIMITS)
    found = []
    for block in _blocks(batch):
        shapes = [_shape(structures, int(index)) for index in block]
        pairs = list(_candidates(shapes, tolerance))
        for (first, second), distance in zip(
            pairs, _distances(shapes, pairs, tolerance), strict=True
        ):
            if distance <= tolerance:
                low, high = sorted((int(block[first]), int(block[second])))
                found.append((low, high, distance))
    return sorted(found)


def check_duplicates(structures: StructureArrays, thresholds: Thresholds) -> list[Finding]:
    """Return a finding for each structure that repeats one before it in the batch."""
    limit = thresholds.active("duplicate")
    if limit is None:
        return []
    nearest: dict[int, tuple[float, int]] = {}
    for first, second, distance in find_duplicates(structures, value_of(limit)):
        nearest[second] = min(nearest.get(second, (distance, first)), (distance, first))
    return [
        finding(
            "duplicate", limit, index, distance, f"structure {first} again, {distance:.4f} Å off"
        )
        for index, (distance, first) in sorted(nearest.items())
    ]


_NO_LIMITS = Thresholds({})


def _blocks(batch: StructureBatch) -> Iterator[NDArray[np.intp]]:
    """Yield the structures, two at least, that agree in all that a motion cannot change."""
    arrays = batch.structures
    counts = element_counts(arrays, np.unique(arrays.numbers).tolist())
    compared = batch.finite & ((batch.n_periodic == 0) | (batch.n_periodic == 3))
    state = np.stack([arrays.charges, arrays.multiplicities, batch.n_periodic], axis=1)
    keys = np.hstack([counts.astype(np.int32), state.astype(np.int32)])[compared]
    members = np.flatnonzero(compared)
    _, kind = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(kind.reshape(-1), kind="stable")
    edges = np.flatnonzero(np.diff(kind.reshape(-1)[order])) + 1
    yield from (block for block in np.split(members[order], edges) if len(block) > 1)


def _shape(structures: StructureArrays, index: int) -> Shape:
    start, stop = structures.offsets[index : index + 2]
    numbers, positions = structures.numbers[start:stop], structures.positions[start:stop]
    if structures.pbc[index].any():
        return lattice_shape(numbers, positions, structures.cells[index])
    return Shape(numbers, positions - positions.mean(axis=0))


def _candidates(shapes: list[Shape], tolerance: float) -> Iterator[tuple[int, int]]:
    """Yield each pair whose invariants agree, once."""
    from scipy.spatial import cKDTree

    periodic = shapes[0].cell is not None
    marks = np.array([_wave_marks(one) if periodic else _moments(one) for one in shapes])
    radii = None if periodic else np.array([_sorted_radii(one) for one in shapes])
    tree = cKDTree(marks)
    seen: set[tuple[int, int]] = set()
    for start in range(0, len(shapes), _CHUNK):
        near = tree.query_ball_point(
            marks[start : start + _CHUNK], 1.001 * tolerance, p=np.inf, return_length=True
        )
        for offset, count in enumerate(near):
            first = start + offset
            if count == 1:
                continue
            if count <= NEIGHBOURS + 1:
                others = tree.query_ball_point(marks[first], 1.001 * tolerance, p=np.inf)
            else:
                others = tree.query(marks[first], NEIGHBOURS + 1, p=np.inf)[1].tolist()
            for second in others:
                pair = (min(first, second), max(first, second))
                if second == first or pair in seen:
                    continue
                seen.add(pair)
                if radii is None or _agree(radii[first], radii[second], tolerance):
                    yield pair


def _agree(first: NDArray[np.float64], second: NDArray[np.float64], tolerance: float) -> bool:
    return bool(np.linalg.norm(first - second) <= 1.001 * tolerance * np.sqrt(len(first)))


def _distances(
    shapes: list[Shape], pairs: list[tuple[int, int]], tolerance: float
) -> Iterator[float]:
    """Yield the RMSD of each pair, infinity where it is above *tolerance*."""
    if shapes[0].cell is not None:
        for first, second in pairs:
            yield rmsd_periodic(shapes[first], shapes[second], tolerance)
        return
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        here = np.stack([shapes[first].positions for first, _ in chunk])
        there = np.stack([shapes[second].positions for _, second in chunk])
        in_order = superpose(here, there)
        for (first, second), distance in zip(chunk, in_order, strict=True):
            same = np.array_equal(shapes[first].numbers, shapes[second].numbers)
            if same and distance <= tolerance:
                yield float(distance)
            else:
                yield rmsd_matched(shapes[first], shapes[second], tolerance)


def _moments(shape: Shape) -> NDArray[np.float64]:
    """Singular values of the centred positions, and root mean square radii by element, Å."""
    root = np.sqrt(len(shape.numbers))
    values = np.zeros(3)
    singular = np.linalg.svd(shape.positions, compute_uv=False)
    values[: len(singular)] = singular
    squares = (shape.positions**2).sum(axis=1)
    by_element = [
        np.sqrt(squares[shape.numbers == number].sum()) for number in np.unique(shape.numbers)
    ]
    marks: NDArray[np.float64] = np.concatenate([values, by_element]) / root
    return marks


def _sorted_radii(shape: Shape) -> NDArray[np.float64]:
    """(n_atoms,) distances to the centre, Å, sorted within each element."""
    radii = np.sqrt((shape.positions**2).sum(axis=1))
    radii_in_order: NDArray[np.float64] = radii[np.lexsort((radii, shape.numbers))]
    return radii_in_order


def _wave_marks(shape: Shape) -> NDArray[np.float64]:
    """Cell lengths and structure factors over the length of their wave vectors, Å."""
    assert shape.cell is not None
    fractional = shape.positions @ np.linalg.inv(shape.cell)
    phases = np.exp(2j * np.pi * (fractional @ _WAVES.T))  # (n_atoms, waves)
    lengths = 2.0 * np.pi * np.linalg.norm(_WAVES @ np.linalg.inv(shape.cell).T, axis=1)
    weights = [np.ones(len(shape.numbers))]
    weights += [(shape.numbers == number).astype(float) for number in np.unique(shape.numbers)]
    factors = [np.abs(weight @ phases) / (len(phases) * lengths) for weight in weights]
    return np.concatenate([np.linalg.norm(shape.cell, axis=1), *factors])
