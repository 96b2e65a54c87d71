"""FeNNol models against FENNIX called directly."""

from __future__ import annotations

import ase.units
import numpy as np
import pytest
from ase.build import molecule

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure, Prediction
from mlffdb.teachers.fennol import load_fennol
from mlffdb.teachers.label import label

pytest.importorskip("fennol", reason="the extra fennol is not installed")
pytest.importorskip("jax", reason="the extra fennol is not installed")


def load(path, settings, name="fennol:tiny"):
    return load_fennol(name, path, "0" * 64, "MIT", device="cpu", cache_dir=settings.cache_dir)


@pytest.fixture(scope="module")
def tiny(tiny_fnx, settings):
    from mlffdb.teachers import device

    device._claimed = None
    return load(tiny_fnx, settings)


@pytest.fixture(params=["tiny_fnx", "ani_path"])
def path(request):
    return request.getfixturevalue(request.param)


def test_labels_are_those_of_fennix(path, settings, molecules):
    """Totals in float32 have steps of up to 0.5 meV at these energies."""
    from fennol import FENNIX

    teacher = load(path, settings)
    model = FENNIX.load(path)
    for structure, result in zip(molecules[1:3], label(teacher, molecules[1:3]), strict=True):
        energy, forces, _ = model.energy_and_forces(
            species=structure.numbers.astype(np.int32),
            coordinates=structure.positions.astype(np.float32),
            unit="eV",
        )
        assert abs(result.energy - float(energy[0])) < 1e-3
        scale = max(1.0, float(np.abs(forces).max()))
        assert np.abs(result.forces - np.asarray(forces)).max() < 1e-5 * scale
        assert result.forces.dtype == np.float32


def test_energies_are_added_in_float64(tiny):
    """Many shaken copies far apart: the sum of their energies, to far below a float32 step."""
    atoms = molecule("CH3CONH2")
    rng = np.random.default_rng(4)
    places = [atoms.positions + rng.normal(0, 0.03, atoms.positions.shape) for _ in range(40)]
    shifts = 50.0 * np.array(np.unravel_index(np.arange(40), (4, 4, 4))).T
    many = Structure(np.tile(atoms.numbers, 40), np.concatenate(list(places + shifts[:, None])))
    *single, total = label(tiny, [*(Structure(atoms.numbers, place) for place in places), many])
    step = float(np.spacing(np.float32(abs(total.energy))))
    assert step > 5e-3
    assert abs(total.energy - sum(one.energy for one in single)) < 5e-4


def test_a_crystal_has_the_energy_of_its_repeats(tiny, crystals):
    once = crystals[0]
    twice = Structure.from_atoms(once.to_atoms().repeat((2, 1, 1)))
    first, second = label(tiny, [once, twice])
    assert abs(second.energy - 2 * first.energy) < 1e-4
    assert np.abs(second.forces[: once.n_atoms] - first.forces).max() < 1e-4
    assert np.abs(second.stress - first.stress).max() < 1e-5
    assert first.multiplicity is None


def test_few_shapes_are_compiled(tiny_fnx, settings):
    """Molecules of many compositions and sizes, in many calls."""
    teacher = load(tiny_fnx, settings)
    rng = np.random.default_rng(5)
    names = ("H2O", "CH4", "C6H6", "CH3CHO", "CH3CONH2", "HCN", "C2H6", "C4H4O", "CH3COOH", "N2")
    for _ in range(4):
        chosen = [molecule(names[i]) for i in rng.integers(0, len(names), 100)]
        results = label(teacher, [Structure(a.numbers, a.positions) for a in chosen])
        assert all(isinstance(result, Prediction) for result in results)
    assert teacher.compiles <= 4


def many(names, count, seed):
    """Return *count* molecules of *names*, shaken, at random."""
    rng = np.random.default_rng(seed)
    chosen = [molecule(name) for name in rng.choice(names, count)]
    return [Structure(a.numbers, a.positions + rng.normal(0, 0.03, (len(a), 3))) for a in chosen]


def test_a_restart_compiles_no_growth(tiny_fnx, tmp_path, caplog):
    """Sizes that small molecules first and large ones then have grown are kept in a file."""
    settings = Settings(cache_dir=tmp_path)
    calls = [many(["H2O", "N2"], 60, 1), many(["C6H6", "CH3COOH"], 60, 2)]
    first = load(tiny_fnx, settings)
    with caplog.at_level("INFO", logger="mlffdb"):
        expected = [label(first, call) for call in calls]
    assert first.compiles == 2
    assert sum("compilation" in record.message for record in caplog.records) == 2
    second = load(tiny_fnx, settings)
    for call, before in zip(calls[::-1], expected[::-1], strict=True):
        energies = [result.energy for result in label(second, call)]
        assert energies == pytest.approx([result.energy for result in before], abs=1e-5)
    assert second.compiles == 1
    [kept] = (tmp_path / "fennol").iterdir()
    kept.write_text("not what was written")
    third = load(tiny_fnx, settings)
    assert isinstance(label(third, calls[0])[0], Prediction)


def test_sizes_of_another_kind_of_structures_slow_nothing_down(tiny_fnx, tmp_path):
    """Kept lists of more than twice the need are not used: time goes with their length."""
    settings = Settings(cache_dir=tmp_path)
    small, large = many(["H2", "N2"], 60, 3), many(["C6H6"], 60, 4)
    label(load(tiny_fnx, settings), large)
    teacher = load(tiny_fnx, settings)
    label(teacher, small)
    [shape] = teacher._sizes._states
    assert teacher._sizes._states[shape]["layers_state"][2]["nangles"] < 100


def test_a_failed_batch_does_not_spoil_the_next(tiny_fnx, settings, molecules):
    """FeNNol itself keeps an unknown element in its state, and raises ever after."""
    teacher = load(tiny_fnx, settings)
    before = label(teacher, molecules)
    gold = Structure([79, 79], [[0, 0, 0], [2.5, 0, 0]])
    spoilt = [*molecules[:2], gold]
    results = label(teacher, spoilt, refusals=[None] * 3)
    assert isinstance(results[2], Failure)
    compiles = teacher.compiles
    after = label(teacher, molecules)
    assert [p.energy for p in results[:2]] == pytest.approx([p.energy for p in before[:2]])
    assert [p.energy for p in after] == pytest.approx([p.energy for p in before], abs=1e-6)
    assert teacher.compiles == compiles


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        (Structure([17, 1], [[0, 0, 0], [1.3, 0, 0]]), "unsupported_element"),
        (Structure([8, 1, 1, 1], np.eye(4, 3), charge=1), "charge"),
        (Structure([8, 8], [[0, 0, 0], [1.2, 0, 0]], multiplicity=3), "multiplicity"),
        (Structure([8, 1], [[0, 0, 0], [1, 0, 0]]), "multiplicity_unknown"),
        (Structure([6], [[0, 0, 0]], np.diag([2, 2, 20]), (True, True, False)), "periodicity"),
    ],
)
def test_refused(tiny, structure, code):
    [failure] = label(tiny, [structure])
    assert failure.code == code


def test_what_is_known_of_it_comes_from_the_file(tiny):
    assert tiny.capabilities.elements == {1, 6, 7, 8}
    assert tiny.capabilities.licence == "MIT"
    assert tiny.identity.precision == "float32"
    assert tiny.identity.weights_sha256 == "0" * 64
    assert not tiny.identity.untrained


def test_a_lower_budget_makes_smaller_batches(tiny_fnx, settings, molecules):
    teacher = load(tiny_fnx, settings)
    full = label(teacher, molecules)
    teacher.budget = 40.0
    small = label(teacher, molecules)
    assert max(result.batch_size for result in small) <= 2
    assert [p.energy for p in small] == pytest.approx([p.energy for p in full], abs=1e-5)


def test_a_structure_larger_than_the_budget(tiny_fnx, settings):
    teacher = load(tiny_fnx, settings)
    teacher.budget = 64.0
    n_atoms = 150
    grid = 1.4 * np.array(np.unravel_index(np.arange(n_atoms), (6, 6, 6))).T
    [result] = label(teacher, [Structure(np.full(n_atoms, 6), grid)])
    assert result.forces.shape == (n_atoms, 3)


def test_a_file_that_is_no_model(tmp_path, settings):
    path = tmp_path / "broken.fnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(TeacherError, match=r"broken\.fnx cannot be read as a FeNNol model"):
        load(path, settings)


def test_a_gpu_that_is_not_there(tiny_fnx, settings):
    import jax

    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("this machine has a GPU")
    with pytest.raises(TeacherError, match="cuda:7 was asked for but jax sees no GPU"):
        load_fennol("x", tiny_fnx, "0", "MIT", device="cuda:7", cache_dir=settings.cache_dir)


def test_nan_is_refused_where_the_model_returns_numbers(tiny, tiny_fnx):
    """FeNNol finds no neighbours at NaN, and gives a finite energy and finite forces."""
    from fennol import FENNIX

    atoms = molecule("CH4")
    broken = atoms.positions.copy()
    broken[0, 0] = np.nan
    energy, forces, _ = FENNIX.load(tiny_fnx).energy_and_forces(
        species=atoms.numbers.astype(np.int32), coordinates=broken.astype(np.float32)
    )
    assert np.isfinite(energy).all()
    assert np.isfinite(forces).all()
    structure = Structure(atoms.numbers, atoms.positions)
    object.__setattr__(structure, "positions", broken)
    [failure] = label(tiny, [structure])
    assert isinstance(failure, Failure)
    assert failure.code == "not_finite"


def test_the_lattice_is_noticed_when_nothing_else_changes(tiny):
    """FeNNol's ASE calculator keeps the old lattice when pbc changes and the cell does not."""
    atoms = molecule("H2O", cell=[4, 4, 4])
    alone = Structure.from_atoms(atoms)
    atoms.pbc = True
    crystal = Structure.from_atoms(atoms)
    results = label(tiny, [alone, crystal, alone])
    assert abs(results[0].energy - results[1].energy) > 1e-3
    assert results[0].energy == pytest.approx(results[2].energy, abs=1e-5)
    assert results[0].stress is None
    assert results[1].stress is not None


def test_hartree_is_pinned_and_noted(tiny):
    """CODATA 2018, where ASE has the value of 2014."""
    assert tiny.identity.settings["hartree_in_ev"] == 27.211386245988
    assert tiny.identity.settings["hartree_in_ev"] != ase.units.Hartree
