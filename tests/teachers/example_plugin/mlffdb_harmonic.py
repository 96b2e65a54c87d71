"""A teacher for mlffdb: harmonic springs between all pairs of atoms."""

from importlib.metadata import version

import numpy as np

from mlffdb.teachers import Capabilities, Identity, Prediction, Teacher
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo

STIFFNESS = 0.5  # eV/Å²
LENGTH = 1.5  # Å, of a spring at rest

CAPABILITIES = Capabilities(
    elements=frozenset(range(1, 11)),
    periodicity=frozenset({0}),  # numbers of periodic axes: molecules only
    charged=False,
    open_shell=False,
    stress=False,
    conservative=True,
    equivariant=True,
    spread=False,
    max_atoms=500,
    cost_unit="atoms",
    energy_tolerance=1e-9,  # eV/atom, when computed again
    force_tolerance=1e-9,  # eV/Å
    licence="MIT",
)


class HarmonicTeacher(Teacher):
    name = "harmonic"
    device = "cpu"
    capabilities = CAPABILITIES
    budget = 2000.0  # atoms in a batch

    def __init__(self):
        # everything that decides the numbers; whatever changes here makes another teacher
        self.identity = Identity(
            name="harmonic",
            versions={"mlffdb-harmonic": version("mlffdb-harmonic")},
            weights_sha256=None,
            precision="float64",
            settings={"stiffness": STIFFNESS, "length": LENGTH},
        )

    def compute(self, batch):
        return [self._one(structure) for structure in batch]

    def _one(self, structure):
        vectors = structure.positions[:, None] - structure.positions[None]  # Å
        lengths = np.linalg.norm(vectors, axis=-1)
        np.fill_diagonal(lengths, LENGTH)
        stretch = lengths - LENGTH
        return Prediction(
            energy=float(STIFFNESS * (stretch**2).sum() / 4),  # eV; each pair is there twice
            forces=-STIFFNESS * ((stretch / lengths)[..., None] * vectors).sum(axis=1),  # eV/Å
            multiplicity=structure.spin_multiplicity,
        )


entry = Entry(
    TeacherInfo("harmonic", "springs between all atoms", CAPABILITIES.licence, CAPABILITIES),
    readiness=lambda settings: Readiness(True),
    load=lambda device, settings: HarmonicTeacher(),
)
