"""Structure checks: each finds its defect, and leaves what is sound alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.collections import g2 as g2_set
from hypothesis import given, settings
from hypothesis import strategies as st

from mlffdb.errors import ConfigError
from mlffdb.structures import Structure, StructureArrays
from mlffdb.validation import Severity, check_structures, verdict
from mlffdb.validation.pairs import RADII, close_pairs
from tests.validation.making import THRESHOLDS, batch, found, g2, moved


def two(symbols: str, distance: float) -> Atoms:
    return Atoms(symbols, [[0, 0, 0], [0, 0, distance]])


# ---- not finite ----


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_coordinates_are_rejected_and_leave_the_others_judged(bad: float) -> None:
    arrays = batch(g2("CH4"), g2("H2O"), two("HH", 0.2))
    positions = arrays.positions.copy()
    positions[6, 1] = bad
    findings = found(replace(arrays, positions=positions))
    assert [(f.index, f.check) for f in findings] == [
        (1, "structure_not_finite"),
        (2, "min_distance"),
    ]
    assert findings[0].value == 1 and findings[0].severity is Severity.REJECT


def test_a_broken_cell_counts_only_along_periodic_axes() -> None:
    arrays = batch(bulk("Si"), fcc111("Pt", (1, 1, 2), vacuum=5))
    cells = arrays.cells.copy()
    cells[0, 1, 0] = np.nan
    cells[1, 2] = np.nan  # not periodic
    findings = found(replace(arrays, cells=cells))
    assert [(f.index, f.check, f.value) for f in findings] == [(0, "structure_not_finite", 1.0)]


# ---- minimum distance ----


@pytest.mark.parametrize(
    ("symbols", "ratio", "severity"),
    [
        ("CC", 0.49, Severity.REJECT),
        ("CC", 0.51, Severity.SUSPECT),
        ("CC", 0.69, Severity.SUSPECT),
        ("HH", 0.49, Severity.REJECT),
        ("CsI", 0.45, Severity.REJECT),
        ("CsI", 0.71, None),
        ("HO", 0.72, None),
    ],
)
def test_close_atoms(symbols: str, ratio: float, severity: Severity | None) -> None:
    pair = two(symbols, 1.0)
    pair.positions[1, 2] = ratio * RADII[pair.numbers].sum()
    findings = found(batch(pair), only=["min_distance"])
    assert [f.severity for f in findings] == ([severity] if severity else [])
    if severity:
        assert findings[0].value == pytest.approx(ratio)
        assert findings[0].atoms == (0, 1)


def test_an_atom_close_to_its_own_image_is_found() -> None:
    crystal = Atoms("C", [[0, 0, 0]], cell=[0.7, 3, 3], pbc=True)
    (finding,) = found(batch(crystal), only=["min_distance"])
    assert finding.severity is Severity.REJECT
    assert finding.value == pytest.approx(0.7 / 1.52)
    assert "its own image" in finding.message and finding.atoms == (0,)


def test_atoms_close_through_the_cell_wall_are_found_and_only_when_periodic() -> None:
    cell = Atoms("CC", [[0.1, 1, 1], [9.8, 1, 1]], cell=[10, 10, 10], pbc=True)
    assert [f.check for f in found(batch(cell), only=["min_distance"])] == ["min_distance"]
    cell.pbc = (False, True, True)
    assert found(batch(cell), only=["min_distance"]) == []


def test_close_atoms_that_left_their_cell_far_behind_are_found() -> None:
    cell = Atoms("CC", [[0, 0, 0], [5e6 + 0.5, 0, 0]], cell=[5, 5, 5], pbc=True)
    (finding,) = found(batch(cell), only=["min_distance"])
    assert finding.value == pytest.approx(0.5 / 1.52, rel=1e-6)


def test_a_skewed_cell_hides_no_close_image() -> None:
    cell = Atoms("C", cell=[[0.6, 0, 0], [3000.0, 3, 0], [1e5, 7, 3]], pbc=True)
    (finding,) = found(batch(cell), only=["min_distance"])
    assert finding.value == pytest.approx(0.6 / 1.52)


@pytest.mark.parametrize(
    "structure",
    [
        Structure([6] * 3000, np.zeros((3000, 3))),
        Structure([6] * 3000, np.zeros((3000, 3)), np.eye(3) * 60, (True, True, True)),
        Structure([55], np.zeros((1, 3)), np.eye(3) * 0.11, (True, True, True)),
        Structure([55], np.zeros((1, 3)), np.diag([1000.0, 1000.0, 1e-8]), (True, True, True)),
        Structure([6, 6], np.zeros((2, 3)), np.diag([30.0, 1e-3, 0.0]), (True, True, False)),
        Structure([6] * 300, np.zeros((300, 3)), np.eye(3), (True, True, True)),
    ],
    ids=["points", "points-cell", "tiny", "flat", "slab", "crowd"],
)
def test_absurd_density_is_rejected_without_listing_it_all(structure: Structure) -> None:
    (finding,) = found(batch(structure), only=["min_distance"])
    assert finding.severity is Severity.REJECT


def test_close_atoms_tagged_reference_are_let_pass_until_they_overlap() -> None:
    arrays = batch(two("CC", 0.6 * 1.52), two("CC", 0.4 * 1.52))
    findings = found(arrays, only=["min_distance"], tags=[["reference"], ["reference"]])
    assert [(f.index, f.severity) for f in findings] == [(1, Severity.REJECT)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=6),
    st.integers(0, 7),
    st.integers(0, 2**31),
)
def test_pairs_are_those_of_plain_comparison(sizes: list[int], pbc: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flags = (bool(pbc & 1), bool(pbc & 2), bool(pbc & 4))
    structures = []
    for size in sizes:
        edge = (size * 15.0) ** (1 / 3)
        numbers = rng.choice([1, 6, 8, 14, 55], size)
        cell = np.eye(3) * max(edge, 7.0) + rng.normal(0, 0.1, (3, 3))
        structures.append(
            Structure(numbers, rng.uniform(0, edge, (size, 3)), cell if any(flags) else None, flags)
        )
    arrays = StructureArrays.of(structures)
    pairs = close_pairs(arrays, np.ones(len(arrays), dtype=bool))
    owner = arrays.owner()
    for index, structure in enumerate(structures):
        expected = _plain_ratios(structure)
        mine = np.sort(pairs.ratios[owner[pairs.first] == index])
        assert np.allclose(mine, expected, atol=1e-9)


def _plain_ratios(structure: Structure) -> np.ndarray:
    """Sorted ratios below 1.25 over all images within two cells, each pair once."""
    steps = [np.arange(-2, 3) if flag else np.zeros(1, int) for flag in structure.pbc]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    radii = RADII[structure.numbers]
    sums = radii[:, None] + radii[None]
    found: list[np.ndarray] = []
    for shift in shifts:
        offset = 0.0 if structure.cell is None else shift @ structure.cell
        vectors = structure.positions[None] + offset - structure.positions[:, None]
        ratios = np.linalg.norm(vectors, axis=2) / sums
        if tuple(shift) > (0, 0, 0):
            found.append(ratios[ratios < 1.25])
        elif not shift.any():
            found.append(ratios[np.triu(ratios < 1.25, 1)])
    return np.sort(np.concatenate(found))


# ---- charge and spin ----


def test_an_odd_electron_count_needs_a_multiplicity() -> None:
    methyl = g2("CH3")
    bare = Structure(methyl.numbers, methyl.positions)
    ion = Structure(methyl.numbers, methyl.positions, charge=1)
    findings = found(batch(bare, ion, methyl, bulk("Al")), only=["multiplicity_unknown"])
    assert [(f.index, f.severity) for f in findings] == [(0, Severity.REJECT)]
    assert "9 electrons" in findings[0].message


@pytest.mark.parametrize(
    ("charge", "multiplicity", "wrong"),
    [(0, 1, False), (0, 3, False), (0, 2, True), (1, 2, False), (1, 1, True), (0, 13, True)],
)
def test_multiplicity_fits_the_electrons(charge: int, multiplicity: int, wrong: bool) -> None:
    water = molecule("H2O")
    structure = Structure.from_atoms(water, charge=charge, multiplicity=multiplicity)
    assert bool(found(batch(structure), only=["multiplicity_parity"])) is wrong


# ---- volume ----


def test_volume_per_atom_is_that_of_a_solid() -> None:
    dense, thin = bulk("Si", cubic=True), bulk("Si", cubic=True)
    dense.set_cell(dense.cell * 0.4, scale_atoms=True)
    thin.set_cell(thin.cell * 2.0, scale_atoms=True)
    findings = found(batch(dense, bulk("Cs", "bcc", 6.14), thin), only=["volume_per_atom"])
    assert [(f.index, f.severity) for f in findings] == [
        (0, Severity.SUSPECT),
        (2, Severity.SUSPECT),
    ]
    assert findings[1].value == pytest.approx(8 * 20.02, rel=1e-3)


def test_cells_with_vacuum_are_no_solids() -> None:
    slab = fcc111("Pt", (1, 1, 2), vacuum=150, periodic=True)
    box = molecule("C6H6", cell=[20, 20, 20], pbc=True)
    assert found(batch(slab, box), only=["volume_per_atom"]) == []


# ---- all of them ----


def test_sound_structures_pass_every_check() -> None:
    crystals = [
        bulk("Si"),
        bulk("Al"),
        bulk("W"),
        bulk("C", "diamond", 3.57),
        bulk("NaCl", "rocksalt", 5.64),
        bulk("ZnO", "wurtzite", 3.25, 5.2),
        bulk("TiC", "rocksalt", 4.33),
        bulk("LiH", "rocksalt", 4.08),
    ]
    arrays = batch(*crystals, *(Structure.from_atoms(g2_set[name]) for name in g2_set.names))
    assert found(arrays) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_findings_do_not_depend_on_place_orientation_or_company(seed: int) -> None:
    rng = np.random.default_rng(seed)
    silicon = Structure.from_atoms(bulk("Si", cubic=True))
    assert silicon.cell is not None
    pool = [
        g2("C6H6"),
        g2("CH3CH2OH").take([0, 1, 2]),
        Structure.from_atoms(two("CC", 0.9)),
        Structure(g2("CH3").numbers, g2("CH3").positions),
        silicon,
        silicon.moved(silicon.positions * 0.5, silicon.cell * 0.5),
    ]
    before = [_said(found(batch(one))) for one in pool]
    order = rng.permutation(len(pool))
    together = found(batch(*(moved(pool[i], rng) for i in order)))
    for place, i in enumerate(order):
        assert _said([f for f in together if f.index == place]) == before[i]


def _said(findings: list) -> list[tuple[str, str, float | None]]:
    return sorted(
        (f.check, f.severity.value, None if f.value is None else round(f.value, 6))
        for f in findings
    )


def test_an_empty_batch_has_no_findings() -> None:
    assert found(batch()) == []


def test_single_checks_can_be_chosen_and_unknown_ones_are_named() -> None:
    assert found(batch(two("HH", 0.1)), only=["volume_per_atom"]) == []
    with pytest.raises(ConfigError, match=r"no structure check is called 'nonsense'.*min_distance"):
        found(batch(two("HH", 0.1)), only=["nonsense"])


def test_tags_must_be_as_many_as_structures() -> None:
    with pytest.raises(ValueError, match="1 values for 2 structures"):
        check_structures(batch(g2("H2O"), g2("N2")), THRESHOLDS, tags=[["reference"]])


def test_the_worst_finding_decides() -> None:
    findings = found(batch(two("CC", 0.3), two("CC", 0.9)))
    assert verdict(f for f in findings if f.index == 0) == "rejected"
    assert verdict(f for f in findings if f.index == 1 and f.check == "min_distance") == "suspect"
    assert verdict([]) == "valid"
