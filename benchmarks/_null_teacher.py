"""A teacher that computes nothing: what it takes to label with it is the pipeline itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Identity, Prediction, Result, Teacher
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo

NAME = "null"
#: Environment variable with the seconds that a batch takes.
SECONDS = "MLFFDB_BENCH_NULL_SECONDS"
CAPABILITIES = Capabilities(
    elements=frozenset(range(1, 87)),
    periodicity=frozenset({0, 3}),
    charged=True,
    open_shell=True,
    stress=False,
    conservative=True,
    equivariant=True,
    spread=False,
    max_atoms=None,
    cost_unit="atoms",
    energy_tolerance=1e-6,
    force_tolerance=1e-5,
    licence="none",
)


class NullTeacher(Teacher):
    """Returns numbers that look like labels."""

    name, device, budget, first_batch = NAME, "cpu", 1e9, 64
    capabilities = CAPABILITIES
    identity = Identity(NAME, {}, None, "float32")

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return energies and forces after SECONDS, without any physics."""
        time.sleep(float(os.environ.get(SECONDS, "0")))
        atoms = sum(len(structure.numbers) for structure in batch)
        forces = np.random.default_rng(0).normal(size=(atoms, 3)).astype(np.float32)
        results: list[Result] = []
        start = 0
        for structure in batch:
            end = start + len(structure.numbers)
            results.append(
                Prediction(-float(end - start), forces[start:end], charge=structure.charge)
            )
            start = end
        return results


def entry() -> Entry:
    """Return the registry's entry."""
    info = TeacherInfo(NAME, "computes nothing", CAPABILITIES.licence, CAPABILITIES, cpu_only=True)
    return Entry(info, lambda _: Readiness(True), lambda _device, _settings: NullTeacher())
