"""Near-duplicates: planted ones are found, others are not."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from mlffdb.structures import Structure, StructureArrays
from mlffdb.validation import Severity, check_duplicates, find_duplicates
from tests.validation.making import THRESHOLDS, batch, g2, moved

SYMMETRIC = ["C60", "C6H6", "CH4", "CO2", "H2", "N2", "H2O", "C2H4", "CF4", "C2H6", "H"]


def pairs(structures: list[Structure], tolerance: float = 0.01) -> set[tuple[int, int]]:
    return {(i, j) for i, j, _ in find_duplicates(StructureArrays.of(structures), tolerance)}


def rattled(name: str, n: int, rng: np.random.Generator) -> list[Structure]:
    one = g2(name)
    return [one.moved(one.positions + rng.normal(0, 0.1, (one.n_atoms, 3))) for _ in range(n)]


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_planted_copies_are_found_and_nothing_else(noise: float) -> None:
    rng = np.random.default_rng(1)
    pool = [
        s for name in ("CH3CH2OH", "C6H6", "CH3CONH2", "isobutane") for s in rattled(name, 30, rng)
    ]
    copies = [moved(s, rng, noise) for s in pool]
    expected = {(i, i + len(pool)) for i in range(len(pool))}
    assert pairs(pool + copies) == expected


@pytest.mark.parametrize("name", SYMMETRIC)
def test_copies_of_symmetric_molecules_are_found(name: str) -> None:
    rng = np.random.default_rng(2)
    one = g2(name)
    ((i, j, distance),) = find_duplicates(StructureArrays.of([one, moved(one, rng, 1e-3)]))
    assert (i, j) == (0, 1) and distance < 0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.002, 0.03))
def test_the_distance_is_that_of_the_noise(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    one = rattled("CH3CONH2", 1, rng)[0]
    shift = rng.normal(0, 1, (one.n_atoms, 3))
    shift *= size * np.sqrt(one.n_atoms) / np.linalg.norm(shift)
    other = moved(one.moved(one.positions + shift), rng)
    found = find_duplicates(StructureArrays.of([one, other]), tolerance=size)
    assert len(found) == 1 and 0 < found[0][2] <= size * 1.0001


def test_larger_distances_are_not_found() -> None:
    rng = np.random.default_rng(3)
    one = rattled("CH3CONH2", 1, rng)[0]
    far = one.moved(one.positions + rng.normal(0, 0.03, (one.n_atoms, 3)))
    assert pairs([one, far]) == set()


def test_mirror_images_are_different() -> None:
    rng = np.random.default_rng(4)
    one = rattled("CH3CH2OH", 1, rng)[0]
    assert pairs([one, one.moved(one.positions * [1, 1, -1])]) == set()


def test_other_charge_spin_or_element_is_another_structure() -> None:
    one = g2("CH3CH2OH")
    charged = Structure(one.numbers, one.positions, charge=2)
    triplet = Structure(one.numbers, one.positions, multiplicity=3)
    other = Structure(np.where(one.numbers == 8, 16, one.numbers), one.positions)
    assert pairs([one, charged, triplet, other]) == set()


def test_crystals_turned_and_shifted_are_found() -> None:
    rng = np.random.default_rng(5)
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    pool = []
    for seed in range(20):
        cell = salt.copy()
        cell.rattle(0.1, seed=seed)
        pool.append(Structure.from_atoms(cell))
    copies = [moved(s, rng, 1e-4) for s in pool]
    assert pairs(pool + copies) == {(i, i + 20) for i in range(20)}


def test_perfect_crystals_are_found_and_strained_ones_told_apart() -> None:
    rng = np.random.default_rng(6)
    silicon = Structure.from_atoms(bulk("Si", cubic=True))
    assert silicon.cell is not None
    strained = silicon.moved(silicon.positions * 1.01, silicon.cell * 1.01)
    assert pairs([silicon, moved(silicon, rng), strained]) == {(0, 1)}


def test_many_of_one_composition_are_searched_without_comparing_all() -> None:
    rng = np.random.default_rng(7)
    pool = rattled("CH3CONH2", 1500, rng)
    copies = [moved(s, rng, 1e-4) for s in pool[:50]]
    assert pairs(pool + copies) == {(i, 1500 + i) for i in range(50)}


def test_findings_name_the_structure_repeated() -> None:
    rng = np.random.default_rng(8)
    arrays = batch(g2("H2O"), g2("CH4"), moved(g2("H2O"), rng))
    (finding,) = check_duplicates(arrays, THRESHOLDS)
    assert (finding.index, finding.check, finding.severity) == (2, "duplicate", Severity.INFO)
    assert "structure 0 again" in finding.message


def test_nothing_to_compare() -> None:
    assert find_duplicates(batch()) == []
    assert find_duplicates(batch(g2("H2O"))) == []
