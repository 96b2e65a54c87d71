"""GFN2-xTB and GFN1-xTB through tblite: real physics on the CPU without any weights.

One thread per process; many cores are used by many processes. Each structure starts from the
atomic guess, so no result depends on the structure before it. An SCF that does not converge would
fail again in the same way, so that failure is final.

Plain GFN-xTB has no energy of spin: the singlet of O2 comes out below its triplet. So open shells
are for the ``-spin`` teachers, whose spin-polarised energies (tblite's ``spin-polarization``) are
those of the plain method for singlets.

- GFN2: Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15 (2019) 1652.
- GFN1: Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13 (2017) 1989.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Failure, Identity, Prediction, Result, Teacher
from mlffdb.teachers.device import parse_device
from mlffdb.teachers.units import BOHR, HARTREE

#: Name → what tblite calls the method; names that end with SPIN are spin-polarised.
METHODS = {
    "gfn2-xtb": "GFN2-xTB",
    "gfn1-xtb": "GFN1-xTB",
    "gfn2-xtb-spin": "GFN2-xTB",
    "gfn1-xtb-spin": "GFN1-xTB",
}
SPIN = "-spin"
#: Raised when a change of this file changes numbers.
ADAPTER = 1
ACCURACY = 1.0
MAX_ITERATIONS = 250
ELECTRONIC_TEMPERATURE = 9.5e-4  # Hartree, 300 K: tblite's default, pinned

CAPABILITIES = Capabilities(
    elements=frozenset(range(1, 87)),
    periodicity=frozenset({0}),
    charged=True,
    open_shell=False,
    stress=False,
    conservative=True,
    equivariant=True,
    spread=False,
    max_atoms=2000,
    cost_unit="atoms",
    energy_tolerance=1e-6,
    force_tolerance=1e-4,
    licence="LGPL-3.0-or-later (tblite)",
)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def capabilities(name: str) -> Capabilities:
    """Return what the method *name* (a key of METHODS) can do."""
    return replace(CAPABILITIES, open_shell=name.endswith(SPIN))


class XtbTeacher(Teacher):
    """A GFN-xTB method; ``load_xtb`` makes one."""

    reasons: ClassVar[dict[str, str]] = {
        "periodicity": (
            "periodic GFN-xTB converges poorly in tblite, and slabs come out as crystals without "
            "a word"
        ),
        "multiplicity": (
            "without spin polarisation GFN-xTB puts low spin too low (singlet O2 below the "
            "triplet); use gfn2-xtb-spin or gfn1-xtb-spin"
        ),
    }

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = "cpu"
        self.capabilities = capabilities(name)
        self._spin = name.endswith(SPIN)
        self.budget = 512.0  # atoms; there is no batch to fill, only progress to report
        self.identity = Identity(
            name=name,
            versions={"tblite": version("tblite")},
            weights_sha256=None,
            precision="float64",
            settings={
                "adapter": ADAPTER,
                "accuracy": ACCURACY,
                "max_iterations": MAX_ITERATIONS,
                "electronic_temperature_hartree": ELECTRONIC_TEMPERATURE,
                "spin_polarisation": self._spin,
                "hartree_in_ev": HARTREE,
                "bohr_in_angstrom": BOHR,
            },
        )
        self._method = METHODS[name]
        self._openmp = _single_thread()
        from tblite.exceptions import TBLiteRuntimeError
        from tblite.interface import Calculator

        self._calculator = Calculator
        self._error: type[Exception] = TBLiteRuntimeError

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure, one after another."""
        self._use_one_thread()
        return [self._one(structure) for structure in batch]

    def cost(self, structure: Structure) -> float:
        """Return the number of atoms."""
        return float(structure.n_atoms)

    def _one(self, structure: Structure) -> Result:
        multiplicity = structure.spin_multiplicity
        assert multiplicity is not None
        calculator = self._calculator(
            self._method,
            structure.numbers,
            structure.positions / BOHR,
            float(structure.charge),
            multiplicity - 1,
        )
        calculator.set("verbosity", 0)
        calculator.set("accuracy", ACCURACY)
        calculator.set("max-iter", MAX_ITERATIONS)
        calculator.set("temperature", ELECTRONIC_TEMPERATURE)
        if self._spin:
            calculator.add("spin-polarization")
        try:
            outcome = calculator.singlepoint()
        except self._error as error:
            return _explain(error)
        return Prediction(
            energy=float(outcome.get("energy")) * HARTREE,
            forces=np.asarray(outcome.get("gradient"), dtype=np.float64) * (-HARTREE / BOHR),
            charge=structure.charge,
            multiplicity=multiplicity,
        )

    def _use_one_thread(self) -> None:
        # OpenMP keeps the number for each calling thread, so it is set where it is used
        if self._openmp is not None:
            self._openmp.omp_set_num_threads(1)


def load_xtb(name: str, device: str) -> XtbTeacher:
    """Return the method *name* (a key of METHODS); raises TeacherError unless on the CPU."""
    if parse_device(device).index is not None:
        raise TeacherError(f"{name} runs on the CPU only; use --device cpu")
    return XtbTeacher(name)


def _explain(error: Exception) -> Failure:
    message = str(error)
    if "not converged" in message:
        return Failure("not_converged", message)
    if "distance" in message:
        return Failure("too_close", message)
    return Failure("teacher_error", message)


def _single_thread() -> Any:
    """Keep tblite on one thread, and return its OpenMP library where it can be reached."""
    for variable in _THREADS:
        os.environ.setdefault(variable, "1")
    import tblite.interface  # noqa: F401 - loads the OpenMP library that is asked for below

    try:
        return ctypes.CDLL("libgomp.so.1")
    except OSError:
        return None
