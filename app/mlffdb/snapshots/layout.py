"""The layout of a snapshot's HDF5 file: which datasets there are, and what each means.

docs/format.md explains it with an example; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORMAT = "mlffdb snapshot"
FORMAT_VERSION = 1

#: What the first dimension of a dataset counts.
PER_STRUCTURE = "structures"
PER_ATOM = "atoms"
PER_OFFSET = "structures + 1"


@dataclass(frozen=True, slots=True)
class Field:
    """One dataset."""

    path: str
    dtype: str
    per: str
    #: Shape of one entry.
    item: tuple[int, ...]
    unit: str
    description: str

    def shape(self, n_structures: int, n_atoms: int) -> tuple[int, ...]:
        """Return the dataset's shape."""
        first = {
            PER_STRUCTURE: n_structures,
            PER_ATOM: n_atoms,
            PER_OFFSET: n_structures + 1,
        }[self.per]
        return (first, *self.item)

    @property
    def name(self) -> str:
        """The last part of the path; unique in a file."""
        return self.path.rpartition("/")[2]


FORCES = "forces"

FIELDS = (
    Field(
        "structures/offsets",
        "<i8",
        PER_OFFSET,
        (),
        "1",
        "atoms of structure i are rows offsets[i]:offsets[i+1] of every per-atom dataset",
    ),
    Field("structures/numbers", "|u1", PER_ATOM, (), "1", "atomic numbers, in the source's order"),
    Field(
        "structures/positions",
        "<f8",
        PER_ATOM,
        (3,),
        "Å",
        "Cartesian positions as the source gave them, not wrapped into the cell",
    ),
    Field(
        "structures/cells",
        "<f8",
        PER_STRUCTURE,
        (3, 3),
        "Å",
        "lattice vectors as rows; zero for isolated structures",
    ),
    Field("structures/pbc", "|b1", PER_STRUCTURE, (3,), "1", "periodic along each lattice vector"),
    Field("structures/charges", "<i2", PER_STRUCTURE, (), "e", "total charge"),
    Field(
        "structures/multiplicities",
        "<i2",
        PER_STRUCTURE,
        (),
        "1",
        "spin multiplicity 2S+1; 0 where there is none (periodic, or the teacher has no spin)",
    ),
    Field(
        "structures/ids",
        "|u1",
        PER_STRUCTURE,
        (16,),
        "1",
        "structure_id in the database: the 16 bytes of a UUID",
    ),
    Field(
        "structures/components",
        "|u1",
        PER_STRUCTURE,
        (16,),
        "1",
        "leakage-free group: split further by this, never by structure",
    ),
    Field(
        "structures/domains",
        "<u2",
        PER_STRUCTURE,
        (),
        "1",
        "index into this dataset's attribute `names`",
    ),
    Field("labels/energy", "<f8", PER_STRUCTURE, (), "eV", "total energy"),
    Field(
        "labels/forces",
        "<f4",
        PER_ATOM,
        (3,),
        "eV/Å",
        "forces; float64 instead of float32 where the teacher computes so",
    ),
    Field(
        "labels/stress",
        "<f8",
        PER_STRUCTURE,
        (6,),
        "eV/Å³",
        "stress, tensile positive, Voigt order xx yy zz yz xz xy; NaN where stress_mask is false",
    ),
    Field("labels/stress_mask", "|b1", PER_STRUCTURE, (), "1", "whether there is a stress"),
)


def fields(forces_dtype: str) -> tuple[Field, ...]:
    """Return all datasets, with forces of *forces_dtype* (``<f4`` or ``<f8``)."""
    return tuple(
        Field(f.path, forces_dtype, f.per, f.item, f.unit, f.description) if f.name == FORCES else f
        for f in FIELDS
    )


def accepts(field: Field, dtype: np.dtype[np.generic]) -> bool:
    """Whether a dataset of *dtype* can be *field*."""
    allowed = ("<f4", "<f8") if field.name == FORCES else (field.dtype,)
    return any(dtype == np.dtype(kind) for kind in allowed)
