"""ANI-1x, the ensemble of eight, on dimers with published energies and forces."""

from __future__ import annotations

import pytest

from benchmarks import s66x8
from mlffdb.config import Settings
from mlffdb.teachers import registry

pytest.importorskip("fennol", reason="the extra fennol is not installed")
pytest.importorskip("jax", reason="the extra fennol is not installed")


@pytest.fixture(scope="module")
def path(shared_folder):
    path = shared_folder / "structures" / s66x8.FILE
    if not path.is_file():
        pytest.skip("s66x8.h5 is not on this machine")
    return path


def test_its_forces_are_a_gradient_in_hartree_per_angstrom(path):
    """By the file's own energies: a slope of 1, not -1 (forces), not 0.53 (Hartree/bohr)."""
    slope, correlation, steps = s66x8.gradient_fit(s66x8.read_dimers(path), 1.0)
    assert steps > 100
    assert slope == pytest.approx(1.0, abs=0.02)
    assert correlation > 0.998


def test_ani1x_is_as_accurate_as_computed_by_hand(path, settings, shared_folder):
    """The first 16 entries, 0.43 kcal/mol, and one dimer in eight."""
    found = Settings(cache_dir=settings.cache_dir, weights_dir=shared_folder / "weights")
    teacher = registry.load("ani1x", settings=found)
    assert teacher.capabilities == registry.describe("ani1x").capabilities
    assert teacher.capabilities.spread
    dimers = s66x8.read_dimers(path, every=8)
    some = s66x8.errors(teacher, dimers)
    assert 0.5 < some["energy_mae"] < 3.0
    assert 0.5 < some["forces_mae"] < 3.0
    first = s66x8.Dimers(
        *((part[:16]) for part in vars(s66x8.read_dimers(path)).values()),
    )
    assert s66x8.errors(teacher, first)["energy_mae"] == pytest.approx(0.426, abs=0.01)
