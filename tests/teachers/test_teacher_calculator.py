"""A teacher as an ASE calculator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.units import fs

from mlffdb.errors import MlffdbError
from mlffdb.structures import Structure
from mlffdb.teachers.ase_calculator import CalculationError, TeacherCalculator
from mlffdb.teachers.base import Capabilities
from mlffdb.teachers.label import label
from tests.teachers.analytic import PairTeacher


class ChargedTeacher(PairTeacher):
    """The pair energy, and 1 eV per charge."""

    def __init__(self):
        super().__init__()
        self.capabilities: Capabilities = dataclasses.replace(
            self.capabilities, charged=True, open_shell=True
        )

    def one(self, structure):
        result = super().one(structure)
        return dataclasses.replace(result, energy=result.energy + structure.charge)


def test_energy_and_forces_are_the_labels():
    teacher = PairTeacher()
    atoms = molecule("CH3OH")
    atoms.calc = TeacherCalculator(teacher)
    [result] = label(teacher, [Structure.from_atoms(atoms)])
    assert atoms.get_potential_energy() == result.energy
    assert np.array_equal(atoms.get_forces(), result.forces)
    assert teacher.calls == [1, 1]


def test_a_changed_charge_is_noticed():
    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(ChargedTeacher())
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 2
    assert atoms.get_potential_energy() == pytest.approx(neutral + 2)
    atoms.info["charge"] = -2
    assert atoms.get_potential_energy() == pytest.approx(neutral - 2)


def test_charge_and_multiplicity_can_be_given():
    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(ChargedTeacher(), charge=1, multiplicity=2)
    plain = molecule("H2O")
    plain.calc = TeacherCalculator(ChargedTeacher())
    assert atoms.get_potential_energy() == pytest.approx(plain.get_potential_energy() + 1)


def test_a_refusal_is_an_error_with_the_reason():
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    atoms.calc = TeacherCalculator(PairTeacher())
    with pytest.raises(CalculationError, match="pair: multiplicity_unknown") as caught:
        atoms.get_potential_energy()
    assert isinstance(caught.value, MlffdbError)
    assert caught.value.failure.code == "multiplicity_unknown"


def test_no_stress_for_molecules():
    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(PairTeacher())
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_relaxation_and_dynamics_with_xtb():
    pytest.importorskip("tblite", reason="the extra xtb is not installed")
    from mlffdb.teachers.xtb import load_xtb

    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(load_xtb("gfn2-xtb", "cpu"))
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=50)
    assert np.abs(atoms.get_forces()).max() < 0.01
    atoms.rattle(0.05, seed=1)
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 0.25 * fs).run(40)
    assert abs(atoms.get_total_energy() - before) < 2e-3


def test_stress_of_a_crystal(tiny_fnx, settings):
    from mlffdb.teachers.fennol import load_fennol

    atoms = bulk("C", cubic=True)
    atoms.calc = TeacherCalculator(
        load_fennol("tiny", tiny_fnx, "0", "MIT", device="cpu", cache_dir=settings.cache_dir)
    )
    assert atoms.get_stress().shape == (6,)
    assert np.abs(atoms.get_stress()[:3] - atoms.get_stress()[0]).max() < 1e-5
