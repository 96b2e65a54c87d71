"""Distances over covalent radii, periodic images included."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from mlffdb.sampling.geometry import closest_contact, covalent_radii, pairs_within
from mlffdb.structures import Structure

TUBE = fcc111("Al", (2, 2, 3), vacuum=6)
TUBE.pbc = (True, False, True)
CASES = {
    "one atom": bulk("Cu"),
    "flat cell": bulk("Cu").repeat((1, 1, 4)),
    "salt": bulk("NaCl", "rocksalt", a=5.6).repeat((3, 2, 2)),
    "slab": fcc111("Al", (2, 2, 3), vacuum=6),
    "tube": TUBE,
}


@pytest.mark.parametrize("atoms", CASES.values(), ids=CASES)
@pytest.mark.parametrize("margin", [0.0, 3.5])
def test_same_pairs_as_ase(atoms, margin):
    atoms = atoms.copy()
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(0, 0.3, atoms.positions.shape)
    jumps = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    atoms.positions += jumps @ atoms.cell[:]
    structure = Structure.from_atoms(atoms)
    cutoff = 2 * covalent_radii()[structure.numbers].max() + margin
    pairs = pairs_within(structure, 1.0, margin)
    expected = neighbor_list("d", atoms, cutoff)
    found = pairs.distances(structure.positions)
    assert np.sort(np.repeat(found, 2)) == pytest.approx(np.sort(expected), abs=1e-9)
    assert pairs.radii == pytest.approx(
        covalent_radii()[structure.numbers[pairs.i]] + covalent_radii()[structure.numbers[pairs.j]]
    )


def test_molecules_small_and_large_see_the_same_contacts():
    small = molecule("C60")
    many = small.copy()
    for k in range(1, 4):
        other = small.copy()
        other.translate([0, 0, 30.0 * k])
        many += other
    assert len(many) > 200
    one, four = Structure.from_atoms(small), Structure.from_atoms(many)
    assert closest_contact(one) == pytest.approx(closest_contact(four))


@given(scale=st.floats(0.1, 2.9))
def test_contact_of_a_pair(scale):
    radii = covalent_radii()[[1, 8]].sum()
    pair = Structure(np.array([1, 8]), np.array([[0, 0, 0], [0, scale * radii, 0]]))
    assert closest_contact(pair) == pytest.approx(scale)


def test_images_of_one_atom_count():
    lone = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3) * 2.0, (True, True, True))
    assert closest_contact(lone) == pytest.approx(2.0 / (2 * covalent_radii()[29]))


def test_an_atom_alone_touches_nothing():
    assert closest_contact(Structure(np.array([2]), np.zeros((1, 3)))) == 3.0
