"""Ensembles of FeNNol models against their members, one by one."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from mlffdb.errors import TeacherError
from mlffdb.teachers.contract import CHECKS
from mlffdb.teachers.fennol import Member, load_ensemble, load_fennol
from mlffdb.teachers.label import label
from mlffdb.teachers.weights import sha256_of
from tests.teachers import fennol_models

pytest.importorskip("fennol", reason="the extra fennol is not installed")
pytest.importorskip("jax", reason="the extra fennol is not installed")


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    found = []
    model = fennol_models.ani_like(seed=1)
    for factor in (0.9, 1.0, 1.2):
        path = folder / f"net{factor}.fnx"
        fennol_models.save_alike(model, path, factor)
        found.append(Member(path, sha256_of(path)))
    return found


def ensemble(members, settings):
    return load_ensemble("trio", members, "MIT", device="cpu", cache_dir=settings.cache_dir)


@pytest.fixture(scope="module")
def trio(members, settings):
    from mlffdb.teachers import device

    device._claimed = None
    return ensemble(members, settings)


def alone(member, settings):
    return load_fennol(
        "net", member.path, member.sha256, "MIT", device="cpu", cache_dir=settings.cache_dir
    )


@pytest.mark.parametrize("kind", ["molecules", "crystals"])
def test_mean_and_spread_are_those_of_the_members(kind, trio, members, settings, request):
    """Spread: squares over n - 1, of forces the largest of all components of a structure."""
    structures = request.getfixturevalue(kind)
    single = [label(alone(member, settings), structures) for member in members]
    for i, result in enumerate(label(trio, structures)):
        energies = np.array([results[i].energy for results in single])
        forces = np.array([results[i].forces for results in single], dtype=np.float64)
        assert result.energy == pytest.approx(energies.mean(), abs=1e-5)
        assert result.energy_spread == pytest.approx(energies.std(ddof=1), abs=1e-5)
        assert result.energy_spread > 1e-3
        assert np.abs(result.forces - forces.mean(axis=0)).max() < 1e-5
        assert result.forces.dtype == np.float32
        assert result.forces_spread == pytest.approx(forces.std(axis=0, ddof=1).max(), abs=1e-5)
        if kind == "crystals":
            stress = np.mean([results[i].stress for results in single], axis=0)
            assert np.abs(result.stress - stress).max() < 1e-6


@pytest.mark.parametrize("check", CHECKS)
def test_it_holds_the_contract(check, trio, molecules, crystals):
    """Forces and stress are those of the mean."""
    assert CHECKS[check](trio, [*molecules[:3], crystals[0]]) is not None


def test_one_call_compiles_once_for_all_members(members, settings, molecules):
    teacher = ensemble(members, settings)
    label(teacher, molecules)
    label(teacher, molecules)
    assert teacher.compiles == 1


def test_its_identity_is_over_all_members(trio, members, settings):
    lines = "".join(f"{member.sha256}\n" for member in members)
    assert trio.identity.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert trio.identity.settings["members"] == {m.path.stem: m.sha256 for m in members}
    assert trio.identity.settings["spread"] == "sample standard deviation"
    assert trio.capabilities.spread
    assert not alone(members[0], settings).capabilities.spread
    changed = [*members[:2], dataclasses.replace(members[2], sha256="f" * 64)]
    assert ensemble(changed, settings).identity.fingerprint != trio.identity.fingerprint


def test_members_of_different_kinds_are_refused(members, settings, tmp_path):
    from flax import serialization

    path = tmp_path / "short.fnx"
    content = serialization.msgpack_restore(members[0].path.read_bytes())
    path.write_bytes(serialization.msgpack_serialize({**content, "cutoff": 3.5}))
    with pytest.raises(TeacherError, match=r"short\.fnx and .* make no ensemble"):
        ensemble([members[0], Member(path, "0")], settings)
