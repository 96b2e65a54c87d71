"""Structures as rows and back: little-endian bytes in canonical atom order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.structures.composition import element_counts, hill_formula
from mlffdb.structures.identity import canonicalise

#: Columns that `decode` needs, in its order.
STRUCTURE_COLUMNS = "numbers, positions, cell, pbc, charge, multiplicity"


def encode(structure: Structure) -> dict[str, Any]:
    """Return the columns of *structure*'s row that its content decides, by name."""
    identity, order = canonicalise(structure)
    elements, counts = element_counts(structure.numbers)
    cell = structure.cell
    return {
        "structure_id": identity,
        "n_atoms": structure.n_atoms,
        "numbers": structure.numbers[order].tobytes(),
        "positions": structure.positions[order].astype("<f8", copy=False).tobytes(),
        "cell": None if cell is None else cell.astype("<f8", copy=False).tobytes(),
        "pbc": sum(1 << axis for axis, flag in enumerate(structure.pbc) if flag),
        "n_periodic": structure.n_periodic,
        "charge": structure.charge,
        "multiplicity": structure.multiplicity,
        "formula": hill_formula(structure.numbers),
        "elements": elements,
        "element_counts": counts,
        "source_order": order.astype("<u2").tobytes(),
    }


#: Bits of the column pbc, the first axis in the lowest.
_PBC = [(bool(bits & 1), bool(bits & 2), bool(bits & 4)) for bits in range(8)]


def decode(row: Sequence[Any]) -> Structure:
    """Return the structure, canonical atom order, of a row of STRUCTURE_COLUMNS.

    It was checked before it was stored, and is not checked again.
    """
    numbers, positions, cell, pbc, charge, multiplicity = row
    return Structure.trusted(
        np.frombuffer(numbers, dtype=np.uint8),
        np.frombuffer(positions, dtype="<f8").reshape(-1, 3),
        None if cell is None else np.frombuffer(cell, dtype="<f8").reshape(3, 3),
        _PBC[pbc],
        charge,
        multiplicity,
    )


def to_source_order(source_order: bytes) -> NDArray[np.intp]:
    """Return the indices into canonical order that give the source's atom order.

    *source_order* holds for each canonical atom its index in the source; this is its inverse.
    """
    order = np.frombuffer(source_order, dtype="<u2").astype(np.intp)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return inverse


def encode_forces(forces: NDArray[Any]) -> bytes:
    """Return (n_atoms, 3) *forces* as bytes: float64 if they are, else float32."""
    kind = "<f8" if forces.dtype == np.float64 else "<f4"
    return np.ascontiguousarray(forces, dtype=kind).tobytes()


def decode_forces(data: bytes, n_atoms: int) -> NDArray[Any]:
    """Return (n_atoms, 3) forces; their width tells float32 from float64."""
    kind = "<f8" if len(data) == 24 * n_atoms else "<f4"
    return np.frombuffer(data, dtype=kind).reshape(n_atoms, 3)
