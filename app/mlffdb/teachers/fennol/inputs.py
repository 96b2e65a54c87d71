"""Structures as flat arrays of fixed length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.checks import wrapped
from mlffdb.teachers.fennol.model import CHARGE_INPUT
from mlffdb.teachers.fennol.sizes import Shape

PADDING_CELL = 1000.0  # Å


def padded(batch: Sequence[Structure], shape: Shape, charged: bool) -> dict[str, NDArray[Any]]:
    """Return the model's inputs, padded to *shape*; the padding belongs to the last system.

    species (atoms,) int32, -1 for padding; coordinates (atoms, 3) float32, Å; natoms (systems,);
    batch_index (atoms,); cells and their inverses (systems, 3, 3), Å, where periodic;
    total_charge (systems,) where *charged*.
    """
    natoms = np.zeros(shape.systems, dtype=np.int32)
    natoms[: len(batch)] = [structure.n_atoms for structure in batch]
    total = int(natoms.sum())
    species = np.full(shape.atoms, -1, dtype=np.int32)
    species[:total] = np.concatenate([structure.numbers for structure in batch])
    coordinates = np.zeros((shape.atoms, 3), dtype=np.float32)
    coordinates[:total] = _near_origin(batch, natoms[: len(batch)])
    owner = np.full(shape.atoms, shape.systems - 1, dtype=np.int32)
    owner[:total] = np.repeat(np.arange(shape.systems, dtype=np.int32), natoms)
    inputs: dict[str, NDArray[Any]] = {
        "species": species,
        "coordinates": coordinates,
        "natoms": natoms,
        "batch_index": owner,
        "true_atoms": species > 0,
        "true_sys": np.arange(shape.systems) < len(batch),
    }
    if shape.periodic:
        cells = np.tile(np.eye(3) * PADDING_CELL, (shape.systems, 1, 1))
        cells[: len(batch)] = [structure.cell for structure in batch]
        inputs["cells"] = cells.astype(np.float32)
        inputs["reciprocal_cells"] = np.linalg.inv(cells).astype(np.float32)
    if charged:
        charges = np.zeros(shape.systems, dtype=np.int32)
        charges[: len(batch)] = [structure.charge for structure in batch]
        inputs[CHARGE_INPUT] = charges
    return inputs


def _near_origin(batch: Sequence[Structure], natoms: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return what `wrapped` gives for each structure, concatenated; all at once for molecules."""
    if batch[0].n_periodic:
        return np.concatenate([wrapped(structure) for structure in batch])
    positions = np.concatenate([structure.positions for structure in batch])
    sums = np.add.reduceat(positions, np.cumsum(natoms) - natoms)
    return np.asarray(positions - np.repeat(sums / natoms[:, None], natoms, axis=0))
