"""Normal modes: frequencies against formulae, energies against equipartition."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units

from mlffdb.sampling.engine_spec import EngineSpec
from mlffdb.sampling.engines import EngineCache
from mlffdb.sampling.geometry import closest_contact
from mlffdb.sampling.items import Item
from mlffdb.sampling.modes import WAVENUMBER, force_constants, normal_modes
from tests.sampling.sampling_engines import Springs
from tests.sampling.sampling_helpers import make_plan, sample


def modes_of(atoms):
    return normal_modes(atoms.numbers, atoms.positions, force_constants(atoms, 0.005))


def test_wavenumber_of_a_known_oscillator():
    # H2: 4401 cm-1 harmonic, reduced mass 0.50391 amu -> k = 575 N/m = 35.9 eV/Å²
    k = (4401.0 / WAVENUMBER) ** 2 * 0.50391
    assert k * units._e * 1e20 == pytest.approx(575, rel=0.01)


def test_diatomic_against_the_formula():
    atoms = Atoms("CO", [[0, 0, 0], [0.3, 0.4, 1.2]])
    r0 = float(np.linalg.norm(atoms.positions[1]))
    atoms.calc = Springs(k=30.0, r0=r0)
    modes = modes_of(atoms)
    m1, m2 = atoms.get_masses()
    assert len(modes.eigenvalues) == 1
    assert modes.eigenvalues[0] == pytest.approx(30.0 * (m1 + m2) / (m1 * m2), rel=1e-5)


@pytest.mark.parametrize(
    ("atoms", "count"),
    [
        (Atoms("O3", [[0, 0, 0], [1.5, 0, 0], [0.75, 1.5 * np.sqrt(0.75), 0]]), 3),
        (Atoms("COO", [[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]), 4),
        (Atoms("COO", [[9, 9, 9], [9.67, 9.67, 9.67], [8.33, 8.33, 8.33]]), 4),
        (Atoms("C2H2", [[0, 0, 0.6], [0, 0, -0.6], [0, 0, 1.66], [0, 0, -1.66]]), 7),
        (Atoms("HI", [[0, 0, 0], [0, 0, 1.6]]), 1),
    ],
)
def test_translations_and_rotations_are_out(atoms, count):
    atoms.calc = Springs(k=10.0)
    modes = modes_of(atoms)
    assert modes.vectors.shape == (3 * len(atoms), count)
    root = np.sqrt(modes.masses)[:, None]
    centred = atoms.positions - atoms.get_center_of_mass()
    for axis in np.eye(3):
        assert np.abs(modes.vectors.T @ (axis * root).ravel()).max() < 1e-10
        assert np.abs(modes.vectors.T @ (np.cross(axis, centred) * root).ravel()).max() < 1e-8
    assert modes.vectors.T @ modes.vectors == pytest.approx(np.eye(count), abs=1e-12)


@pytest.mark.parametrize("temperature", [300.0, 1500.0])
def test_every_mode_holds_half_kt_within_three_standard_errors(temperature):
    """Harmonic energies of real displacements, by the Hessian and not by the modes."""
    atoms = Atoms("OH2", [[0, 0, 0], [1.5, 0, 0], [0.75, 1.5 * np.sqrt(0.75), 0]])
    atoms.calc = Springs(k=25.0)
    hessian = force_constants(atoms, 0.002)
    modes = normal_modes(atoms.numbers, atoms.positions, hessian)
    count = 20_000
    widths, narrowed = modes.widths(temperature, 9.0)
    assert not narrowed.any()
    shifts = modes.displacements(np.random.default_rng(7), widths, count).reshape(count, -1)
    total = 0.5 * np.einsum("ni,ij,nj->n", shifts, hessian, shifts)
    half_kT = 0.5 * units.kB * temperature
    error = half_kT * np.sqrt(2 * 3 / count)
    assert abs(total.mean() - 3 * half_kT) < 3 * error
    # each mode by itself: Q = L^T M^1/2 Δx
    Q = (shifts * np.repeat(np.sqrt(modes.masses), 3)) @ modes.vectors
    each = (0.5 * Q**2 * modes.eigenvalues).mean(axis=0)
    assert (np.abs(each - half_kT) < 3 * half_kT * np.sqrt(2 / count)).all()
    # and the modes are drawn independently
    assert np.abs(np.corrcoef(Q.T) - np.eye(3)).max() < 4 / np.sqrt(count)


def test_energy_of_a_real_engine_follows_equipartition(smiles):
    """Through the plan: energies of MMFF itself at 5 K, where it is harmonic."""
    modes = {
        "type": "normal_modes",
        "engine": "mmff",
        "temperatures": [5],
        "count": 3000,
        "fmax": 1e-4,
    }
    made, rejected = sample(make_plan(smiles("CO"), [modes]))
    assert not rejected
    from mlffdb.structures.molecules import from_smiles

    item = Item("smiles", "CO", "organic", molecule=from_smiles("CO"))
    atoms = made[0].structure.to_atoms()
    atoms.calc = EngineCache().engine(EngineSpec(name="mmff"), item)
    energies = []
    for candidate in made[1:]:
        atoms.positions = candidate.structure.positions
        energies.append(atoms.get_potential_energy())
    excess = np.array(energies[1:]) - energies[0]
    number = made[-1].origin.parameters["modes"]
    assert made[-1].origin.parameters["narrowed_modes"] == 0
    half_kT = 0.5 * units.kB * 5
    assert number == 12
    assert abs(excess.mean() - number * half_kT) < 3 * half_kT * np.sqrt(2 * number / len(excess))


def test_soft_modes_are_narrowed_and_imaginary_ones_stand_still():
    atoms = Atoms("OH2", [[0, 0, 0], [1.5, 0, 0], [0.75, 1.5 * np.sqrt(0.75), 0]])
    atoms.calc = Springs(k=25.0)
    modes = modes_of(atoms)
    soft = (50.0 / WAVENUMBER) ** 2
    values = np.array([-soft, soft, modes.eigenvalues[2]])
    changed = type(modes)(values, modes.vectors, modes.masses)
    assert changed.wavenumbers[:2] == pytest.approx([-50, 50])
    widths, narrowed = changed.widths(300.0, 0.2)
    assert narrowed.tolist() == [False, True, False]
    shifts = changed.displacements(np.random.default_rng(0), widths, 5000)
    Q = (shifts.reshape(5000, -1) * np.repeat(np.sqrt(modes.masses), 3)) @ modes.vectors
    assert np.abs(Q[:, 0]).max() < 1e-12
    free = np.sqrt(units.kB * 300 / modes.eigenvalues[2])
    assert Q[:, 2].std() == pytest.approx(free, rel=0.05)
    alone = changed.displacements(np.random.default_rng(1), widths * [0, 1, 0], 5000)
    amplitude = np.sqrt((alone**2).sum(axis=-1).mean(axis=0)).max()
    assert amplitude == pytest.approx(0.2, rel=0.05)


def test_the_origin_counts_modes_that_were_not_drawn_as_they_are(smiles):
    modes = {"type": "normal_modes", "engine": "mmff", "temperatures": [300, 1500]}
    made, _ = sample(make_plan(smiles("CCO"), [modes]))
    cold, hot = (candidate.origin.parameters for candidate in made[-2:])
    assert (cold["modes"], cold["imaginary_modes"], cold["max_amplitude_A"]) == (21, 0, 0.2)
    assert 1 <= cold["narrowed_modes"] <= hot["narrowed_modes"] < 6


@pytest.mark.parametrize("temperature", [300, 1500])
def test_bonds_stay_within_limits(smiles, temperature):
    from mlffdb.structures.molecules import from_smiles

    modes = {
        "type": "normal_modes",
        "engine": "mmff",
        "temperatures": [temperature],
        "count": 50,
    }
    made, rejected = sample(make_plan(smiles("CC(=O)NC"), [modes]))
    assert not rejected
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        for bond in from_smiles("CC(=O)NC").GetBonds()
    ]
    first, second = np.array(bonds).T

    def lengths(structure):
        return np.linalg.norm(structure.positions[first] - structure.positions[second], axis=1)

    relaxed = lengths(made[1].structure)
    for candidate in made[2:]:
        ratio = lengths(candidate.structure) / relaxed
        assert ratio.min() > 0.75
        assert ratio.max() < (1.25 if temperature == 300 else 1.4)
        assert closest_contact(candidate.structure) >= 0.6


def test_draws_that_collide_are_drawn_again_and_then_refused(smiles):
    modes = {"type": "normal_modes", "engine": "mmff", "temperatures": [300], "min_contact": 1.2}
    made, rejected = sample(make_plan(smiles("CO"), [{**modes, "count": 2}]))
    assert [r.code for r in rejected] == ["too_distorted"] * 2
    assert [c.origin.method for c in made] == ["etkdg", "relax"]
    assert "20 draws at 300 K" in rejected[0].reason


def test_an_atom_has_no_modes():
    engine = "tests.sampling.sampling_engines:Springs"
    modes = {"type": "normal_modes", "engine": engine, "temperatures": [300]}
    source = {"type": "g2", "names": ["Li"], "open_shell": True}
    made, rejected = sample(make_plan(source, [modes]))
    assert len(made) == 1
    assert [r.code for r in rejected] == ["no_modes"]
