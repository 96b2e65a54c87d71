"""The quick look at a whole batch says the same as the checks of each structure."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from mlffdb.structures import Structure
from mlffdb.teachers.checks import precheck
from mlffdb.teachers.screening import nearest_squared, screen
from tests.teachers.analytic import PairTeacher

SIZES = st.sampled_from([1, 2, 3, 5, 30])


def made(seed: int, n_atoms: int, box: float) -> Structure:
    rng = np.random.default_rng(seed)
    return Structure(
        rng.choice([1, 6, 8, 110], n_atoms, p=[0.5, 0.3, 0.19, 0.01]),
        rng.uniform(0, box, (n_atoms, 3)),
        charge=int(rng.choice([0, 0, 0, 1])) if n_atoms > 1 else 0,
        multiplicity=rng.choice([None, None, 1, 2, 3]),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), SIZES, st.floats(1, 20)), max_size=40))
def test_it_says_the_same_as_the_checks_one_by_one(drawn: list[tuple[int, int, float]]) -> None:
    teacher = PairTeacher()
    structures = [made(*one) for one in drawn]
    assert screen(teacher, structures) == [precheck(teacher, one) for one in structures]


def test_crystals_bad_numbers_and_close_atoms_get_their_reasons() -> None:
    water = Structure.from_atoms(molecule("H2O"), multiplicity=1)
    broken = water.positions.copy()
    broken[0, 0] = np.nan
    bad = Structure.trusted(water.numbers, broken, None, (False,) * 3, 0, 1)
    far = Structure.trusted(
        np.array([2], dtype=np.uint8), np.full((1, 3), np.inf), None, (False,) * 3, 0, 1
    )
    close = water.moved(water.positions * 0.2)
    crystal = Structure.from_atoms(bulk("C"))
    found = screen(PairTeacher(), [water, bad, far, close, crystal, water])
    codes = [None if one is None else one.code for one in found]
    assert codes == [None, "not_finite", "not_finite", "too_close", "periodicity", None]


@pytest.mark.parametrize("n_atoms", [1, 2, 7, 40])
def test_the_nearest_pair_is_found(n_atoms: int) -> None:
    positions = np.random.default_rng(0).normal(size=(9, n_atoms, 3))
    vectors = positions[:, :, None] - positions[:, None]
    squares = (vectors**2).sum(axis=-1) + np.diag(np.full(n_atoms, np.inf))
    np.testing.assert_allclose(nearest_squared(positions), squares.min(axis=(1, 2)))
