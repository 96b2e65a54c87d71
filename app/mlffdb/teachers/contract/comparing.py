"""Deviations: how far two labels of the same structure lie apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Failure, Prediction, Teacher
from mlffdb.teachers.label import label


class ContractError(Exception):
    """A teacher breaks the contract; the message says where."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest differences that a check saw; None where it compares no such quantity."""

    #: eV/atom
    energy: float | None = None
    #: eV/Å
    force: float | None = None
    #: eV/Å³
    stress: float | None = None
    #: Whether the teacher is held to a limit here; else it is only measured.
    held: bool = True

    def within(self, able: Capabilities) -> bool:
        """Whether all differences are within the tolerance that a teacher declares."""
        return self.excess(able) is None

    def excess(self, able: Capabilities) -> str | None:
        """Say what lies beyond the tolerance that a teacher declares, or None."""
        for what, value, limit, unit in (
            ("energy", self.energy, able.energy_tolerance, "eV/atom"),
            ("forces", self.force, able.force_tolerance, "eV/Å"),
            ("stress", self.stress, able.stress_tolerance, "eV/Å³"),
        ):
            if value is not None and not value <= limit:
                return f"{what} by {value:.2g} {unit}, more than {limit:.2g}"
        return None


#: Returns the largest deviation, or None where the check does not apply to the teacher.
Check = Callable[[Teacher, Sequence[Structure]], Deviation | None]


def predictions(teacher: Teacher, structures: Sequence[Structure]) -> list[Prediction]:
    """Return the labels of *structures*; raises ContractError where one fails."""
    results = label(teacher, structures)
    found = []
    for index, result in enumerate(results):
        if isinstance(result, Failure):
            raise ContractError(f"structure {index} fails: {result.code}: {result.message}")
        found.append(result)
    return found


def deviation(
    n_atoms: int,
    one: tuple[float, NDArray[np.floating], NDArray[np.float64] | None],
    other: tuple[float, NDArray[np.floating], NDArray[np.float64] | None],
) -> Deviation:
    """Return how far two labels (energy, forces, stress) of one structure lie apart."""
    stress = None
    if one[2] is not None and other[2] is not None:
        stress = float(np.abs(np.asarray(one[2]) - np.asarray(other[2])).max())
    force = float(np.abs(np.asarray(one[1], np.float64) - np.asarray(other[1], np.float64)).max())
    return Deviation(abs(one[0] - other[0]) / n_atoms, force, stress)


def compare(
    teacher: Teacher,
    structures: Sequence[Structure],
    one: Sequence[Prediction],
    other: Sequence[Prediction],
    what: str,
    *,
    held: bool = True,
) -> Deviation:
    """Return the largest deviation between two lists of labels.

    held: raise ContractError where it is beyond the tolerance that the teacher declares
    """
    found = []
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        if a.forces.shape != b.forces.shape or (a.stress is None) != (b.stress is None):
            raise ContractError(f"{what}: labels of structure {i} differ in shape")
        apart = deviation(
            structures[i].n_atoms, (a.energy, a.forces, a.stress), (b.energy, b.forces, b.stress)
        )
        excess = apart.excess(teacher.capabilities)
        if held and excess is not None:
            raise ContractError(f"{what}: structure {i} differs in {excess}")
        found.append(apart)
    return largest(found, held=held)


def largest(found: Sequence[Deviation], *, held: bool = True) -> Deviation:
    """Return the largest of each quantity."""

    def most(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return max(known) if known else None

    return Deviation(
        most([one.energy for one in found]),
        most([one.force for one in found]),
        most([one.stress for one in found]),
        held,
    )
