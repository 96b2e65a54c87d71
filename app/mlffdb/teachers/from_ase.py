"""Any ASE calculator as a teacher, one structure at a time.

Units and the sign of stress are ASE's, which are those of mlffdb. Charge and multiplicity go where
the declaration says that the calculator reads them; other charges and spins are refused.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import (
    PackageNotFoundError,
    distribution,
    packages_distributions,
    requires,
    version,
)
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mlffdb.declarations import DeclaredTeacher, atomic_numbers_of
from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Failure, Identity, Prediction, Result, Teacher
from mlffdb.teachers.checks import wrapped
from mlffdb.teachers.device import parse_device, torch_precision
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo
from mlffdb.teachers.weights import sha256_of

#: Raised when a change of this file changes numbers.
ADAPTER = 1
#: Packages that decide numbers where a calculator's own package requires them.
BACKENDS = frozenset({"torch", "jax", "jaxlib", "tensorflow", "e3nn", "numpy"})


@dataclass(frozen=True, slots=True)
class Provenance:
    """What decides a calculator's numbers, besides what is declared."""

    #: Package → version.
    versions: Mapping[str, str]
    #: Path of a file among the arguments → its SHA-256.
    files: Mapping[str, str]
    #: SHA-256 of the calculator's own source file, where no installed package holds it.
    source_sha256: str | None


class CalculatorTeacher(Teacher):
    """An ASE calculator; ``load_declared`` makes one."""

    budget = 1.0  # structures

    def __init__(
        self,
        name: str,
        device: str,
        calculator: Any,
        declared: DeclaredTeacher,
        identity: Identity,
    ) -> None:
        self.name = name
        self.device = device
        self.identity = identity
        self.capabilities = capabilities(declared)
        self._calculator = calculator
        self._declared = declared

    def cost(self, structure: Structure) -> float:  # noqa: ARG002 - each is a batch of its own
        """Return 1: each structure is a batch of its own."""
        return 1.0

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure, one after another."""
        with _precision(self.identity.precision):
            return [self._one(structure) for structure in batch]

    def _one(self, structure: Structure) -> Result:
        from ase.calculators.calculator import PropertyNotImplementedError

        atoms = self._atoms(structure)
        atoms.calc = self._calculator
        reset = getattr(self._calculator, "reset", None)
        if reset is not None:  # nothing of the structure before
            reset()
        with_stress = self.capabilities.stress and structure.n_periodic == 3
        try:
            energy = float(atoms.get_potential_energy())
            forces = np.array(atoms.get_forces())
            stress = np.array(atoms.get_stress(voigt=True), np.float64) if with_stress else None
        except PropertyNotImplementedError as error:
            return Failure("missing_property", f"the calculator does not give it: {error}")
        return Prediction(
            energy=energy,
            forces=forces if forces.dtype == np.float32 else forces.astype(np.float64),
            stress=stress,
            charge=structure.charge,
            multiplicity=structure.spin_multiplicity,
        )

    def _atoms(self, structure: Structure) -> Any:
        """Return ASE Atoms with charge and multiplicity where the calculator reads them."""
        from ase import Atoms

        atoms = Atoms(
            numbers=structure.numbers.astype(int),
            positions=wrapped(structure),
            cell=structure.cell,
            pbc=structure.pbc,
        )
        charge, spin = self._declared.charge, self._declared.multiplicity
        if charge == "initial_charges":
            atoms.set_initial_charges(_spread(structure.charge, structure))
        elif charge is not None:
            atoms.info[charge.removeprefix("info.")] = structure.charge
        multiplicity = structure.spin_multiplicity
        if spin == "initial_magmoms":
            atoms.set_initial_magnetic_moments(_spread((multiplicity or 1) - 1, structure))
        elif spin is not None and multiplicity is not None:
            atoms.info[spin.removeprefix("info.")] = multiplicity
        return atoms

    def close(self) -> None:
        """Let the calculator go."""
        self._calculator = None


def declared_entry(name: str, declared: DeclaredTeacher) -> Entry:
    """Return the entry of a teacher that the user declared."""
    info = TeacherInfo(
        name,
        f"{declared.calculator}, an ASE calculator, one structure at a time",
        declared.licence,
        capabilities(declared),
        cpu_only=declared.device_argument is None,
    )
    return Entry(
        info,
        lambda _: _module_ready(declared.calculator.partition(":")[0]),
        lambda device, _: load_declared(name, declared, device=device),
    )


def _module_ready(module: str) -> Readiness:
    remedy = "install its package, or mend its path where it is declared"
    try:
        there = find_spec(module) is not None
    except ImportError:
        there = False
    except Exception as error:  # of the packages above it, which are imported here
        return Readiness(False, f"{module} cannot be found: {_in_one_line(error)}", remedy)
    return Readiness(True) if there else Readiness(False, f"no module {module}", remedy)


def load_declared(name: str, declared: DeclaredTeacher, *, device: str) -> CalculatorTeacher:
    """Return the calculator that is *declared*, as the teacher *name*.

    Raises TeacherError where it cannot be imported or made, or is asked for a device that it is
    not told.
    """
    where = parse_device(device)
    arguments = dict(declared.arguments)
    if declared.device_argument is not None:
        arguments[declared.device_argument] = str(where)
    elif where.index is not None:
        raise TeacherError(
            f"{name} runs on the CPU only; declare its device_argument, or use --device cpu"
        )
    import_calculator(declared.calculator, f"teacher {name}")  # and the torch that it uses
    with _precision(declared.precision):
        calculator = make_calculator(declared.calculator, arguments, f"teacher {name}")
    return CalculatorTeacher(
        name, str(where), calculator, declared, identity(name, declared, provenance(declared))
    )


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    """Hold torch, where it is in use, to what is declared, without TF32; and leave it as it was."""
    if "torch" not in sys.modules:
        yield
        return
    with torch_precision("float64" if precision == "float64" else "float32-highest"):
        yield


def make_calculator(path: str, arguments: Mapping[str, Any], who: str) -> Any:
    """Return the ASE calculator ``package.module:Class`` made with *arguments*.

    who: what asks for it, for the message
    Raises TeacherError in one line where the module or class is missing or refuses the arguments.
    """
    factory = import_calculator(path, who)
    try:
        return factory(**arguments)
    except Exception as error:
        raise TeacherError(
            f"{who}: {path} cannot be made with {dict(arguments)}: {_in_one_line(error)}"
        ) from error


def import_calculator(path: str, who: str) -> Any:
    """Return the class or function that ``package.module:Class`` names; raises TeacherError."""
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a module may raise anything where it is imported
        raise TeacherError(
            f"{who}: {path} cannot be imported ({_in_one_line(error)}); install its package, or "
            "check the path"
        ) from error
    if not hasattr(found, attribute):
        raise TeacherError(f"{who}: module {module} has no {attribute!r}")
    return getattr(found, attribute)


def _in_one_line(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0][:300]}" if first else type(error).__name__


def capabilities(declared: DeclaredTeacher) -> Capabilities:
    """Return what a declared teacher can do."""
    return Capabilities(
        elements=atomic_numbers_of(declared.elements),
        periodicity=frozenset(declared.periodicity),
        charged=declared.charge is not None,
        open_shell=declared.multiplicity is not None,
        stress=declared.stress,
        conservative=declared.conservative,
        equivariant=declared.equivariant,
        spread=False,
        max_atoms=declared.max_atoms,
        cost_unit="structures",
        energy_tolerance=declared.energy_tolerance,
        force_tolerance=declared.force_tolerance,
        licence=declared.licence,
        stress_tolerance=declared.stress_tolerance,
    )


def identity(name: str, declared: DeclaredTeacher, found: Provenance) -> Identity:
    """Return the identity of a declared teacher; a file counts by its contents, not its path."""
    hashes = sorted(set(found.files.values()))
    settings = {
        "adapter": ADAPTER,
        "calculator": declared.calculator,
        "arguments": _by_content(declared.arguments, found.files),
        "charge": declared.charge,
        "multiplicity": declared.multiplicity,
    }
    if found.source_sha256 is not None:
        settings["source_sha256"] = found.source_sha256
    return Identity(
        name=name,
        versions=found.versions,
        weights_sha256=hashes[0] if len(hashes) == 1 else None,
        precision=declared.precision,
        settings=settings,
    )


def provenance(declared: DeclaredTeacher) -> Provenance:
    """Return versions and hashes; raises TeacherError where a declared package is missing."""
    module = declared.calculator.partition(":")[0]
    owners = _owners(module)
    packages = {"ase", *owners, *declared.packages}
    for owner in owners:
        packages |= _backends(owner)
    versions = {}
    for package in sorted(packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            raise TeacherError(f"package {package!r} is declared but not installed") from None
    files = {path: sha256_of(Path(path)) for path in _files(declared.arguments)}
    return Provenance(versions, files, None if owners else _source_hash(declared.calculator))


def _files(value: Any) -> set[str]:
    """Return the paths of files in *value*, which may hold lists and mappings."""
    if isinstance(value, str):
        return {value} if os.path.isfile(value) else set()  # noqa: PTH113 - False for any text
    parts = value.values() if isinstance(value, Mapping) else value
    return set().union(*map(_files, parts)) if isinstance(parts, Iterable) else set()


def _by_content(value: Any, files: Mapping[str, str]) -> Any:
    """Return *value* with each path of *files* replaced by the file's hash."""
    if isinstance(value, str):
        return f"sha256:{files[value]}" if value in files else value
    if isinstance(value, Mapping):
        return {key: _by_content(part, files) for key, part in value.items()}
    return [_by_content(part, files) for part in value] if isinstance(value, list) else value


def _owners(module: str) -> list[str]:
    """Return the installed packages that hold *module*; none for a file of the user's own."""
    try:
        found = find_spec(module)
    except ImportError:
        found = None
    if found is None or found.origin is None:
        return []
    owners = packages_distributions().get(module.partition(".")[0], [])
    return [
        owner
        for owner in owners
        if Path(found.origin).is_relative_to(str(distribution(owner).locate_file("")))
    ]


def _backends(package: str) -> set[str]:
    """Return the installed BACKENDS that *package* requires."""
    found = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in requires(package) or ()}
    installed = set()
    for name in found & BACKENDS:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        installed.add(name)
    return installed


def _source_hash(path: str) -> str | None:
    found = inspect.getsourcefile(import_calculator(path, path))
    return None if found is None else hashlib.sha256(Path(found).read_bytes()).hexdigest()


def _spread(total: int, structure: Structure) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the same share of *total* for each atom."""
    return np.full(structure.n_atoms, total / structure.n_atoms)
