"""What a teacher must refuse, and that a refusal touches nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Failure, Prediction, Teacher
from mlffdb.teachers.contract.comparing import ContractError, Deviation, compare, predictions
from mlffdb.teachers.label import label


def check_one_bad(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """A structure that is refused does not touch its neighbours."""
    good = predictions(teacher, structures)
    code, bad = _bad(teacher.capabilities, structures[0])
    middle = len(structures) // 2
    mixed = label(teacher, [*structures[:middle], bad, *structures[middle:]])
    refused = mixed.pop(middle)
    if not isinstance(refused, Failure) or refused.code != code:
        raise ContractError(f"{code} is not refused but gives {refused}")
    kept = [result for result in mixed if isinstance(result, Prediction)]
    if len(kept) != len(good):
        raise ContractError("a refused structure took neighbours with it")
    return compare(teacher, structures, good, kept, "a refused neighbour")


def check_refusals(teacher: Teacher, structures: Sequence[Structure]) -> Deviation | None:
    """What the teacher does not support is refused, each for its own reason."""
    cases = _isolated_cases(teacher.capabilities, structures)
    if not cases:
        cases = _periodic_cases(teacher.capabilities, structures)
    for code, structure in cases:
        [result] = label(teacher, [structure])
        if not isinstance(result, Failure) or result.code != code:
            raise ContractError(f"{code} is not refused but gives {result}")
    return Deviation() if cases else None


def _bad(able: Capabilities, good: Structure) -> tuple[str, Structure]:
    """Return what must be refused: an unknown element, else two atoms on top of each other."""
    unknown = next((z for z in range(118, 0, -1) if z not in able.elements), None)
    if unknown is not None:
        numbers, positions = np.array([unknown]), np.zeros((1, 3))
        return "unsupported_element", Structure(numbers, positions, multiplicity=1 + unknown % 2)
    positions = np.array(good.positions)
    positions[0] = positions[1] + 0.01
    return "too_close", good.moved(positions)


def _isolated_cases(
    able: Capabilities, structures: Sequence[Structure]
) -> list[tuple[str, Structure]]:
    base = next(
        (s for s in structures if s.n_periodic == 0 and s.n_electrons % 2 == 0 and not s.charge),
        None,
    )
    if base is None:
        return []
    numbers, positions = base.numbers, base.positions
    cases = [
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
    box = np.eye(3) * (np.ptp(positions, axis=0).max() + 12.0)
    for n_periodic in set(range(1, 4)) - able.periodicity:
        pbc = (n_periodic > 0, n_periodic > 1, n_periodic > 2)
        cases.append(("periodicity", Structure(numbers, positions, box, pbc)))
    return cases


def _periodic_cases(
    able: Capabilities, structures: Sequence[Structure]
) -> list[tuple[str, Structure]]:
    base = next((s for s in structures if s.n_periodic == 3 and not s.charge), None)
    if base is None:
        return []
    cases = []
    if not able.charged:
        charged = Structure(base.numbers, base.positions, base.cell, base.pbc, charge=2)
        cases.append(("charge", charged))
    for n_periodic in set(range(3)) - able.periodicity:
        pbc = (n_periodic > 0, n_periodic > 1, False)
        cases.append(("periodicity", Structure(base.numbers, base.positions, base.cell, pbc)))
    return cases
