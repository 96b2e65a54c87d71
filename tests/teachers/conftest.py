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
    import jax
    from fennol import FENNIX

    model = FENNIX(
        cutoff=4.0,
        preprocessing={
            "graph_filter": {"graph_key": "graph_angle", "parent_graph": "graph", "cutoff": 3.0},
            "graph_angular_extension": {"graph_key": "graph_angle"},
            "species_indexer": {"output_key": "species_index"},
        },
        modules={
            "embedding": {
                "module_name": "ANI_AEV",
                "embedding_key": "ani_aev",
                "graph_angle_key": "graph_angle",
                "graph_key": "graph",
                "species_order": ["H", "C", "N", "O"],
                "radial_dist_divisions": 4,
                "angular_dist_divisions": 2,
                "angle_sections": 2,
                "zeta": 8.0,
                "angular_eta": 4.0,
                "radial_eta": 8.0,
                "angular_start": 0.5,
                "radial_start": 0.5,
            },
            "energy": {
                "module_name": "SPECIES_INDEX_NET",
                "input_key": "ani_aev",
                "species_index_key": "species_index",
                "hidden_neurons": {s: [16, 16] for s in ("H", "C", "N", "O")},
                "output_dim": 1,
                "use_bias": True,
            },
            "self_energy": {
                "module_name": "CHEMICAL_CONSTANT",
                "value": {"H": -0.6, "C": -38.0, "N": -54.7, "O": -75.2},
            },
        },
        energy_terms=["energy", "self_energy"],
        rng_key=jax.random.PRNGKey(3),
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.fnx"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def orb_checkpoint(tmp_path_factory) -> Path:
    """Orb-v2 with random weights: its mechanisms are real, its numbers mean nothing."""
    pytest.importorskip("orb_models", reason="the extra orb is not installed")
    from mlffdb.teachers.orb import save_random_checkpoint

    path = tmp_path_factory.mktemp("orb") / "orb-v2-20241011.ckpt"
    save_random_checkpoint(path, seed=1)
    return path
