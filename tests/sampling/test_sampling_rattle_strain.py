"""Rattled and strained structures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlffdb.sampling.geometry import closest_contact
from mlffdb.sampling.methods.rattle import rattled
from mlffdb.sampling.methods.strain import deformation
from mlffdb.structures import Structure
from tests.sampling.sampling_helpers import make_plan, sample

SALT = {
    "type": "prototypes",
    "crystals": [{"prototype": "rocksalt", "A": ["Na"], "X": ["Cl"]}],
    "min_atoms": 8,
}


def salt() -> Structure:
    made, _ = sample(make_plan(SALT))
    return made[0].structure


def contacts(structure, positions):
    return [closest_contact(structure.moved(p)) for p in positions]


@settings(max_examples=20, deadline=None)
@given(std=st.floats(0.02, 0.6), min_contact=st.floats(0.3, 0.85), seed=st.integers(0, 2**32))
def test_atoms_stay_apart(std, min_contact, seed):
    structure = salt()
    moved = rattled(
        structure, np.random.default_rng(seed), std=std, count=5, min_contact=min_contact
    )
    assert min(contacts(structure, moved)) >= min_contact - 1e-12
    assert len({p.tobytes() for p in moved}) == 5


def test_without_a_limit_atoms_would_collide():
    structure = salt()
    free = rattled(structure, np.random.default_rng(0), std=0.6, count=20, min_contact=0.0)
    assert min(contacts(structure, free)) < 0.6


@pytest.mark.parametrize("sweeps", [1, 10, 30])
def test_amplitude_is_the_one_asked_for_whatever_the_sweeps(sweeps):
    structure = salt()
    moved = rattled(structure, np.random.default_rng(1), std=0.05, count=400, sweeps=sweeps)
    shifts = moved - structure.positions
    assert shifts.std() == pytest.approx(0.05, rel=0.02)
    assert abs(shifts.mean()) < 4 * 0.05 / np.sqrt(shifts.size)
    assert np.linalg.norm(shifts, axis=-1).max() <= 6 * 0.05


def test_atoms_too_close_already_only_move_apart():
    pair = Structure(np.array([6, 6]), np.array([[0, 0, 0], [0, 0, 0.9]]))
    moved = rattled(pair, np.random.default_rng(2), std=0.1, count=50, min_contact=0.8)
    distances = np.linalg.norm(moved[:, 1] - moved[:, 0], axis=1)
    assert distances.min() >= 0.9
    assert distances.max() > 0.95


def test_images_across_the_cell_are_seen():
    """One atom pair that only meets through the boundary."""
    cell = np.diag([4.0, 9.0, 9.0])
    pair = Structure(
        np.array([29, 29]), np.array([[0.2, 0, 0], [2.3, 0, 0]]), cell, (True, True, True)
    )
    moved = rattled(pair, np.random.default_rng(3), std=0.3, count=100, min_contact=0.7)
    assert min(contacts(pair, moved)) >= min(0.7, closest_contact(pair)) - 1e-12


def test_many_parents_and_copies(smiles):
    methods = [{"type": "etkdg", "count": 3}, {"type": "rattle", "std": 0.1, "count": 2}]
    made, _ = sample(make_plan(smiles("CCO"), methods))
    assert len(made) == 5
    methods[1]["parents"] = 9  # more than there are: all of them
    plan = make_plan(smiles("CCO"), methods)
    made, _ = sample(plan)
    assert len(made) == 9
    parents = [c.origin.parent for c in made if c.origin.method == "rattle"]
    assert len(set(parents)) == 3


def test_volumes_are_the_factors_that_the_origin_tells():
    strain = {"type": "strain", "volume": 0.1, "shear": 0.05, "count": 8}
    made, _ = sample(make_plan(SALT, [strain]))
    perfect, strained = made[0].structure, made[1:]
    fractional = perfect.positions @ np.linalg.inv(perfect.cell)
    factors = []
    for candidate in strained:
        structure, facts = candidate.structure, candidate.origin.parameters
        factors.append(facts["volume_factor"])
        assert structure.volume / perfect.volume == pytest.approx(facts["volume_factor"])
        assert structure.positions @ np.linalg.inv(structure.cell) == pytest.approx(
            fractional, abs=1e-9
        )
        F = np.linalg.solve(perfect.cell, structure.cell).T
        assert pytest.approx(F.T) == F
        scale = facts["volume_factor"] ** (1 / 3)
        shears = np.array([F[1, 2], F[0, 2], F[0, 1]]) / F[0, 0]
        assert shears == pytest.approx(facts["shear_yz_xz_xy"])
        assert np.abs(shears).max() <= 0.05
        assert F[0, 0] == pytest.approx(scale, rel=0.01)
    # one in each eighth of the range
    assert [int((f - 0.9) / 0.2 * 8) for f in factors] == list(range(8))


@given(factor=st.floats(0.5, 1.5), shears=st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3))
def test_deformation_has_the_determinant(factor, shears):
    assert np.linalg.det(deformation(factor, np.array(shears))) == pytest.approx(factor)


def test_a_molecule_from_a_file_cannot_be_strained(tmp_path):
    from ase.build import bulk, molecule
    from ase.io import write

    write(tmp_path / "two.extxyz", [molecule("H2O"), bulk("Cu")])
    source = {"type": "files", "files": [str(tmp_path / "two.extxyz")]}
    made, rejected = sample(make_plan(source, [{"type": "strain", "count": 2}]))
    assert len(made) == 4
    assert [r.code for r in rejected] == ["not_periodic"]
    assert rejected[0].index == 0
