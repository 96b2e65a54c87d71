"""All checks by name, and running them on one teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mlffdb.structures import Structure
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.contract.comparing import Check, ContractError, Deviation
from mlffdb.teachers.contract.gradients import check_forces, check_stress
from mlffdb.teachers.contract.invariances import (
    check_batch,
    check_order,
    check_permutation,
    check_repeatable,
    check_rotation,
    check_translation,
)
from mlffdb.teachers.contract.refusals import check_one_bad, check_refusals

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

#: passed: within the limits; measured: no limit holds for this teacher; broken: the contract is.
Status = Literal["passed", "measured", "broken", "not applicable"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check."""

    check: str
    status: Status
    #: Largest deviations in eV/atom, eV/Å and eV/Å³; None where the check compares none.
    energy: float | None = None
    force: float | None = None
    stress: float | None = None
    #: What is broken.
    why: str | None = None


def run_suite(
    teacher: Teacher,
    structures: Sequence[Structure],
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Outcome]:
    """Run all CHECKS on *teacher* and return what came of each.

    structures: at least two that the teacher supports
    on_progress: called with checks done and checks in all
    """
    outcomes = []
    for done, (name, check) in enumerate(CHECKS.items()):
        on_progress(done, len(CHECKS))
        outcomes.append(_run(name, check, teacher, structures))
    on_progress(len(CHECKS), len(CHECKS))
    return outcomes


def _run(name: str, check: Check, teacher: Teacher, structures: Sequence[Structure]) -> Outcome:
    try:
        seen = check(teacher, structures)
    except ContractError as error:
        return Outcome(name, "broken", why=str(error))
    except Exception as error:  # a plug-in may return anything
        return Outcome(name, "broken", why=f"{type(error).__name__}: {error}")
    if seen is None:
        return Outcome(name, "not applicable")
    return _outcome(name, seen)


def _outcome(name: str, seen: Deviation) -> Outcome:
    status: Status = "passed" if seen.held else "measured"
    return Outcome(name, status, seen.energy, seen.force, seen.stress)
