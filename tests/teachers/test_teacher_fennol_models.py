"""FeNNol models of other kinds than ANI: charges, MACE, units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers import registry
from mlffdb.teachers.base import Failure
from mlffdb.teachers.contract import CHECKS, built_in_structures, run_suite
from mlffdb.teachers.fennol import load_fennol
from mlffdb.teachers.fennol.model import read_model
from mlffdb.teachers.fennol.published import published_models
from mlffdb.teachers.label import label
from mlffdb.teachers.units import HARTREE
from tests.teachers import fennol_models

pytest.importorskip("fennol", reason="the extra fennol is not installed")
serialization = pytest.importorskip(
    "flax.serialization", reason="the extra fennol is not installed"
)

HCNO = frozenset({1, 6, 7, 8})


def save(model, tmp_path):
    path = tmp_path / "model.fnx"
    model.save(path)
    return path


def with_content(path, folder, **content):
    """Save the model in *path* with other *content* to *folder*."""
    found = serialization.msgpack_restore(path.read_bytes())
    changed = folder / "model.fnx"
    changed.write_bytes(serialization.msgpack_serialize({**found, **content}))
    return changed


def load(path, settings, **stated):
    return load_fennol("m", path, "0", "MIT", device="cpu", cache_dir=settings.cache_dir, **stated)


def test_the_charge_is_taken_where_the_model_takes_it(settings, tmp_path, molecules):
    """Against FENNIX called with the same charge, among neighbours of other charges."""
    model = fennol_models.charged(1)
    teacher = load(save(model, tmp_path), settings, elements=HCNO)
    assert teacher.capabilities.charged
    ammonium = Structure(
        [7, 1, 1, 1, 1], np.vstack([np.zeros(3), np.eye(3), -np.ones((1, 3))]), charge=1
    )
    hydroxide = Structure([8, 1], [[0, 0, 0], [0, 0, 0.97]], charge=-1)
    structures = [molecules[0], ammonium, hydroxide, molecules[2]]
    for structure, result in zip(structures, label(teacher, structures), strict=True):
        inputs = {
            "species": structure.numbers.astype(np.int32),
            "coordinates": structure.positions.astype(np.float32),
            "total_charge": np.array([structure.charge]),
            "unit": "eV",
        }
        energy, forces, _ = model.energy_and_forces(**inputs)
        assert result.energy == pytest.approx(float(energy[0]), abs=1e-4)
        assert np.abs(result.forces - np.asarray(forces)).max() < 1e-4
        assert result.charge == structure.charge
        neutral, _, _ = model.energy_and_forces(**{**inputs, "total_charge": np.array([0])})
        assert (abs(float(neutral[0]) - result.energy) > 1e-3) == (structure.charge != 0)


def test_a_charge_that_the_energy_ignores_is_refused(settings, tmp_path):
    """The model reads the charge, but what it makes of it is no part of the energy."""
    model = fennol_models.charged(1, energy_terms=["repulsion"])
    teacher = load(save(model, tmp_path), settings, elements=HCNO)
    assert not teacher.capabilities.charged
    [failure] = label(teacher, [Structure([8, 1], [[0, 0, 0], [0, 0, 0.97]], charge=-1)])
    assert isinstance(failure, Failure)
    assert failure.code == "charge"


@pytest.mark.filterwarnings("ignore:IrrepsArray:DeprecationWarning")  # e3nn-jax about itself
def test_mace_keeps_the_contract(settings, tmp_path, molecules):
    pytest.importorskip("e3nn_jax", reason="MACE needs the package e3nn-jax")
    teacher = load(save(fennol_models.mace(2), tmp_path), settings, elements=HCNO)
    for check in CHECKS.keys() - {"batch"}:  # which compiles once more, for long
        CHECKS[check](teacher, molecules[:3])


def test_a_model_that_takes_charge_keeps_the_contract(settings, tmp_path):
    teacher = load(save(fennol_models.charged(1), tmp_path), settings, elements=HCNO)
    assert teacher.capabilities.charged
    structures = built_in_structures(teacher.capabilities)
    structures = [s for s in structures if s.charge or s.n_atoms < 5]
    assert {s.charge for s in structures} == {-1, 0, 1}
    assert [one.why for one in run_suite(teacher, structures) if one.status == "broken"] == []


@pytest.mark.parametrize(
    ("unit", "ev"), [("Ha", HARTREE), ("eV", 1.0), ("kcalpermol", 1 / 23.06055)]
)
def test_the_unit_of_energy_is_the_models(tmp_path, tiny_fnx, unit, ev):
    assert read_model(with_content(tiny_fnx, tmp_path, energy_unit=unit)).unit == pytest.approx(ev)


def test_an_unknown_unit_is_refused(settings, tmp_path, tiny_fnx):
    path = with_content(tiny_fnx, tmp_path, energy_unit="Ry")
    with pytest.raises(TeacherError, match="unit of energy 'Ry' is not supported"):
        load(path, settings)


def test_a_model_without_energy_terms_is_refused(settings, tmp_path, tiny_fnx):
    with pytest.raises(TeacherError, match="names no energy terms"):
        load(with_content(tiny_fnx, tmp_path, energy_terms=[]), settings)


def test_a_model_that_names_no_elements_is_refused_without_them(settings, tmp_path):
    path = save(fennol_models.charged(1), tmp_path)
    with pytest.raises(TeacherError, match="does not say which elements it knows"):
        load(path, settings)


def test_weights_in_float64_are_rounded_and_said_to_be(settings, tmp_path, tiny_fnx):
    wide = serialization.msgpack_restore(tiny_fnx.read_bytes())["variables"]
    layer = wide["params"]["energy"]["H"]["Layer_1"]
    layer["kernel"] = np.asarray(layer["kernel"], dtype=np.float64)
    rounded = load(with_content(tiny_fnx, tmp_path, variables=wide), settings).identity
    plain = load(tiny_fnx, settings).identity
    assert rounded.settings["weights"] == "float64, rounded to float32"
    assert "weights" not in plain.settings
    assert rounded.fingerprint != plain.fingerprint


@pytest.mark.parametrize("stem", published_models())
def test_every_published_model_has_address_licence_and_elements(stem):
    model = published_models()[stem]
    assert model.weights.url.startswith("https://github.com/FeNNol-tools/FeNNol-PMC/raw/")
    assert model.weights.url.endswith(f"/{stem}.fnx")
    assert model.elements >= HCNO
    academic = "non-commercial" in model.weights.licence
    assert academic == bool(model.weights.terms)
    assert academic == stem.startswith(("fennix", "mace_off"))
    info = registry.describe(f"fennol:{stem}")
    assert (info.licence, info.weights_url) == (model.weights.licence, model.weights.url)
    assert registry.published_weights(f"fennol:{stem}") == (model.weights,)


def test_hashes_are_pinned_where_the_files_were_seen(shared_folder):
    from mlffdb.teachers.weights import sha256_of

    pinned = {stem: m.weights.sha256 for stem, m in published_models().items() if m.weights.sha256}
    assert len(pinned) == 16
    for stem, digest in pinned.items():
        assert sha256_of(shared_folder / "weights" / f"{stem}.fnx") == digest
