"""Energy outliers: found where there are some, silent where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from ase.collections import g2 as g2_set

from mlffdb.structures import Structure, StructureArrays
from mlffdb.validation import EnergyFit, EnergyReference, Severity, check_energies, element_counts
from tests.validation.making import THRESHOLDS, batch, g2, labels

ELEMENTS = [1, 6, 7, 8]
TRUE = np.array([-13.6, -1030.0, -1485.0, -2042.0])


def molecules(
    n: int, rng: np.random.Generator, conformers: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts, charges and energies of *n* compositions: thermal noise, errors of bonds."""
    counts = rng.integers(1, 12, (n, 4))
    charges = rng.choice([0, 0, 0, 1, -1], n)
    sizes = counts.sum(axis=1)
    energies = counts @ TRUE + 9.0 * (charges == 1) - 2.0 * (charges == -1)
    energies = energies + rng.normal(0, 0.15, n) * np.sqrt(sizes)
    counts, charges, energies = (
        np.repeat(a, conformers, axis=0) for a in (counts, charges, energies)
    )
    thermal = rng.normal(0, 0.03, len(energies)) * np.sqrt(counts.sum(axis=1))
    return counts, charges, energies + thermal


def fitted(counts: np.ndarray, charges: np.ndarray, energies: np.ndarray) -> EnergyFit:
    reference = EnergyReference(ELEMENTS[: counts.shape[1]])
    for part in np.array_split(np.arange(len(energies)), 3):
        reference.accumulate(counts[part], charges[part], energies[part])
    return reference.solve()


@pytest.mark.parametrize("conformers", [1, 3, 20])
def test_one_per_cent_of_gross_outliers_is_found_and_does_not_shift_the_fit(
    conformers: int,
) -> None:
    rng = np.random.default_rng(conformers)
    counts, charges, energies = molecules(600, rng, conformers)
    clean = fitted(counts, charges, energies)
    bad = rng.choice(len(energies), len(energies) // 100, replace=False)
    spoilt = energies.copy()
    spoilt[bad] += 16.0
    fit = fitted(counts, charges, spoilt)
    found = fit.findings(counts, charges, spoilt, THRESHOLDS)
    assert {f.index for f in found} == set(bad.tolist())
    assert {f.severity for f in found} == {Severity.REJECT}
    assert np.abs(fit.coefficients - clean.coefficients).max() < 0.05
    assert np.abs(fit.coefficients[:4] - TRUE).max() < 0.2
    assert fit.coefficients[4] == pytest.approx(9.0, abs=0.5)
    assert fit.coefficients[5] == pytest.approx(-2.0, abs=0.5)


def test_clean_energies_have_no_findings() -> None:
    counts, charges, energies = molecules(2000, np.random.default_rng(5))
    assert fitted(counts, charges, energies).findings(counts, charges, energies, THRESHOLDS) == []


def test_small_errors_show_among_labels_of_the_same_composition() -> None:
    rng = np.random.default_rng(1)
    counts, charges, energies = molecules(100, rng, conformers=10)
    energies[33] += 2.0 * np.sqrt(counts[33].sum())
    fit = fitted(counts, charges, energies)
    assert [f.index for f in fit.findings(counts, charges, energies, THRESHOLDS)] == [33]


def test_a_whole_composition_that_is_unusual_is_suspect_only() -> None:
    rng = np.random.default_rng(2)
    counts, charges, energies = molecules(300, rng, conformers=6)
    few = counts[:, :].sum(axis=1)
    index = int(few.argmin())
    same = (counts == counts[index]).all(axis=1) & (charges == charges[index])
    energies[same] += 11.0  # as radicals among ordinary molecules; all its labels agree
    fit = fitted(counts, charges, energies)
    found = fit.findings(counts, charges, energies, THRESHOLDS)
    assert {f.index for f in found} == set(np.flatnonzero(same).tolist())
    assert {f.severity for f in found} == {Severity.SUSPECT}


def test_too_few_rows_are_said_and_judge_nothing() -> None:
    counts, charges, energies = molecules(15, np.random.default_rng(3))
    energies[0] += 1000.0
    fit = fitted(counts, charges, energies)
    assert not fit.judged and "15 energies are too few" in fit.summary()["notes"][0]
    assert fit.findings(counts, charges, energies, THRESHOLDS) == []
    assert np.isnan(fit.z_scores(counts, charges, energies)).all()


def test_nothing_at_all_is_said_too() -> None:
    fit = EnergyReference(ELEMENTS).solve()
    assert not fit.judged and fit.n_rows == 0 and fit.rank == 0
    assert "0 energies are too few" in fit.notes[0]


def test_elements_in_fixed_proportions_are_said_and_outliers_still_found() -> None:
    rng = np.random.default_rng(4)
    n = np.repeat(np.arange(1, 11), 10)
    counts = np.stack([2 * n, 0 * n, 0 * n, n], axis=1)
    energies = n * -2080.0 + rng.normal(0, 0.03, 100) * np.sqrt(3 * n)
    energies[7] -= 16.0
    fit = fitted(counts, 0 * n, energies)
    assert fit.rank == 1 and "rank 1 of 2: the energies of H, O cannot be told" in fit.notes[0]
    assert [f.index for f in fit.findings(counts, 0 * n, energies, THRESHOLDS)] == [7]


def test_a_few_other_molecules_among_conformers_of_one_are_no_outliers() -> None:
    rng = np.random.default_rng(6)
    counts = np.array(
        [[6, 2, 0, 1]] * 500 + [[4, 1, 0, 0]] * 4 + [[4, 1, 0, 1]] * 3 + [[6, 2, 0, 0]]
    )
    energies = counts @ TRUE + rng.normal(0, 0.05, len(counts))
    energies[500:] += np.array([0.8] * 4 + [-1.1] * 3 + [0.7])
    charges = np.zeros(len(counts), int)
    assert fitted(counts, charges, energies).findings(counts, charges, energies, THRESHOLDS) == []


def test_compositions_outside_the_fit_are_not_judged() -> None:
    rng = np.random.default_rng(7)
    n = np.repeat(np.arange(1, 11), 10)
    counts = np.stack([2 * n, 0 * n, 0 * n, n], axis=1)
    fit = fitted(counts, 0 * n, n * -2080.0 + rng.normal(0, 0.03, 100))
    z = fit.z_scores([[4, 1, 0, 0], [2, 0, 0, 1]], [0, 0], [0.0, 0.0])
    assert np.isnan(z[0]) and abs(z[1]) > 100


def test_energies_that_are_no_numbers_are_left_out() -> None:
    counts, charges, energies = molecules(100, np.random.default_rng(8))
    energies[3] = np.nan
    fit = fitted(counts, charges, energies)
    assert fit.n_rows == 99 and np.isfinite(fit.coefficients).all()
    assert fit.findings(counts, charges, energies, THRESHOLDS) == []


@pytest.mark.parametrize("absurd", [1e6, 1e12, -1e30, 1e200])
def test_absurd_energies_do_not_shift_the_fit(absurd: float) -> None:
    counts, charges, energies = molecules(300, np.random.default_rng(9))
    clean = fitted(counts, charges, energies)
    energies[[3, 77]] = absurd, 2 * absurd
    fit = fitted(counts, charges, energies)
    assert np.abs(fit.coefficients - clean.coefficients).max() < 0.05
    assert [f.index for f in fit.findings(counts, charges, energies, THRESHOLDS)] == [3, 77]


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        EnergyReference(ELEMENTS).accumulate(np.ones((2, 3)), [0, 0], [0.0, 0.0])


def test_counts_of_elements() -> None:
    arrays = batch(g2("CH3CH2OH"), g2("H2O"))
    assert element_counts(arrays, ELEMENTS).tolist() == [[6, 2, 0, 1], [2, 0, 0, 1]]
    with pytest.raises(ValueError, match="element O is not among"):
        element_counts(arrays, [1, 6])


def test_domains_are_judged_apart_and_references_left_out() -> None:
    rng = np.random.default_rng(9)
    names = ["CH3CH2OH", "C6H6", "H2O", "CH4", "C2H6", "CH3OH", "C2H4", "CH3COOH"]
    pool = [g2(name) for name in names for _ in range(20)]
    arrays = batch(*pool, *pool)
    energies = np.array([_energy(structure) for structure in arrays])
    energies += rng.normal(0, 0.02, len(energies))
    energies[160:] += np.array([2.0 * s.n_atoms for s in pool])  # another method's zero
    energies[5] += 30.0
    energies[170] += 30.0
    energies[171] += 30.0
    tags: list[list[str]] = [[] for _ in energies]
    tags[171] = ["reference"]
    domains = ["a"] * 160 + ["b"] * 160
    found, fits = check_energies(
        arrays, labels(arrays, energies=energies, domains=domains, tags=tags), THRESHOLDS
    )
    assert [f.index for f in found] == [5, 170]
    assert set(fits) == {"a", "b"} and fits["b"].n_rows == 159
    assert fits["a"].summary()["reference_energies_ev"]["C"] == pytest.approx(-1030.0, abs=1.0)


def _energy(structure: Structure) -> float:
    return float(np.bincount(structure.numbers, minlength=9)[ELEMENTS] @ TRUE)


def test_energies_of_real_molecules_with_a_wrong_unit_are_rejected() -> None:
    tblite = pytest.importorskip("tblite.interface")
    rng = np.random.default_rng(0)
    names = [n for n in g2_set.names if len(g2_set[n]) > 1 and set(g2_set[n].numbers) <= {1, 6, 8}]
    closed = [n for n in names if not g2_set[n].get_initial_magnetic_moments().any()]
    structures, energies = [], []
    for name in closed:
        for _ in range(3):
            structure = g2(name)
            structure = structure.moved(
                structure.positions + rng.normal(0, 0.03, (structure.n_atoms, 3))
            )
            calculator = tblite.Calculator(
                "GFN2-xTB", structure.numbers.astype(int), structure.positions / 0.529177210903
            )
            calculator.set("verbosity", 0)
            structures.append(structure)
            energies.append(calculator.singlepoint()["energy"] * 27.211386245988)
    arrays = StructureArrays.of(structures)
    values = np.array(energies)
    clean, _ = check_energies(arrays, labels(arrays, energies=values), THRESHOLDS)
    assert [f for f in clean if f.severity is Severity.REJECT] == []
    values[4] /= 27.211386245988
    values[40] += 16.5
    spoilt, _ = check_energies(arrays, labels(arrays, energies=values), THRESHOLDS)
    assert [f.index for f in spoilt if f.severity is Severity.REJECT] == [4, 40]
