from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.collections import g2
from hypothesis import given
from hypothesis import strategies as st

from mlffdb.structures.composition import (
    composition_key,
    element_counts,
    guess_domain,
    hill_formula,
)


@pytest.mark.parametrize(
    ("name", "formula"),
    [("CH3CH2OH", "C2H6O"), ("H2O", "H2O"), ("NH3", "H3N"), ("CH3Cl", "CH3Cl"), ("HCl", "ClH")],
)
def test_hill_formula(name, formula):
    assert hill_formula(molecule(name).numbers) == formula


@pytest.mark.parametrize("name", [name for name in g2.names if "C" in g2[name].symbols])
def test_hill_formula_with_carbon_is_that_of_ase(name):
    atoms = molecule(name)
    assert hill_formula(atoms.numbers) == atoms.get_chemical_formula(mode="hill")


@given(st.lists(st.integers(1, 118), min_size=1))
def test_element_counts(numbers):
    elements, counts = element_counts(numbers)
    assert elements == sorted(set(numbers))
    assert counts == [numbers.count(z) for z in elements]
    assert all(type(n) is int for n in elements + counts)


@pytest.mark.parametrize(
    ("atoms", "domain"),
    [
        (molecule("CH3CH2OH"), "organic"),
        (molecule("SiH4"), "inorganic"),
        (bulk("Si"), "inorganic"),
        (bulk("C"), "inorganic"),
        (bulk("NaCl", "rocksalt", a=5.6), "inorganic"),
    ],
)
def test_guess_domain(atoms, domain):
    assert guess_domain(atoms.numbers, int(sum(atoms.pbc))) == domain


def test_composition_key_ties_repeats_of_a_cell_but_not_clusters():
    salt = bulk("NaCl", "rocksalt", a=5.6)
    assert composition_key(salt.numbers, 3) == "composition:ClNa"
    assert composition_key(salt.repeat(3).numbers, 3) == "composition:ClNa"
    water = molecule("H2O").numbers
    assert composition_key(np.tile(water, 2), 0) == "composition:H4O2"
    assert composition_key(np.array([6]), 3) == "composition:C"
