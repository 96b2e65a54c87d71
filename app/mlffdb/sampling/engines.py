"""Engines as ASE calculators; teachers are loaded once per process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mlffdb.config import Settings, load_settings
from mlffdb.errors import PlanError, TeacherError
from mlffdb.sampling.engine_spec import MMFF, EngineSpec
from mlffdb.sampling.items import Item

if TYPE_CHECKING:
    from mlffdb.teachers import Teacher


class EngineFailedError(Exception):
    """An engine could not compute a structure; ends a method on an item with a rejection."""


class Engine(Calculator):  # type: ignore[misc]
    """An ASE calculator with its failures under one name and its calls and time counted."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's attribute

    def __init__(self, name: str, inner: Any, cache: EngineCache) -> None:
        super().__init__()
        self.label = name
        self._inner = inner
        self._cache = cache

    def calculate(
        self,
        atoms: Any = None,
        properties: Any = ("energy", "forces"),  # noqa: ARG002 - both always
        system_changes: Any = all_changes,
    ) -> None:
        """Compute energy (eV) and forces (eV/Å); raises EngineFailedError."""
        super().calculate(atoms, self.implemented_properties, system_changes)
        start = time.perf_counter()
        try:
            self._inner.calculate(atoms, self.implemented_properties, system_changes)
        except MemoryError:
            raise
        except Exception as error:
            raise EngineFailedError(f"{self.label}: {error}") from error
        finally:
            self._cache.calls += 1
            self._cache.seconds += time.perf_counter() - start
        energy, forces = self._inner.results["energy"], self._inner.results["forces"]
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise EngineFailedError(f"{self.label}: energy or forces are not finite")
        self.results = {
            "energy": float(energy),
            "free_energy": float(energy),
            "forces": np.array(forces, dtype=np.float64),
        }


class EngineCache:
    """Gives engines by name. One per process; holds the loaded teachers.

    device: of the engines that have a version for it; the others run on the CPU

    calls, seconds: engine calls so far and the time inside them.
    """

    def __init__(self, settings: Settings | None = None, device: str = "cpu") -> None:
        self._settings = settings
        self._device = device
        self._teachers: dict[str, Teacher] = {}
        self.calls = 0
        self.seconds = 0.0

    def engine(self, spec: EngineSpec, item: Item) -> Engine:
        """Return a fresh calculator without memory of other structures.

        Raises TeacherError where the teacher cannot be loaded, PlanError where the ASE calculator
        cannot be made, EngineFailedError where the engine cannot treat the item at all.
        """
        return Engine(spec.label, self._inner(spec, item), self)

    def _inner(self, spec: EngineSpec, item: Item) -> Any:
        if spec.name == MMFF:
            from mlffdb.sampling.mmff import MmffCalculator

            return MmffCalculator(item.molecule)
        if spec.import_path is not None:
            return _ase_calculator(spec, spec.import_path)
        from mlffdb.teachers.ase_calculator import TeacherCalculator

        return TeacherCalculator(self._teacher(spec.name))

    def _teacher(self, name: str) -> Teacher:
        if name not in self._teachers:
            from mlffdb.teachers import registry

            settings = self._settings or load_settings()
            device = "cpu" if registry.describe(name).cpu_only else self._device
            self._teachers[name] = registry.load(name, device=device, settings=settings)
        return self._teachers[name]

    def close(self) -> None:
        """Free what the teachers hold."""
        for teacher in self._teachers.values():
            teacher.close()
        self._teachers.clear()


def _ase_calculator(spec: EngineSpec, path: str) -> Any:
    from mlffdb.teachers.from_ase import make_calculator

    try:
        return make_calculator(path, spec.settings, f"engine {spec.name}")
    except TeacherError as error:
        raise PlanError(f"{error}; check its name and settings in the plan") from error
