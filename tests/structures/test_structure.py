"""The value of a structure: what it refuses, and that no format of float64 loses anything."""

from __future__ import annotations

import pickle

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.db import connect
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlffdb.errors import InvalidStructureError
from mlffdb.structures import Structure, StructureArrays, structure_id

coordinate = st.floats(-100, 100, allow_nan=False)


@st.composite
def structures(draw):
    n_atoms = draw(st.integers(1, 6))
    numbers = draw(arrays(np.int64, n_atoms, elements=st.integers(2, 118)))
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    cell = np.diag([5.0, 6.0, 7.0]) + draw(arrays(float, (3, 3), elements=st.floats(-1, 1)))
    multiplicity = None if any(pbc) else draw(st.none() | st.integers(1, 4))
    return Structure(
        numbers,
        draw(arrays(float, (n_atoms, 3), elements=coordinate)),
        cell,
        pbc,
        draw(st.integers(-2, 2)),
        multiplicity,
    )


@settings(max_examples=60, deadline=None)
@given(structures())
def test_atoms_and_back(structure):
    back = Structure.from_atoms(structure.to_atoms())
    assert back.same_as(structure)
    assert structure_id(back) == structure_id(structure)


@settings(max_examples=40, deadline=None)
@given(st.lists(structures(), max_size=4))
def test_flat_arrays_and_back(items):
    flat = StructureArrays.of(items)
    assert len(flat) == len(items)
    assert all(a.same_as(b) for a, b in zip(flat, items, strict=True))
    assert [len(np.flatnonzero(flat.owner() == i)) for i in range(len(items))] == [
        s.n_atoms for s in items
    ]
    if items:
        assert flat[-1].same_as(items[-1])
    with pytest.raises(IndexError):
        flat[len(items)]


@settings(max_examples=40, deadline=None)
@given(structures())
def test_pickle_and_back(structure):
    assert pickle.loads(pickle.dumps(structure)).same_as(structure)


def awkward_structures():
    random = np.random.default_rng(5)
    rattled = bulk("NaCl", "rocksalt", a=5.64).repeat(2)
    rattled.rattle(0.1, seed=3)
    slab = Atoms("H3", random.normal(size=(3, 3)) * 9, cell=random.normal(size=(3, 3)) * 8)
    slab.pbc = (True, True, False)
    ion = molecule("CH3")
    ion.rattle(0.2, seed=4)
    return [
        Structure.from_atoms(rattled),
        Structure.from_atoms(slab),
        Structure.from_atoms(ion, charge=0, multiplicity=2),
        Structure.from_atoms(molecule("H2O"), charge=1, multiplicity=4),
    ]


def through_traj(structure, folder):
    ase.io.write(folder / "s.traj", structure.to_atoms())
    return ase.io.read(folder / "s.traj")


def through_db(structure, folder):
    atoms = structure.to_atoms()
    pairs = {"total_charge": structure.charge}
    if structure.multiplicity is not None:
        pairs["multiplicity"] = structure.multiplicity
    with connect(folder / "s.db") as database:
        database.write(atoms, **pairs)
    row = connect(folder / "s.db").get(id=1)
    read = row.toatoms()
    read.info.update(row.key_value_pairs)
    return read


def through_npz(structure, folder):
    atoms = structure.to_atoms()
    np.savez(folder / "s.npz", z=atoms.numbers, x=atoms.positions, c=atoms.cell, p=atoms.pbc)
    with np.load(folder / "s.npz") as file:
        read = Atoms(file["z"], file["x"], cell=file["c"], pbc=file["p"])
    read.info.update(atoms.info)
    return read


def through_hdf5(structure, folder):
    with h5py.File(folder / "s.h5", "w") as file:
        file["x"], file["c"] = structure.positions, structure.to_atoms().cell.array
    with h5py.File(folder / "s.h5") as file:
        read = Atoms(structure.numbers, file["x"][()], cell=file["c"][()], pbc=structure.pbc)
    read.info.update(structure.to_atoms().info)
    return read


@pytest.mark.parametrize("through", [through_traj, through_db, through_npz, through_hdf5])
@pytest.mark.parametrize("index", range(4))
def test_identity_survives_formats_of_float64(through, index, tmp_path):
    structure = awkward_structures()[index]
    back = Structure.from_atoms(through(structure, tmp_path))
    assert structure_id(back) == structure_id(structure)
    assert back.same_as(structure)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("no_atoms", ([], np.zeros((0, 3)))),
        ("element", ([0], [[0, 0, 0]])),
        ("element", ([119], [[0, 0, 0]])),
        ("element", ([-1], [[0, 0, 0]])),
        ("element", ([6.0], [[0, 0, 0]])),
        ("shape", ([6, 6], [[0, 0, 0]])),
        ("shape", ([[6]], [[0, 0, 0]])),
        ("not_finite", ([6], [[0, np.nan, 0]])),
        ("not_finite", ([6], [[0, np.inf, 0]])),
        ("too_far", ([6], [[0, 1e8, 0]])),
        ("too_many_atoms", (np.ones(70_000, int), np.zeros((70_000, 3)))),
        ("flat_cell", ([6], [[0, 0, 0]], None, (True, False, False))),
        ("flat_cell", ([6], [[0, 0, 0]], np.zeros((3, 3)), (True, True, True))),
        ("flat_cell", ([6], [[0, 0, 0]], [[1, 0, 0], [2, 0, 0], [0, 0, 1]], (True,) * 3)),
        ("not_finite", ([6], [[0, 0, 0]], np.full((3, 3), np.nan), (True,) * 3)),
        ("charge", ([6], [[0, 0, 0]], None, (False,) * 3, 7)),
        ("charge", ([6], [[0, 0, 0]], None, (False,) * 3, 0.5)),
        ("charge", ([6], [[0, 0, 0]], None, (False,) * 3, "plus")),
        ("multiplicity", ([6], [[0, 0, 0]], None, (False,) * 3, 0, 0)),
        ("multiplicity", ([6], [[0, 0, 0]], np.eye(3) * 3, (True,) * 3, 0, 1)),
    ],
)
def test_what_cannot_exist_is_refused(code, arguments):
    with pytest.raises(InvalidStructureError) as caught:
        Structure(*arguments)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["charge", "total_charge"])
def test_charge_comes_from_documented_keys(key):
    atoms = molecule("H2O")
    atoms.info[key] = np.array([-1.0])
    assert Structure.from_atoms(atoms).charge == -1
    assert Structure.from_atoms(atoms, charge=2).charge == 2


@pytest.mark.parametrize("key", ["multiplicity", "spin_multiplicity", "total_spin", "spin"])
def test_multiplicity_comes_from_documented_keys(key):
    atoms = molecule("O2", magmoms=None)
    atoms.info[key] = "3"
    assert Structure.from_atoms(atoms).multiplicity == 3
    atoms.pbc, atoms.cell = True, np.eye(3) * 9
    assert Structure.from_atoms(atoms).multiplicity is None


def test_charge_and_multiplicity_come_from_initial_charges_and_moments():
    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=[1, 1], charges=[-0.5, 0.5])
    structure = Structure.from_atoms(atoms)
    assert (structure.charge, structure.multiplicity) == (0, 3)


@pytest.mark.parametrize("value", [True, "?", [1, 2], 0.3, float("nan")])
def test_a_charge_that_is_none_is_refused(value):
    atoms = molecule("H2O")
    atoms.info["charge"] = value
    with pytest.raises(InvalidStructureError, match="charge"):
        Structure.from_atoms(atoms)


def test_two_charges_that_differ_are_refused():
    atoms = molecule("H2O")
    atoms.info.update(charge=1, total_charge=0)
    with pytest.raises(InvalidStructureError, match="differs"):
        Structure.from_atoms(atoms)


def test_odd_electrons_without_multiplicity_are_marked():
    radical = Structure.from_atoms(Atoms("CH3", molecule("CH3").positions))
    assert radical.multiplicity_is_unknown
    assert radical.spin_multiplicity is None
    water = Structure.from_atoms(molecule("H2O"))
    assert not water.multiplicity_is_unknown
    assert (water.multiplicity, water.spin_multiplicity) == (None, 1)


def test_it_cannot_be_changed():
    structure = Structure.from_atoms(molecule("H2O"))
    with pytest.raises(ValueError, match="read-only"):
        structure.positions[0] = 1
    atoms = structure.to_atoms()
    atoms.positions += 1  # a copy
    assert structure.same_as(Structure.from_atoms(molecule("H2O"), charge=0))
