"""Teachers for the tests: real ones where installed, and one written out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlffdb.config import Settings
from mlffdb.structures import Structure
from mlffdb.teachers import device

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(autouse=True)
def own_process(monkeypatch):
    """Each test counts as a process of its own: torch and jax meet here on the CPU, harmlessly."""
    monkeypatch.setattr(device, "_claimed", None)


@pytest.fixture(scope="session")
def settings(tmp_path_factory) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("data"), cache_dir=tmp_path_factory.mktemp("cache")
    )


@pytest.fixture(scope="session")
def molecules() -> list[Structure]:
    """Singlets of H, C, N, O, shaken, of different size."""
    rng = np.random.default_rng(0)
    found = []
    for name in ("H2O", "CH4", "C6H6", "CH3CHO", "CH3CONH2", "HCN", "C2H6"):
        atoms = molecule(name)
        positions = atoms.positions + rng.normal(0, 0.03, atoms.positions.shape)
        found.append(Structure(atoms.numbers, positions, multiplicity=1))
    return found


@pytest.fixture(scope="session")
def crystals() -> list[Structure]:
    """Shaken crystals, and methanol in a box."""
    found = []
    for i, atoms in enumerate([bulk("C", cubic=True), bulk("C").repeat(2)]):
        atoms.rattle(0.05, seed=i)
        found.append(Structure.from_atoms(atoms))
    methanol = molecule("CH3OH")
    methanol.set_cell([[5.5, 0, 0], [0.4, 6, 0], [0, -0.3, 6.5]])
    methanol.pbc = True
    methanol.positions += 2.7
    found.append(Structure.from_atoms(methanol))
    return found


@pytest.fixture(scope="session")
def ani_path() -> Path:
    """One real ANI-1x network."""
    pytest.importorskip("fennol", reason="the extra fennol is not installed")
    path = SHARED / "weights" / "ani1x_model0.fnx"
    if not path.is_file():
        pytest.skip("the ANI-1x weights are not on this machine")
    return path


@pytest.fixture(scope="session")
def tiny_fnx(tmp_path_factory) -> Path:
    """A small ANI-like model with random weights, made here."""
    pytest.importorskip("fennol", reason="the extra fennol is not installed")
    from tests.teachers import fennol_models

    path = tmp_path_factory.mktemp("weights") / "tiny.fnx"
    fennol_models.ani_like(seed=3).save(path)
    return path


@pytest.fixture(scope="session")
def orb_checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Small Orb networks with random weights: their mechanisms are real, their numbers are not."""
    pytest.importorskip("orb_models", reason="the extra orb is not installed")
    from mlffdb.teachers.orb import save_random_checkpoint
    from mlffdb.teachers.orb.models import MODELS

    folder = tmp_path_factory.mktemp("orb")
    small = {"latent_dim": 32, "base_mlp_hidden_dim": 64, "head_mlp_hidden_dim": 32}
    found = {}
    for seed, (name, model) in enumerate(MODELS.items()):
        sizes = {} if name == "orb-v2" else small
        found[name] = folder / model.weights.file
        save_random_checkpoint(found[name], name, seed, num_message_passing_steps=2, **sizes)
    return found


@pytest.fixture(scope="session")
def orb_checkpoint(orb_checkpoints) -> Path:
    """The one of orb-v2."""
    return orb_checkpoints["orb-v2"]
