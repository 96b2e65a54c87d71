"""Checks before and after a teacher computes, the same for all teachers.

Some models return finite numbers for NaN input, ignore charge and spin, or compute elements they
were never trained on; so what goes in is checked, not only what comes out.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Failure, Prediction, Result, Teacher

#: Å. Closer than any nuclei at ordinary energies (H–H is 0.74 Å); own choice, far below the
#: validation's limit in covalent radii, since this one only keeps out what cannot be computed.
MIN_DISTANCE = 0.3
#: Å³ per atom, 3D-periodic structures. Own choice: diamond, the densest solid, has 5.7.
MIN_VOLUME_PER_ATOM = 1.0
#: eV per atom, absolute; a whole iodine atom with all electrons is at -1.9e5.
MAX_ENERGY_PER_ATOM = 1e6
#: eV/Å, one component; beyond it a number is broken rather than large.
MAX_FORCE = 1e5
#: eV/Å³, one component (16,000 GPa); likewise.
MAX_STRESS = 100.0

#: Atoms up to which all pairs are cheaper than a tree.
DENSE_LIMIT = 128


def precheck(teacher: Teacher, structure: Structure) -> Failure | None:
    """Return why *teacher* must not compute *structure*, or None."""
    able = teacher.capabilities
    failure = (
        _check_values(structure)
        or _check_elements(able, structure)
        or _check_periodicity(able, structure)
        or _check_size(able, structure)
        or _check_charge(able, structure)
        or _check_spin(able, structure)
        or _check_geometry(structure)
    )
    if failure is None or failure.code not in teacher.reasons:
        return failure
    return Failure(failure.code, f"{failure.message}: {teacher.reasons[failure.code]}")


def postcheck(able: Capabilities, structure: Structure, result: Result) -> Result:
    """Return *result*, or a Failure where its numbers cannot be right."""
    if isinstance(result, Failure):
        return result
    if result.forces.shape != (structure.n_atoms, 3):
        message = f"forces have shape {result.forces.shape}, not ({structure.n_atoms}, 3)"
        return Failure("bad_shape", message)
    if result.stress is not None:
        if not able.stress or structure.n_periodic < 3 or result.stress.shape != (6,):
            return Failure("bad_shape", "stress is given for a structure that has none")
        if not np.isfinite(result.stress).all():
            return Failure("not_finite_result", "the stress is not finite")
    elif able.stress and structure.n_periodic == 3:
        return Failure("missing_property", "the teacher is to give stress, and gave none")
    return _check_bounds(structure, result)


def _check_bounds(structure: Structure, result: Prediction) -> Result:
    force = float(np.abs(result.forces).max())
    spread = (result.energy_spread or 0.0) + (result.forces_spread or 0.0)
    if not math.isfinite(result.energy + force + spread):
        return Failure("not_finite_result", "energy, forces or spread are not finite")
    per_atom = abs(result.energy) / structure.n_atoms
    if per_atom > MAX_ENERGY_PER_ATOM:
        return Failure("out_of_bounds", f"energy of {per_atom:.3g} eV per atom")
    if force > MAX_FORCE:
        return Failure("out_of_bounds", f"force of {force:.3g} eV/Å")
    if result.stress is not None and np.abs(result.stress).max() > MAX_STRESS:
        return Failure("out_of_bounds", f"stress of {np.abs(result.stress).max():.3g} eV/Å³")
    return result


def _check_values(structure: Structure) -> Failure | None:
    if structure.n_atoms == 0:
        return Failure("no_atoms", "the structure has no atoms")
    finite = np.isfinite(structure.positions).all() and (
        structure.cell is None or np.isfinite(structure.cell).all()
    )
    return None if finite else Failure("not_finite", "positions or cell contain NaN or infinity")


def _check_elements(able: Capabilities, structure: Structure) -> Failure | None:
    unknown = set(structure.numbers.tolist()) - able.elements
    if not unknown:
        return None
    from ase.data import chemical_symbols

    symbols = ", ".join(chemical_symbols[z] for z in sorted(unknown))
    return Failure("unsupported_element", f"the teacher does not know {symbols}")


def _check_periodicity(able: Capabilities, structure: Structure) -> Failure | None:
    if structure.n_periodic in able.periodicity:
        return None
    directions = ("isolated structures", "chains", "slabs", "crystals")[structure.n_periodic]
    return Failure("periodicity", f"the teacher does not compute {directions}")


def _check_size(able: Capabilities, structure: Structure) -> Failure | None:
    if able.max_atoms is None or structure.n_atoms <= able.max_atoms:
        return None
    message = f"{structure.n_atoms} atoms; the teacher takes at most {able.max_atoms}"
    return Failure("too_large", message)


def _check_charge(able: Capabilities, structure: Structure) -> Failure | None:
    if structure.charge and not able.charged:
        return Failure(
            "charge", f"the teacher ignores charge, and this one is {structure.charge:+d}"
        )
    return None


def _check_spin(able: Capabilities, structure: Structure) -> Failure | None:
    if structure.n_periodic:
        return None
    if structure.multiplicity_is_unknown:
        return Failure(
            "multiplicity_unknown",
            f"{structure.n_electrons} electrons and no multiplicity; state it (2S+1)",
        )
    multiplicity = structure.spin_multiplicity
    assert multiplicity is not None
    unpaired = multiplicity - 1
    if (structure.n_electrons - unpaired) % 2 or unpaired > structure.n_electrons:
        return Failure(
            "multiplicity_parity",
            f"multiplicity {multiplicity} does not fit {structure.n_electrons} electrons",
        )
    if multiplicity != 1 and not able.open_shell:
        return Failure("multiplicity", f"the teacher takes singlets only, not {multiplicity}")
    return None


def _check_geometry(structure: Structure) -> Failure | None:
    volume = structure.volume
    if volume is not None and volume / structure.n_atoms < MIN_VOLUME_PER_ATOM:
        return Failure("volume", f"{volume / structure.n_atoms:.2g} Å³ per atom")
    if has_close_atoms(structure, MIN_DISTANCE):
        return Failure("too_close", f"two atoms are closer than {MIN_DISTANCE} Å")
    return None


def has_close_atoms(structure: Structure, distance: float) -> bool:
    """Return whether two atoms, periodic images included, are closer than *distance* Å."""
    positions = structure.positions
    if structure.n_periodic == 0:
        return _close_isolated(positions, distance)
    assert structure.cell is not None
    if structure.n_periodic < 3:
        from ase.neighborlist import neighbor_list

        return len(neighbor_list("i", structure.to_atoms(), distance)) > 0
    from vesin import NeighborList

    pairs = NeighborList(cutoff=distance, full_list=False).compute(
        points=wrapped(structure), box=np.array(structure.cell), periodic=True, quantities="i"
    )
    return len(pairs[0]) > 0


def _close_isolated(positions: NDArray[np.float64], distance: float) -> bool:
    if len(positions) == 1:
        return False
    if len(positions) <= DENSE_LIMIT:
        first, second = _pairs(len(positions))
        vectors = positions[first] - positions[second]
        return bool(np.einsum("ij,ij->i", vectors, vectors).min() < distance**2)
    from scipy.spatial import KDTree

    nearest = KDTree(positions).query(positions, k=2)[0][:, 1]
    return bool(nearest.min() < distance)


@cache
def _pairs(n_atoms: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(n_atoms, 1)


def wrapped(structure: Structure) -> NDArray[np.float64]:
    """Return (n_atoms, 3) positions in Å for a model of single precision, near the origin.

    Crystals are wrapped into the cell and molecules moved to their centroid, in float64, so that
    structures far from the origin do not lose digits.
    """
    positions = structure.positions
    if structure.n_periodic < 3:
        return np.asarray(positions - positions.mean(axis=0))
    assert structure.cell is not None
    fractional = np.linalg.solve(structure.cell.T, positions.T).T
    return np.asarray((fractional - np.floor(fractional)) @ structure.cell)
