"""Forces and stress against finite differences of the energy: units, signs and consistency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.contract.comparing import ContractError, Deviation, largest, predictions
from mlffdb.teachers.contract.invariances import tensor

#: Å and strain of central differences: large enough for energies in float32.
STEP_FLOAT64, STEP_FLOAT32 = 1e-3, 1e-2
STRAIN = 5e-3
#: Agreement to ask for, own choice: well above the error of the differences, and far below a
#: wrong unit or sign. eV/Å and eV/Å³, or the same share of the value where that is larger.
FORCE_FLOAT64, FORCE_FLOAT32 = 1e-3, 2e-2
STRESS_LIMIT, STRESS_SHARE = 5e-4, 2e-2


def check_forces(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """Forces are the negative gradient of the energy; only measured unless declared so."""
    exact = teacher.identity.precision == "float64"
    step = STEP_FLOAT64 if exact else STEP_FLOAT32
    tolerance = FORCE_FLOAT64 if exact else FORCE_FLOAT32
    held = teacher.capabilities.conservative
    rng = np.random.default_rng(2)
    directions = [rng.normal(size=(s.n_atoms, 3)) for s in structures]
    directions = [d / np.linalg.norm(d) for d in directions]
    moved = [
        s.moved(s.positions + sign * step * d)
        for sign in (1, -1)
        for s, d in zip(structures, directions, strict=True)
    ]
    energies = np.array([p.energy for p in predictions(teacher, moved)]).reshape(2, -1)
    slopes = (energies[0] - energies[1]) / (2 * step)
    errors = []
    for i, result in enumerate(predictions(teacher, structures)):
        expected = -float((result.forces * directions[i]).sum())
        errors.append(abs(float(slopes[i]) - expected))
        if held and not errors[-1] <= tolerance * max(1.0, abs(expected)):
            raise ContractError(
                f"forces are no gradient: structure {i} rises {slopes[i]:.5f} eV/Å along a "
                f"direction where the forces say {expected:.5f}"
            )
    return Deviation(force=max(errors), held=held)


def check_stress(teacher: Teacher, structures: Sequence[Structure]) -> Deviation | None:
    """Stress is dE/dstrain over the volume, tensile positive; absent where not three-periodic.

    The slope is only measured unless the teacher is declared conservative.
    """
    held = teacher.capabilities.conservative
    found = []
    for i, (structure, result) in enumerate(
        zip(structures, predictions(teacher, structures), strict=True)
    ):
        wanted = teacher.capabilities.stress and structure.n_periodic == 3
        if wanted != (result.stress is not None):
            raise ContractError(f"structure {i}: stress is {result.stress}")
        if result.stress is None:
            continue
        expected = _slope(teacher, structure)
        error = float(np.abs(expected - result.stress).max())
        if held and not error <= max(STRESS_LIMIT, STRESS_SHARE * float(np.abs(expected).max())):
            raise ContractError(
                f"stress {result.stress} of structure {i} is not the slope over strain, {expected}"
            )
        found.append(Deviation(stress=error))
    return largest(found, held=held) if found else None


def _slope(teacher: Teacher, structure: Structure) -> NDArray[np.float64]:
    """Return dE/dstrain over the volume, eV/Å³, by central differences."""
    assert structure.cell is not None
    assert structure.volume is not None
    strained = []
    for component in range(6):
        for sign in (1, -1):
            unit = np.zeros(6)
            unit[component] = sign * STRAIN
            deform = np.eye(3) + tensor(unit) * (1.0 if component < 3 else 0.5)
            strained.append(structure.moved(structure.positions @ deform, structure.cell @ deform))
    energies = np.array([p.energy for p in predictions(teacher, strained)]).reshape(6, 2)
    return np.asarray((energies[:, 0] - energies[:, 1]) / (2 * STRAIN) / structure.volume)
