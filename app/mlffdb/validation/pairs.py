"""Pairs of atoms that are near enough to touch, over many structures at once.

Nearness is measured as the ratio of the distance to the sum of the two covalent radii (Cordero et
al., Dalton Trans. 2008, 2832, as in ``ase.data``). Isolated structures of similar size are taken
together as dense blocks; periodic and large ones go through vesin's cell lists one by one, with
all periodic images, an atom's own images included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from mlffdb.structures import StructureArrays

#: Pairs are listed up to this ratio: bonds are perceived within it.
MAX_RATIO = 1.25

#: (256,) covalent radius by atomic number, Å; 1.69 Å (curium's) where none is known.
RADII: NDArray[np.float64] = np.full(256, 1.69)
RADII[: min(len(covalent_radii), 97)] = covalent_radii[:97]

_DENSE_ATOMS = 256  # isolated structures up to this size are compared all against all
_BLOCK = 16_384  # atoms in one dense block: its arrays stay in the processor's cache
_MAX_IMAGES = 5_000  # periodic images that a sane cell needs at most
_MAX_PAIRS = 2e7  # pairs that a sane structure has at most
_MAX_FLOAT32_EXTENT = 500.0  # Å; rounding stays below _SLACK
_SLACK = 1e-3  # Å, for distances in single precision
_CROWD = 1_000  # atoms looked at where far too many sit in one place
_FULL_BOX = 300  # atoms in a cube of the cutoff's length; the densest matter has half as many


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """P pairs of atoms; each pair of atoms and image once.

    first, second: (P,) int64, atoms (indices over the whole batch); equal for an own image
    vectors: (P, 3) float64, Å, from the first to the second
    distances: (P,) float64, Å
    ratios: (P,) float64, distance over the sum of covalent radii
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    vectors: NDArray[np.float64]
    distances: NDArray[np.float64]
    ratios: NDArray[np.float64]


def close_pairs(structures: StructureArrays, selected: NDArray[np.bool_]) -> Pairs:
    """Return all pairs up to MAX_RATIO of the *selected* (B,) structures.

    Selected structures have finite coordinates. In a structure so crowded that its pairs cannot
    be listed, those of its most crowded spot are.
    """
    periodic = structures.pbc.any(axis=1)
    dense = selected & ~periodic & (structures.n_atoms <= _DENSE_ATOMS)
    parts = [_no_pairs(), *_dense_pairs(structures, np.flatnonzero(dense))]
    parts.extend(_listed_pairs(structures, np.flatnonzero(selected & ~dense)))
    first, second, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
    distances = np.sqrt(np.einsum("pk,pk->p", vectors, vectors))
    ratios = distances / (RADII[structures.numbers[first]] + RADII[structures.numbers[second]])
    near = ratios < MAX_RATIO
    return Pairs(first[near], second[near], vectors[near], distances[near], ratios[near])


_Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _no_pairs() -> _Part:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3))


def _dense_pairs(structures: StructureArrays, chosen: NDArray[np.int64]) -> Iterator[_Part]:
    """Yield candidates of isolated structures, in blocks of one padded size."""
    sizes = -(-structures.n_atoms[chosen] // 4) * 4
    for size in np.unique(sizes):
        same = chosen[sizes == size]
        step = max(1, _BLOCK // int(size))
        for start in range(0, len(same), step):
            yield _dense_block(structures, same[start : start + step], int(size))


def _dense_block(structures: StructureArrays, block: NDArray[np.int64], size: int) -> _Part:
    """Compare all atoms of the structures *block*, each padded to *size* atoms."""
    starts = structures.offsets[block]
    slots = np.arange(size)[:, None]
    padding = slots >= structures.n_atoms[block]
    atoms = np.where(padding, starts, starts + slots)  # (size, block)
    moved = structures.positions[atoms] - structures.positions[starts]
    kind = np.float32 if np.abs(moved).max(initial=0.0) < _MAX_FLOAT32_EXTENT else np.float64
    # (3, size, block): the structures run along the fastest axis
    points: NDArray[Any] = np.moveaxis(moved, 2, 0).astype(kind, order="C")
    reach = RADII[structures.numbers[atoms]].astype(points.dtype) * points.dtype.type(MAX_RATIO)
    reach += points.dtype.type(_SLACK)
    far = 1e12 * (slots + 1.0)  # padding is far from everything, itself included
    np.copyto(points, far.astype(points.dtype), where=padding)
    found: list[tuple[int, NDArray[np.intp]]] = []
    for i in range(size - 1):
        step = points[:, i + 1 :] - points[:, i : i + 1]
        np.multiply(step, step, out=step)
        squares = step[0]
        squares += step[1]
        squares += step[2]
        limit = reach[i + 1 :] + reach[i]
        limit *= limit
        found.append((i, np.flatnonzero(squares <= limit)))
    width = len(block)
    second_slot = np.concatenate([hits // width + (i + 1) for i, hits in found])
    column = np.concatenate([hits % width for _, hits in found])
    first_slot = np.repeat([i for i, _ in found], [len(hits) for _, hits in found])
    first = starts[column] + first_slot
    second = starts[column] + second_slot
    return first, second, structures.positions[second] - structures.positions[first]


def _listed_pairs(structures: StructureArrays, chosen: NDArray[np.int64]) -> Iterator[_Part]:
    """Yield candidates of periodic and large structures, found by vesin one by one."""
    if len(chosen) == 0:
        return
    frames = complete_cells(structures.cells[chosen], structures.pbc[chosen])
    inverses = np.linalg.inv(frames)
    heights = 1.0 / np.linalg.norm(inverses, axis=1)  # (C, 3) of the cells, Å
    radii = np.maximum.reduceat(RADII[structures.numbers], structures.offsets[:-1])[chosen]
    cutoffs = 2.0 * MAX_RATIO * radii
    sane = _are_sane(frames, heights, structures.pbc[chosen], cutoffs, structures.n_atoms[chosen])
    search = _Search()
    for place, index in enumerate(chosen):
        start, stop = structures.offsets[index], structures.offsets[index + 1]
        points, pbc = structures.positions[start:stop], structures.pbc[index]
        frame, cutoff = frames[place], float(cutoffs[place])
        if pbc.any():
            points = _near_cell(points, frame, inverses[place], pbc)
        if sane[place] and stop - start <= _CROWD:
            first, second, vectors = search(points, frame, pbc, cutoff)
        else:
            radius = RADII[structures.numbers[start:stop]]
            first, second, vectors = _guarded(search, points, radius, frame, pbc, cutoff)
        yield first + start, second + start, vectors


class _Search:
    """vesin's neighbour lists, kept by cutoff since making one takes longer than using it."""

    def __init__(self) -> None:
        self._lists: dict[float, Any] = {}

    def __call__(
        self,
        points: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        cutoff: float,
    ) -> _Part:
        if cutoff not in self._lists:
            from vesin import NeighborList

            self._lists[cutoff] = NeighborList(cutoff=cutoff, full_list=False)
        first, second, vectors = self._lists[cutoff].compute(points, cell, pbc.tolist(), "ijD")
        return first.astype(np.int64), second.astype(np.int64), vectors


def complete_cells(cells: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (C, 3, 3) cells whose vectors along axes that are not periodic are unit normals."""
    frames = np.where(pbc[:, :, None], cells, 0.0)
    for index in np.flatnonzero(~pbc.all(axis=1)).tolist():
        # the right singular vectors of zero singular values span what the lattice does not
        normals = np.linalg.svd(frames[index])[2][int(pbc[index].sum()) :]
        frames[index][~pbc[index]] = normals
    return frames


def _near_cell(
    points: NDArray[np.float64],
    frame: NDArray[np.float64],
    inverse: NDArray[np.float64],
    pbc: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return *points*, brought back into the cell where one left it long ago.

    vesin counts cells in 32 bits.
    """
    fractional = points @ inverse
    shifts = np.where(pbc, np.floor(fractional), 0.0)
    return points - shifts @ frame if np.abs(shifts).max() > 1e3 else points


def _are_sane(
    frames: NDArray[np.float64],
    heights: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoffs: NDArray[np.float64],
    n_atoms: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(C,) whether images and neighbours within the *cutoffs* are as few as in any matter."""
    images = np.where(pbc, 2.0 * np.ceil(cutoffs[:, None] / heights) + 1.0, 1.0).prod(axis=1)
    volumes = np.abs(np.linalg.det(frames)) * cutoffs ** (3 - pbc.sum(axis=1))
    neighbours = n_atoms * 4.2 * cutoffs**3 / volumes
    few: NDArray[np.bool_] = (images <= _MAX_IMAGES) & (n_atoms * neighbours <= _MAX_PAIRS)
    isolated: NDArray[np.bool_] = ~np.any(pbc, axis=1)
    return few | isolated


def _guarded(
    search: _Search,
    points: NDArray[np.float64],
    radii: NDArray[np.float64],
    frame: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoff: float,
) -> _Part:
    """Return the pairs of a structure that is large, or denser than any matter.

    A cell of skewed vectors is reduced. If an image is still so near that all cannot be listed,
    an atom and its own nearest image stand for them; if atoms are, then those that are nearest or
    in the fullest place. What is listed then is far closer than any threshold.
    """
    size = np.array([len(points)])

    def sane() -> bool:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(frame), axis=0)
        limits = np.array([cutoff])
        return bool(_are_sane(frame[None], heights[None], pbc[None], limits, size)[0])

    if pbc.any() and not sane():
        from ase.geometry import minkowski_reduce

        frame = np.ascontiguousarray(minkowski_reduce(frame, pbc.tolist())[0])
        nearest = min(frame[pbc], key=lambda vector: float(vector @ vector))
        if np.linalg.norm(nearest) < cutoff / 10:
            largest = np.array([radii.argmax()])
            return largest, largest, nearest[None]
        points = _near_cell(points, frame, np.linalg.inv(frame).astype(np.float64), pbc)
        while not sane():
            cutoff *= 0.7
    kept = _crowded(points, cutoff) if len(points) > _CROWD else np.arange(len(points))
    first, second, vectors = search(points[kept], frame, pbc, cutoff)
    return kept[first], kept[second], vectors


def _crowded(points: NDArray[np.float64], cutoff: float) -> NDArray[np.int64]:
    """Return all atoms, or those of the fullest box where far too many share one."""
    boxes = np.floor(points / cutoff).astype(np.int64)
    _, box, counts = np.unique(boxes, axis=0, return_inverse=True, return_counts=True)
    if counts.max() <= _FULL_BOX:
        return np.arange(len(points))
    return np.flatnonzero(box.ravel() == counts.argmax())[:_CROWD]
