"""What every teacher must hold, ours or a plug-in's: the contract as checks that can be run.

Each check takes a teacher and structures that it supports (more than one, of different size,
with distinct atoms) and raises ContractError where the contract is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure, Prediction, Teacher
from mlffdb.teachers.label import label

#: Å and strain of finite differences: large enough for energies in float32.
STEP_FLOAT64, STEP_FLOAT32 = 1e-3, 1e-2
STRAIN = 5e-3

Check = Callable[[Teacher, Sequence[Structure]], None]


class ContractError(Exception):
    """A teacher breaks the contract; the message says where."""


def predictions(teacher: Teacher, structures: Sequence[Structure]) -> list[Prediction]:
    """Return the labels of *structures*; raises ContractError where one fails."""
    results = label(teacher, structures)
    found = []
    for index, result in enumerate(results):
        if isinstance(result, Failure):
            raise ContractError(f"structure {index} fails: {result.code}: {result.message}")
        found.append(result)
    return found


def check_order(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """Results come in the order of the structures, whatever that is."""
    forward = predictions(teacher, structures)
    backward = predictions(teacher, structures[::-1])[::-1]
    _compare(teacher, structures, forward, backward, "order of structures")


def check_batch(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """A structure alone gives what it gives among others."""
    together = predictions(teacher, structures)
    alone = [predictions(teacher, [structure])[0] for structure in structures]
    _compare(teacher, structures, together, alone, "batch of one")


def check_repeatable(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """The same call gives the same labels."""
    first, second = predictions(teacher, structures), predictions(teacher, structures)
    _compare(teacher, structures, first, second, "repetition")


def check_permutation(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """Forces follow their atoms."""
    rng = np.random.default_rng(1)
    orders = [rng.permutation(structure.n_atoms) for structure in structures]
    permuted = [s.take(order) for s, order in zip(structures, orders, strict=True)]
    restored = [
        replace(p, forces=p.forces[np.argsort(order)])
        for p, order in zip(predictions(teacher, permuted), orders, strict=True)
    ]
    _compare(teacher, structures, predictions(teacher, structures), restored, "atom order")


def check_translation(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """A structure moved as a whole keeps its label."""
    shift = np.array([103.7, -58.1, 21.3])
    moved = [structure.moved(structure.positions + shift) for structure in structures]
    before, after = predictions(teacher, structures), predictions(teacher, moved)
    _compare(teacher, structures, before, after, "translation")


def check_rotation(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """Forces and stress turn with the structure, where the teacher says so."""
    if not teacher.capabilities.equivariant:
        return
    turn = _rotation()
    turned = [
        s.moved(s.positions @ turn.T, None if s.cell is None else s.cell @ turn.T)
        for s in structures
    ]
    restored = []
    for result in predictions(teacher, turned):
        stress = None
        if result.stress is not None:
            stress = _voigt(turn.T @ _tensor(result.stress) @ turn)
        restored.append(replace(result, forces=result.forces @ turn, stress=stress))
    _compare(teacher, structures, predictions(teacher, structures), restored, "rotation")


def check_forces(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """Forces are the negative gradient of the energy, where the teacher says so."""
    if not teacher.capabilities.conservative:
        return
    exact = teacher.identity.precision == "float64"
    step = STEP_FLOAT64 if exact else STEP_FLOAT32
    tolerance = 1e-3 if exact else 2e-2
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
    for i, result in enumerate(predictions(teacher, structures)):
        expected = -float((result.forces * directions[i]).sum())
        if abs(slopes[i] - expected) > tolerance * max(1.0, abs(expected)):
            raise ContractError(
                f"forces are no gradient: structure {i} rises {slopes[i]:.5f} eV/Å along a "
                f"direction where the forces say {expected:.5f}"
            )


def check_stress(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """Stress is dE/dstrain over the volume, tensile positive; absent where not three-periodic."""
    for i, (structure, result) in enumerate(
        zip(structures, predictions(teacher, structures), strict=True)
    ):
        wanted = teacher.capabilities.stress and structure.n_periodic == 3
        if wanted != (result.stress is not None):
            raise ContractError(f"structure {i}: stress is {result.stress}")
        if result.stress is not None and teacher.capabilities.conservative:
            _compare_stress(teacher, structure, result.stress)


def check_one_bad(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """A structure that is refused does not touch its neighbours."""
    good = predictions(teacher, structures)
    unknown = next(z for z in range(118, 0, -1) if z not in teacher.capabilities.elements)
    bad = Structure(np.array([unknown]), np.zeros((1, 3)), multiplicity=1 + unknown % 2)
    middle = len(structures) // 2
    mixed = label(teacher, [*structures[:middle], bad, *structures[middle:]])
    refused = mixed.pop(middle)
    if not isinstance(refused, Failure) or refused.code != "unsupported_element":
        raise ContractError(f"element {unknown} is not refused: {refused}")
    kept = [result for result in mixed if isinstance(result, Prediction)]
    if len(kept) != len(good):
        raise ContractError("a refused structure took neighbours with it")
    _compare(teacher, structures, good, kept, "a refused neighbour")


def check_refusals(teacher: Teacher, structures: Sequence[Structure]) -> None:
    """What the teacher does not support is refused, each for its own reason."""
    able = teacher.capabilities
    base = next((s for s in structures if s.n_periodic == 0 and s.n_electrons % 2 == 0), None)
    if base is None:
        return
    box = np.eye(3) * (np.ptp(base.positions, axis=0).max() + 12.0)
    numbers, positions = base.numbers, base.positions
    cases: list[tuple[str, Structure]] = [
        ("multiplicity_parity", Structure(numbers, positions, multiplicity=2)),
        ("too_close", Structure(np.repeat(numbers[:1], 2), np.zeros((2, 3)), multiplicity=1)),
    ]
    odd = np.flatnonzero(numbers % 2)
    if len(odd) and len(numbers) > 1:
        radical = np.delete(np.arange(len(numbers)), odd[-1])
        cases.append(("multiplicity_unknown", Structure(numbers[radical], positions[radical])))
    if not able.charged:
        cases.append(("charge", Structure(numbers, positions, charge=2)))
    if not able.open_shell:
        cases.append(("multiplicity", Structure(numbers, positions, multiplicity=3)))
    for n_periodic in range(4):
        if n_periodic not in able.periodicity:
            pbc = (n_periodic > 0, n_periodic > 1, n_periodic > 2)
            cases.append(("periodicity", Structure(numbers, positions, box, pbc)))
    for code, structure in cases:
        [result] = label(teacher, [structure])
        if not isinstance(result, Failure) or result.code != code:
            raise ContractError(f"{code} is not refused but gives {result}")


#: All checks by name.
CHECKS: dict[str, Check] = {
    "order": check_order,
    "batch": check_batch,
    "repeatable": check_repeatable,
    "permutation": check_permutation,
    "translation": check_translation,
    "rotation": check_rotation,
    "forces": check_forces,
    "stress": check_stress,
    "one_bad": check_one_bad,
    "refusals": check_refusals,
}


def _compare(
    teacher: Teacher,
    structures: Sequence[Structure],
    one: Sequence[Prediction],
    other: Sequence[Prediction],
    what: str,
) -> None:
    """Raise ContractError where two lists of labels differ by more than the tolerance."""
    able = teacher.capabilities
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        energy = abs(a.energy - b.energy) / structures[i].n_atoms
        if energy > able.energy_tolerance:
            raise ContractError(f"{what}: energy of structure {i} differs by {energy:.2g} eV/atom")
        if a.forces.shape != b.forces.shape:
            raise ContractError(f"{what}: forces of structure {i} differ in shape")
        force = float(np.abs(a.forces - b.forces).max())
        if force > able.force_tolerance:
            raise ContractError(f"{what}: forces of structure {i} differ by {force:.2g} eV/Å")


def _compare_stress(teacher: Teacher, structure: Structure, stress: NDArray[np.float64]) -> None:
    assert structure.cell is not None
    assert structure.volume is not None
    strained = []
    for component in range(6):
        for sign in (1, -1):
            unit = np.zeros(6)
            unit[component] = sign * STRAIN
            deform = np.eye(3) + _tensor(unit) * (1.0 if component < 3 else 0.5)
            strained.append(structure.moved(structure.positions @ deform, structure.cell @ deform))
    energies = np.array([p.energy for p in predictions(teacher, strained)]).reshape(6, 2)
    expected = (energies[:, 0] - energies[:, 1]) / (2 * STRAIN) / structure.volume
    error = float(np.abs(expected - stress).max())
    if error > 2e-3 * max(1.0, float(np.abs(stress).max())):
        raise ContractError(f"stress {stress} is not the slope over strain, {expected}")


def _rotation() -> NDArray[np.float64]:
    matrix = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    return np.asarray(matrix * np.sign(np.linalg.det(matrix)))


def _tensor(voigt: NDArray[np.float64]) -> NDArray[np.float64]:
    xx, yy, zz, yz, xz, xy = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _voigt(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
