"""The value that everything else is about: one arrangement of atoms with its charge and spin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlffdb.errors import InvalidStructureError

if TYPE_CHECKING:
    from ase import Atoms

MAX_ATOMS = 65_535  # the source's atom order is stored as uint16
MAX_ATOMIC_NUMBER = 118
MIN_CELL_VOLUME = 1e-3  # Å³; smaller is a flat cell
MAX_COORDINATE = 1e7  # Å; float64 resolves 2e-9 Å there, far below the grid of the identity
MAX_CHARGE = 32_767  # e; charge and multiplicity are stored as int16

#: Keys of ``Atoms.info`` that give the total charge in e, first found wins; two that differ are
#: refused.
CHARGE_KEYS = ("charge", "total_charge")
#: Keys of ``Atoms.info`` that give the multiplicity 2S+1. ``spin`` and ``total_spin`` mean 2S+1 as
#: fairchem, Orb and MACE write them.
MULTIPLICITY_KEYS = ("multiplicity", "spin_multiplicity", "total_spin", "spin")


@dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """Atoms in space; immutable, and valid by construction.

    numbers: (n_atoms,) uint8, atomic numbers 1–118
    positions: (n_atoms, 3) float64, Å, as they came (not wrapped)
    cell: (3, 3) float64, Å, rows are lattice vectors; None for isolated structures
    pbc: periodic along each lattice vector
    charge: total charge, e
    multiplicity: 2S+1 of an isolated structure; None where unknown or periodic

    Raises InvalidStructureError (codes ``no_atoms``, ``too_many_atoms``, ``shape``, ``not_finite``,
    ``too_far``, ``element``, ``flat_cell``, ``charge``, ``multiplicity``).
    """

    numbers: NDArray[np.uint8]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    charge: int = 0
    multiplicity: int | None = None

    def __post_init__(self) -> None:
        numbers = _numbers(self.numbers)
        positions = _finite(self.positions, (len(numbers), 3), "positions")
        pbc = (bool(self.pbc[0]), bool(self.pbc[1]), bool(self.pbc[2]))
        cell = _cell(self.cell, pbc) if any(pbc) else None
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "pbc", pbc)
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "charge", _charge(self.charge, numbers))
        if self.multiplicity is not None:
            object.__setattr__(self, "multiplicity", _multiplicity(self.multiplicity, pbc))

    @classmethod
    def trusted(
        cls,
        numbers: NDArray[np.uint8],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64] | None,
        pbc: tuple[bool, bool, bool],
        charge: int,
        multiplicity: int | None,
    ) -> Structure:
        """Return a structure of fields that came from one, without checking them again.

        The arrays must have the class's types and shapes; they are made read-only, not copied.
        """
        made = object.__new__(cls)
        for array in (numbers, positions, cell):
            if array is not None:
                array.setflags(write=False)
        fields = (numbers, positions, cell, pbc, charge, multiplicity)
        for name, value in zip(cls.__slots__, fields, strict=True):
            object.__setattr__(made, name, value)
        return made

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def n_periodic(self) -> int:
        """Number of periodic directions, 0–3."""
        return sum(self.pbc)

    @property
    def n_electrons(self) -> int:
        """Number of electrons: the sum of atomic numbers minus the charge."""
        return int(self.numbers.sum(dtype=np.int64)) - self.charge

    @property
    def volume(self) -> float | None:
        """Cell volume in Å³; None unless periodic in three dimensions."""
        if self.n_periodic < 3 or self.cell is None:
            return None
        return float(abs(np.linalg.det(self.cell)))

    @property
    def multiplicity_is_unknown(self) -> bool:
        """Whether this is isolated with an odd electron count and nobody said its multiplicity."""
        return self.n_periodic == 0 and self.multiplicity is None and self.n_electrons % 2 == 1

    @property
    def spin_multiplicity(self) -> int | None:
        """The stated multiplicity, else 1 for an isolated even electron count, else None."""
        if self.multiplicity is not None or any(self.pbc):
            return self.multiplicity
        return 1 if self.n_electrons % 2 == 0 else None

    def same_as(self, other: Structure) -> bool:
        """Whether every field is equal bit for bit, atom order included."""
        return (
            self.pbc == other.pbc
            and (self.charge, self.multiplicity) == (other.charge, other.multiplicity)
            and np.array_equal(self.numbers, other.numbers)
            and np.array_equal(self.positions, other.positions)
            and (self.cell is None) == (other.cell is None)
            and (self.cell is None or np.array_equal(self.cell, other.cell))  # type: ignore[arg-type]
        )

    def take(self, order: ArrayLike) -> Structure:
        """Return the same structure with its atoms in *order* (indices into this one)."""
        index = np.asarray(order, dtype=np.intp)
        return Structure(
            self.numbers[index],
            self.positions[index],
            self.cell,
            self.pbc,
            self.charge,
            self.multiplicity,
        )

    def moved(self, positions: ArrayLike, cell: ArrayLike | None = None) -> Structure:
        """Return a copy with other *positions* (n_atoms, 3) Å and, if given, another *cell*."""
        return Structure(
            self.numbers,
            np.asarray(positions, dtype=np.float64),
            self.cell if cell is None else np.asarray(cell, dtype=np.float64),
            self.pbc,
            self.charge,
            self.multiplicity,
        )

    def to_atoms(self) -> Atoms:
        """Return ASE Atoms; charge and multiplicity go to ``info``."""
        from ase import Atoms

        atoms = Atoms(
            numbers=self.numbers.astype(int),
            positions=self.positions.copy(),
            cell=self.cell,
            pbc=self.pbc,
        )
        atoms.info["charge"] = self.charge
        if self.multiplicity is not None:
            atoms.info["multiplicity"] = self.multiplicity
        return atoms

    @classmethod
    def from_atoms(
        cls, atoms: Atoms, *, charge: int | None = None, multiplicity: int | None = None
    ) -> Structure:
        """Return the structure of ASE *atoms*.

        Charge and multiplicity come from the arguments, else from ``info`` (CHARGE_KEYS,
        MULTIPLICITY_KEYS), else from the sum of initial charges and 1 + |sum| of initial magnetic
        moments where those arrays are set, else charge 0 and no multiplicity. Multiplicities and
        magnetic moments of periodic structures are ignored, and so are cells of isolated ones.

        Raises InvalidStructureError as the class does, and with ``charge`` or ``multiplicity``
        where two keys differ or the value is no whole number.
        """
        pbc = tuple(bool(flag) for flag in atoms.pbc)
        if charge is None:
            charge = _from_info(atoms.info, CHARGE_KEYS)
        if charge is None and atoms.has("initial_charges"):
            charge = _whole(float(atoms.get_initial_charges().sum()), "charge")
        if any(pbc):
            multiplicity = None
        elif multiplicity is None:
            multiplicity = _from_info(atoms.info, MULTIPLICITY_KEYS)
            if multiplicity is None and atoms.has("initial_magmoms"):
                moments = np.asarray(atoms.get_initial_magnetic_moments())
                if moments.ndim == 1 and moments.any():
                    multiplicity = 1 + abs(_whole(float(moments.sum()), "multiplicity"))
        return cls(
            atoms.numbers,
            atoms.positions,
            np.asarray(atoms.cell),
            pbc,  # type: ignore[arg-type]
            charge or 0,
            multiplicity,
        )


def _numbers(values: ArrayLike) -> NDArray[np.uint8]:
    numbers = np.asarray(values)
    if numbers.ndim != 1:
        raise InvalidStructureError(
            "shape", f"atomic numbers have shape {numbers.shape}, not (n_atoms,)"
        )
    if len(numbers) == 0:
        raise InvalidStructureError("no_atoms", "the structure has no atoms")
    if len(numbers) > MAX_ATOMS:
        raise InvalidStructureError("too_many_atoms", f"{len(numbers)} atoms; at most {MAX_ATOMS}")
    if numbers.dtype.kind not in "iu":
        raise InvalidStructureError("element", f"atomic numbers are {numbers.dtype}, not integers")
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        bad = numbers[(numbers < 1) | (numbers > MAX_ATOMIC_NUMBER)][0]
        raise InvalidStructureError("element", f"atomic number {bad} is no element (1–118)")
    result = numbers.astype(np.uint8)
    result.setflags(write=False)
    return result


def _finite(values: ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise InvalidStructureError("shape", f"{what} have shape {array.shape}, not {shape}")
    if not np.isfinite(array).all():
        raise InvalidStructureError("not_finite", f"{what} contain NaN or infinity")
    if np.abs(array).max() > MAX_COORDINATE:
        raise InvalidStructureError("too_far", f"{what} exceed {MAX_COORDINATE:g} Å")
    array.setflags(write=False)
    return array


def _cell(values: ArrayLike | None, pbc: tuple[bool, ...]) -> NDArray[np.float64]:
    if values is None:
        raise InvalidStructureError("flat_cell", "a periodic structure needs a cell")
    cell = _finite(values, (3, 3), "cell vectors")
    periodic = cell[np.array(pbc)]
    # Gram determinant: length, area or volume of the periodic part, squared
    if np.linalg.det(periodic @ periodic.T) < MIN_CELL_VOLUME**2:
        raise InvalidStructureError("flat_cell", "the periodic cell vectors are zero or coplanar")
    return cell


def _charge(value: Any, numbers: NDArray[np.uint8]) -> int:
    charge = _whole(value, "charge")
    if charge > min(int(numbers.sum(dtype=np.int64)), MAX_CHARGE) or charge < -MAX_CHARGE:
        raise InvalidStructureError("charge", f"charge {charge} is impossible for these atoms")
    return charge


def _whole(value: Any, what: str) -> int:
    if type(value) is int:
        return value
    array = np.asarray(value)
    try:
        if array.size != 1 or array.dtype == bool:
            raise ValueError
        number = float(array.reshape(-1)[0])
    except (TypeError, ValueError):
        raise InvalidStructureError(what, f"{what} {value!r} is not a number") from None
    if not np.isfinite(number) or abs(number - round(number)) > 1e-3:
        raise InvalidStructureError(what, f"{what} {number:g} is not a whole number")
    return round(number)


def _multiplicity(value: Any, pbc: tuple[bool, ...]) -> int:
    multiplicity = _whole(value, "multiplicity")
    if any(pbc):
        raise InvalidStructureError("multiplicity", "a periodic structure has no multiplicity")
    if not 1 <= multiplicity <= MAX_CHARGE:
        raise InvalidStructureError("multiplicity", f"multiplicity {multiplicity} is impossible")
    return multiplicity


def _from_info(info: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    found = {key: _whole(info[key], keys[0]) for key in keys if info.get(key) is not None}
    if len(set(found.values())) > 1:
        stated = ", ".join(f"{key}={value}" for key, value in found.items())
        raise InvalidStructureError(keys[0], f"{keys[0]} is stated twice and differs: {stated}")
    return next(iter(found.values()), None)
