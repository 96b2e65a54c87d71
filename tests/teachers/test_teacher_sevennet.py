"""SevenNet-0 with the weights of its package, on crystals."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlffdb.config import Settings
from mlffdb.structures import Structure
from mlffdb.teachers import device, registry
from mlffdb.teachers.base import Prediction
from mlffdb.teachers.contract import CHECKS
from mlffdb.teachers.label import label

pytest.importorskip("sevenn", reason="the extra sevenn is not installed")


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def one_thread():
    """Small models are slower on more threads, much slower where cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def teacher(settings, one_thread):
    device._claimed = None  # as if in a process of its own
    return registry.load("sevennet-0", settings=settings)


@pytest.fixture(scope="module")
def two() -> list[Structure]:
    found = []
    for seed, (name, kind, edge) in enumerate((("Si", "diamond", 5.5), ("NaCl", "rocksalt", 5.5))):
        atoms = bulk(name, kind, a=edge)
        atoms.rattle(0.05, seed=seed)
        found.append(Structure.from_atoms(atoms))
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_it_holds_the_contract(teacher, two, check) -> None:
    water = molecule("H2O")
    water.rattle(0.05, seed=2)
    assert CHECKS[check](teacher, [*two, Structure.from_atoms(water)]) is not None


def test_numbers_are_those_of_its_own_calculator(teacher, two) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of accelerators that are not installed
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator("7net-0_11July2024", device="cpu")
    for structure, result in zip(two, label(teacher, two), strict=True):
        atoms = structure.to_atoms()
        atoms.calc = calculator
        assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
        assert np.allclose(result.forces, atoms.get_forces(), atol=1e-4)
        assert np.allclose(result.stress, atoms.get_stress(), atol=1e-5)


def test_silicon_is_bound_and_trained(teacher) -> None:
    """The energy of the Materials Project's silicon (mp-149): −5.42 eV/atom by PBE."""
    [result] = label(teacher, [Structure.from_atoms(bulk("Si", a=5.46))])
    assert isinstance(result, Prediction)
    assert result.energy / 2 == pytest.approx(-5.42, abs=0.03)
    assert not teacher.identity.untrained
    assert teacher.identity.weights_sha256
    assert {"sevenn", "torch", "e3nn"} <= set(teacher.identity.versions)


def test_a_molecule_has_no_stress_and_no_charge(teacher) -> None:
    water = Structure.from_atoms(molecule("H2O"))
    neutral, charged = label(teacher, [water, Structure(water.numbers, water.positions, charge=2)])
    assert neutral.stress is None
    assert charged.code == "charge"
