"""What never reaches a teacher."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mlffdb.structures import Structure
from mlffdb.teachers.checks import has_close_atoms, precheck, wrapped
from tests.teachers.analytic import PairTeacher

WATER = np.array([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
HOH = np.array([8, 1, 1])
BOX = np.eye(3) * 8.0


def able(**changes) -> PairTeacher:
    teacher = PairTeacher()
    teacher.capabilities = dataclasses.replace(teacher.capabilities, **changes)
    return teacher


def test_water_passes():
    assert precheck(PairTeacher(), Structure(HOH, WATER)) is None


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        (Structure(np.array([100]), np.zeros((1, 3))), "unsupported_element"),
        (Structure(HOH, WATER, BOX, (True, True, True)), "periodicity"),
        (Structure(HOH, WATER, BOX, (True, True, False)), "periodicity"),
        (Structure(np.full(51, 2), np.arange(153.0).reshape(51, 3)), "too_large"),
        (Structure(HOH, WATER, charge=2), "charge"),
        (Structure(HOH, WATER, charge=1), "charge"),
        (Structure(np.array([8, 1]), WATER[:2]), "multiplicity_unknown"),
        (Structure(HOH, WATER, multiplicity=2), "multiplicity_parity"),
        (Structure(np.array([2]), np.zeros((1, 3)), multiplicity=5), "multiplicity_parity"),
        (Structure(HOH, WATER, multiplicity=3), "multiplicity"),
        (Structure(HOH, np.array([[0.0, 0, 0], [0, 0.76, 0], [0, 0.76, 0.1]])), "too_close"),
    ],
)
def test_refused_with_a_code(structure, code):
    failure = precheck(PairTeacher(), structure)
    assert failure is not None
    assert failure.code == code
    assert not failure.retry


def test_nan_that_slipped_into_a_structure_is_refused():
    structure = Structure(HOH, WATER)
    positions = np.array(structure.positions)
    positions[1, 2] = np.nan
    object.__setattr__(structure, "positions", positions)
    assert precheck(PairTeacher(), structure).code == "not_finite"


def test_charge_and_spin_pass_where_the_teacher_takes_them():
    teacher = able(charged=True, open_shell=True)
    assert precheck(teacher, Structure(HOH, WATER, charge=1, multiplicity=2)) is None
    assert precheck(teacher, Structure(HOH, WATER, multiplicity=3)) is None


def test_a_crystal_has_no_parity():
    aluminium = Structure(np.array([13]), np.zeros((1, 3)), np.eye(3) * 2.8, (True,) * 3)
    assert precheck(able(periodicity=frozenset({3})), aluminium) is None


def test_a_squeezed_cell_is_refused():
    squeezed = Structure(
        np.full(9, 1), np.random.default_rng(0).random((9, 3)), np.eye(3), (1,) * 3
    )
    assert precheck(able(periodicity=frozenset({3})), squeezed).code == "volume"


def test_the_reason_of_the_teacher_is_added():
    teacher = PairTeacher()
    teacher.reasons = {"charge": "pairs are neutral"}
    assert precheck(teacher, Structure(HOH, WATER, charge=2)).message.endswith("pairs are neutral")


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_close_periodic_images_are_found(pbc):
    positions = np.array([[0.05, 4, 4], [7.95, 4, 4]])
    numbers = np.array([2, 2])
    assert has_close_atoms(Structure(numbers, positions, BOX, pbc), 0.3)
    assert not has_close_atoms(Structure(numbers, positions), 0.3)
    apart = positions - np.array([[0, 0, 0], [1, 0, 0]])
    assert not has_close_atoms(Structure(numbers, apart, BOX, pbc), 0.3)


def test_an_atom_close_to_its_own_image_is_found():
    flat = np.diag([0.2, 9.0, 9.0])
    structure = Structure(np.array([2]), np.zeros((1, 3)), flat, (True,) * 3)
    assert has_close_atoms(structure, 0.3)


@pytest.mark.parametrize("n_atoms", [2, 100, 500])
def test_close_atoms_are_found_in_structures_of_any_size(n_atoms):
    grid = np.array(np.unravel_index(np.arange(n_atoms), (10, 10, 10))).T * 1.0
    numbers = np.full(n_atoms, 2)
    assert not has_close_atoms(Structure(numbers, grid), 0.3)
    grid[-1] = grid[0] + [0.1, 0.2, 0.0]
    assert has_close_atoms(Structure(numbers, grid), 0.3)


def test_far_away_coordinates_keep_their_digits():
    near, far = Structure(HOH, WATER), Structure(HOH, WATER + 1e5)
    assert np.abs(wrapped(near) - wrapped(far)).max() < 1e-9
    crystal = Structure(HOH, WATER + 8000.0, BOX, (True,) * 3)
    assert wrapped(crystal).min() >= -1e-9
    assert wrapped(crystal).max() <= 8 + 1e-9
