"""The identity of a structure: what leaves it as it is, and what changes it."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, graphene, make_supercell, molecule, nanotube
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from mlffdb.structures import Structure, structure_id
from mlffdb.structures.identity import canonical_order, canonicalise, grid_positions

quick = settings(max_examples=80, deadline=None)
PERIODICITIES = [
    (False, False, False),
    (True, True, True),
    (True, True, False),
    (False, True, True),
    (False, False, True),
    (True, False, False),
]


@st.composite
def cells(draw):
    """Skewed, left- or right-handed cells of 2 to 20 Å, never flat."""
    lengths = np.diag(draw(arrays(float, 3, elements=st.floats(2, 20))))
    skew = draw(arrays(float, (3, 3), elements=st.floats(-0.6, 0.6)))
    cell = lengths @ (np.eye(3) + np.triu(skew, 1))
    if draw(st.booleans()):
        cell[0] *= -1
    return cell[draw(st.permutations([0, 1, 2]))]


@st.composite
def structures(draw, pbc=None):
    pbc = draw(st.sampled_from(PERIODICITIES)) if pbc is None else pbc
    n_atoms = draw(st.integers(1, 12))
    numbers = draw(arrays(np.int64, n_atoms, elements=st.sampled_from([1, 6, 8, 79])))
    # thousandths of an Å: a shifted float may then differ in its last bits, but never by a grid
    # step, however far it is shifted
    thousandths = draw(arrays(np.int64, (n_atoms, 3), elements=st.integers(-30_000, 30_000)))
    cell = draw(cells()) if any(pbc) else None
    return Structure(numbers, thousandths / 1000, cell, pbc, draw(st.integers(-1, 1)))


def shifts(n_atoms, largest):
    return arrays(np.int64, (n_atoms, 3), elements=st.integers(-largest, largest))


@quick
@given(structures(), st.data())
def test_order_of_atoms_does_not_matter(structure, data):
    order = data.draw(st.permutations(range(structure.n_atoms)))
    shuffled = structure.take(order)
    identity, canonical = canonicalise(shuffled)
    assert identity == structure_id(structure)
    # and the canonical order brings both to the same sequence of atoms
    assert_array_equal(
        grid_positions(shuffled)[canonical],
        grid_positions(structure)[canonical_order(structure)],
    )


@quick
@given(structures(), st.data())
def test_lattice_translations_of_any_atoms_do_not_matter(structure, data):
    if structure.cell is None:
        return
    images = data.draw(shifts(structure.n_atoms, 3)) * np.array(structure.pbc)
    moved = structure.moved(structure.positions + images @ structure.cell)
    assert structure_id(moved) == structure_id(structure)


@quick
@given(structures(), st.data())
def test_whole_translation_by_a_lattice_vector_does_not_matter(structure, data):
    if structure.cell is None:
        return
    image = data.draw(shifts(1, 20)) * np.array(structure.pbc)
    moved = structure.moved(structure.positions + image @ structure.cell)
    assert structure_id(moved) == structure_id(structure)


@quick
@given(structures(), st.data())
def test_translation_along_an_axis_that_is_not_periodic_matters(structure, data):
    if structure.cell is None or all(structure.pbc):
        return
    axis = data.draw(st.sampled_from([i for i in range(3) if not structure.pbc[i]]))
    positions = structure.positions.copy()
    positions[0] += structure.cell[axis]
    assert structure_id(structure.moved(positions)) != structure_id(structure)


@quick
@given(structures(), st.data())
def test_moving_one_atom_matters(structure, data):
    direction = data.draw(arrays(float, 3, elements=st.floats(-1, 1)))
    length = np.linalg.norm(direction)
    if length < 0.1:
        return
    atom = data.draw(st.integers(0, structure.n_atoms - 1))
    positions = structure.positions.copy()
    positions[atom] += 2.1e-6 * direction / length
    assert structure_id(structure.moved(positions)) != structure_id(structure)


@quick
@given(structures())
def test_vectors_of_axes_that_are_not_periodic_do_not_matter(structure):
    if structure.cell is None:
        return
    cell = np.where(np.array(structure.pbc)[:, None], structure.cell, 0.0)
    assert structure_id(structure.moved(structure.positions, cell)) == structure_id(structure)


@quick
@given(structures())
def test_charge_element_cell_and_periodicity_matter(structure):
    numbers, positions, cell = structure.numbers, structure.positions, structure.cell
    other = numbers.copy()
    other[0] = 7
    changed = [
        Structure(numbers, positions, cell, structure.pbc, structure.charge - 1),
        Structure(other, positions, cell, structure.pbc, structure.charge),
    ]
    if cell is not None:
        periodic = np.flatnonzero(structure.pbc)
        larger = cell.copy()
        larger[periodic[0], 0] += 2e-6
        changed.append(structure.moved(positions, larger))
        changed.append(Structure(numbers, positions, charge=structure.charge))
        if len(periodic) < 3:
            changed.append(
                Structure(numbers, positions, np.eye(3) * 9, (True,) * 3, structure.charge)
            )
    identities = [structure_id(item) for item in (structure, *changed)]
    assert len(set(identities)) == len(identities)


def test_multiplicity_matters_and_singlet_is_the_default_of_even_electrons():
    water = molecule("H2O")

    def identity(charge, multiplicity):
        return structure_id(Structure.from_atoms(water, charge=charge, multiplicity=multiplicity))

    assert identity(0, None) == identity(0, 1)
    assert identity(0, None) != identity(0, 3)
    assert len({identity(1, None), identity(1, 2), identity(1, 4)}) == 3


@quick
@given(structures())
def test_minus_zero_is_zero(structure):
    positions = np.where(np.abs(structure.positions) < 5, 0.0, structure.positions)
    assert structure_id(structure.moved(positions)) == structure_id(
        structure.moved(np.where(positions == 0, -0.0, positions))
    )


def test_cell_of_an_isolated_structure_is_ignored():
    methane = molecule("CH4")
    boxed = methane.copy()
    boxed.cell = [10, 11, 12]
    assert structure_id(Structure.from_atoms(methane)) == structure_id(Structure.from_atoms(boxed))


def test_translation_of_an_isolated_structure_matters():
    structure = Structure.from_atoms(molecule("CH4"))
    assert structure_id(structure.moved(structure.positions + 1)) != structure_id(structure)


CRYSTALS = {
    "Si": {"crystalstructure": "diamond", "a": 5.43},
    "C": {"crystalstructure": "diamond", "a": 3.567},
    "Al": {"crystalstructure": "fcc", "a": 4.05},
    "W": {"crystalstructure": "bcc", "a": 3.165},
    "NaCl": {"crystalstructure": "rocksalt", "a": 5.6402},
    "ZnS": {"crystalstructure": "zincblende", "a": 5.4093},
    "ZnO": {"crystalstructure": "wurtzite", "a": 3.2496, "c": 5.2042, "u": 0.3819},
}
#: Rigid translations, in conventional cell vectors, that map the crystal onto itself.
CENTRINGS = {
    "diamond": [(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
    "fcc": [(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
    "rocksalt": [(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
    "zincblende": [(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
    "bcc": [(0.5, 0.5, 0.5)],
    "wurtzite": [],
}


def crystals():
    for name, kind in CRYSTALS.items():
        yield f"{name}-primitive", bulk(name, **kind), []
        if kind["crystalstructure"] != "wurtzite":
            conventional = bulk(name, cubic=True, **kind)
            yield f"{name}-cubic", conventional, CENTRINGS[kind["crystalstructure"]]


def repeats(atoms):
    yield atoms, 1
    for n in (2, 3):
        yield atoms.repeat(n), n
    yield make_supercell(atoms, np.diag([1, 2, 5])), None
    yield make_supercell(atoms, [[1, 1, 0], [-1, 1, 0], [0, 1, 2]]), None
    yield atoms.repeat((16, 1, 1)), None  # fractions with high powers of two


@pytest.mark.parametrize(("name", "atoms", "centrings"), list(crystals()))
def test_perfect_crystals_keep_their_identity(name, atoms, centrings):
    random = np.random.default_rng(0)
    for crystal, n in repeats(atoms):
        identity = structure_id(Structure.from_atoms(crystal))
        translations = list(np.asarray(crystal.cell))
        if n is not None:  # the crystal's own lattice, finer than the repeated cell
            translations += [v / n for v in np.asarray(crystal.cell)]
            translations += [np.array(c) @ np.asarray(crystal.cell) / n for c in centrings]
        found = set()
        for _ in range(6):
            other = crystal[random.permutation(len(crystal))]
            other.positions += random.integers(-3, 4, (len(crystal), 3)) @ np.asarray(crystal.cell)
            other.positions += random.integers(-4, 5, len(translations)) @ np.array(translations)
            if random.random() < 0.5:
                other.wrap()
            found.add(structure_id(Structure.from_atoms(other)))
        assert found == {identity}, name


def test_perfect_crystals_keep_their_identity_a_thousand_cells_away():
    for _, atoms, _ in crystals():
        structure = Structure.from_atoms(atoms.repeat(2))
        for image in ([1000, 0, 0], [-1000, 1000, 999], [0, -1000, 1]):
            moved = structure.moved(structure.positions + np.array(image) @ structure.cell)
            assert structure_id(moved) == structure_id(structure)


@pytest.mark.parametrize("atoms", [graphene(size=(3, 2, 1), vacuum=5), nanotube(4, 0, length=2)])
def test_layers_and_wires_keep_their_identity(atoms):
    structure = Structure.from_atoms(atoms)
    assert 0 < structure.n_periodic < 3
    random = np.random.default_rng(1)
    for _ in range(10):
        images = random.integers(-3, 4, (len(atoms), 3)) * np.array(structure.pbc)
        moved = structure.moved(structure.positions + images @ structure.cell)
        moved = moved.take(random.permutation(len(atoms)))
        assert structure_id(moved) == structure_id(structure)


def test_identity_never_changes_between_versions():
    """Databases hold these; another value here needs another version and a migration."""
    water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    silicon = Structure.from_atoms(bulk("Si", a=5.43))
    assert str(structure_id(water)) == "827b11c9-1f81-c3ab-390b-ea2da8986346"
    assert str(structure_id(silicon)) == "e9461d8e-26bd-66ae-d83e-a6e99fabf935"
