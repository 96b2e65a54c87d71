"""Orb-v2 with random weights against orb_models called directly."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.label import label
from mlffdb.teachers.orb import load_orb

torch = pytest.importorskip("torch", reason="the extra orb is not installed")
pytest.importorskip("orb_models", reason="the extra orb is not installed")


@pytest.fixture(scope="module")
def orb(orb_checkpoint):
    from mlffdb.teachers import device

    device._claimed = None
    return load_orb("orb-v2", orb_checkpoint, "0" * 64, device="cpu")


def direct(path, atoms):
    """Energy, forces and stress by orb_models' own loader, one structure at a time."""
    from orb_models.forcefield import pretrained

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = pretrained.orb_v2(
            weights_path=str(path), device="cpu", precision="float32-highest", compile=False
        )
        if isinstance(loaded, tuple):
            model, adapter = loaded
            graph = adapter.from_ase_atoms(atoms, device="cpu")
        else:
            from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs

            model = loaded
            graph = ase_atoms_to_atom_graphs(atoms, model.system_config, device=torch.device("cpu"))
        with torch.inference_mode():
            out = model.predict(graph)
    return out["energy"].item(), out["forces"].numpy(), out["stress"].reshape(-1).numpy()


def test_labels_are_those_of_orb_models(orb, orb_checkpoint):
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.1, seed=1)
    atoms = [molecule("CH3OH"), silicon, molecule("C6H6")]
    results = label(orb, [Structure.from_atoms(one) for one in atoms])
    for one, result in zip(atoms, results, strict=True):
        energy, forces, stress = direct(orb_checkpoint, one)
        assert abs(result.energy - energy) / len(one) < 1e-5
        assert np.abs(result.forces - forces).max() < 1e-5
        if one.pbc.all():
            assert np.abs(result.stress - stress).max() < 1e-5
        else:
            assert result.stress is None


def test_a_molecule_that_carries_a_cell_is_a_molecule(orb):
    """Orb removes torque where the cell is zero, whatever pbc says."""
    atoms = molecule("CH3OH")
    boxed = atoms.copy()
    boxed.set_cell(np.eye(3) * 15)
    free, inside = label(orb, [Structure.from_atoms(atoms), Structure.from_atoms(boxed)])
    assert np.abs(free.forces - inside.forces).max() < 1e-5


def test_atoms_outside_the_cell_are_wrapped(orb):
    inside = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    inside.rattle(0.1, seed=2)
    outside = inside.copy()
    outside.positions += np.array([3, -2, 5]) @ inside.cell.array
    first, second = label(orb, [Structure.from_atoms(inside), Structure.from_atoms(outside)])
    assert abs(first.energy - second.energy) < 1e-4


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        (Structure([84, 1, 1], np.eye(3)), "unsupported_element"),
        (Structure([95], [[0, 0, 0]], multiplicity=2), "unsupported_element"),
        (Structure([8, 1, 1, 1], np.eye(4, 3), charge=1), "charge"),
        (Structure([8, 8], [[0, 0, 0], [1.2, 0, 0]], multiplicity=3), "multiplicity"),
        (Structure([6], [[0, 0, 0]], np.diag([2, 2, 20]), (True, True, False)), "periodicity"),
    ],
)
def test_refused(orb, structure, code):
    [failure] = label(orb, [structure])
    assert failure.code == code


def test_it_was_trained_on_89_elements(orb):
    assert len(orb.capabilities.elements) == 89


def test_random_weights_are_marked(orb, orb_checkpoint, tmp_path):
    assert orb.identity.untrained
    state = torch.load(orb_checkpoint, weights_only=True)
    del state._metadata["mlffdb.untrained"]
    trained = tmp_path / "trained.ckpt"
    torch.save(state, trained)
    assert not load_orb("orb-v2", trained, "0" * 64, device="cpu").identity.untrained


def test_a_checkpoint_without_a_head_is_refused(orb_checkpoint, tmp_path):
    """orb_models would take it, and predict stress with a random head."""
    state = torch.load(orb_checkpoint, weights_only=True)
    partial = {key: value for key, value in state.items() if not key.startswith("heads.stress.")}
    path = tmp_path / "partial.ckpt"
    torch.save(partial, path)
    with pytest.raises(TeacherError, match=r"keys missing \(heads\.stress"):
        load_orb("orb-v2", path, "0" * 64, device="cpu")


def test_a_checkpoint_under_the_names_of_2024(orb, orb_checkpoint, tmp_path):
    state = torch.load(orb_checkpoint, weights_only=True)
    old = {
        "heads.forces.": "node_head.",
        "heads.energy.": "graph_head.",
        "heads.stress.": "stress_head.",
    }
    renamed = {}
    for key, value in state.items():
        prefix = next((new for new in old if key.startswith(new)), "")
        renamed[old.get(prefix, "") + key.removeprefix(prefix)] = value
    path = tmp_path / "old.ckpt"
    torch.save(renamed, path)
    teacher = load_orb("orb-v2", path, "0" * 64, device="cpu")
    structure = Structure.from_atoms(molecule("CH3OH"))
    assert label(teacher, [structure])[0].energy == label(orb, [structure])[0].energy


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(TeacherError, match=r"broken\.ckpt cannot be read as a checkpoint"):
        load_orb("orb-v2", path, "0" * 64, device="cpu")


def test_nothing_of_torch_changes_globally(orb_checkpoint):
    """orb_models' own loader sets the default dtype, and by default turns TF32 on."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        load_orb("orb-v2", orb_checkpoint, "0" * 64, device="cpu")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


def test_the_cost_is_in_edges(orb):
    assert orb.cost(Structure([8, 1, 1], np.eye(3))) == 6
    assert orb.cost(Structure.from_atoms(bulk("Si"))) == 40
    assert orb.identity.versions["orb-models"] == version("orb-models")


def test_a_gpu_that_is_not_there(orb_checkpoint):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TeacherError, match="cuda:0 was asked for but torch sees no GPU"):
        load_orb("orb-v2", orb_checkpoint, "0", device="cuda:0")
