"""Any teacher as an ASE calculator: the engine of minimisation, normal modes and MD."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.structures.structure import CHARGE_KEYS, MULTIPLICITY_KEYS
from mlffdb.teachers.base import Failure, Teacher
from mlffdb.teachers.label import label


class CalculationError(TeacherError):
    """The teacher cannot compute the atoms; ``failure`` says why."""

    def __init__(self, teacher: str, failure: Failure) -> None:
        super().__init__(f"{teacher}: {failure.code}: {failure.message}")
        self.failure = failure


class TeacherCalculator(Calculator):  # type: ignore[misc]
    """Energy (eV), forces (eV/Å) and, for crystals, stress (eV/Å³) from a teacher.

    Charge and multiplicity are read from ``atoms.info`` (see Structure.from_atoms) unless given
    here; a change of either is noticed. Raises CalculationError, an error of mlffdb, where the
    teacher refuses or fails.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self, teacher: Teacher, *, charge: int | None = None, multiplicity: int | None = None
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self._charge = charge
        self._multiplicity = multiplicity
        self._state: tuple[Any, ...] | None = None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what changed since the last call; charge and multiplicity count too."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if self._state is not None and self._state != _electronic_state(atoms):
            changes.append("initial_charges")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything that the teacher gives for *atoms*."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        self._state = _electronic_state(self.atoms)
        structure = Structure.from_atoms(
            self.atoms, charge=self._charge, multiplicity=self._multiplicity
        )
        [result] = label(self.teacher, [structure])
        if isinstance(result, Failure):
            raise CalculationError(self.teacher.name, result)
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": np.asarray(result.forces, dtype=np.float64),
        }
        if result.stress is not None:
            self.results["stress"] = result.stress
        elif "stress" in (properties or []):
            raise PropertyNotImplementedError(f"{self.teacher.name} gives no stress here")


def _electronic_state(atoms: Atoms) -> tuple[Any, ...]:
    return tuple(atoms.info.get(key) for key in (*CHARGE_KEYS, *MULTIPLICITY_KEYS))
