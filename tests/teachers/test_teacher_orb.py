"""Every Orb model, small and with random weights, against orb_models called directly."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers import registry
from mlffdb.teachers.contract import built_in_structures, run_suite
from mlffdb.teachers.device import torch_precision
from mlffdb.teachers.label import label
from mlffdb.teachers.orb import load_orb, save_random_checkpoint
from mlffdb.teachers.orb.checkpoint import builder_sizes
from mlffdb.teachers.orb.models import MODELS, PRECISIONS

torch = pytest.importorskip("torch", reason="the extra orb is not installed")
pytest.importorskip("orb_models", reason="the extra orb is not installed")

#: One of each kind: heads, gradients, with and without charge and spin, few and many neighbours.
KINDS = (
    "orb-v2",
    "orb-v3-conservative-20-omat",
    "orb-v3-conservative-inf-mpa",
    "orb-v3-direct-inf-omat",
    "orb-v3-conservative-omol",
    "orb-v3-direct-omol",
)


def direct(path, name, precision, atoms):
    """Energy, forces and stress by orb_models' own loader, one structure at a time."""
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    mark = torch.load(path, weights_only=True)._metadata["mlffdb.untrained"]
    with (
        warnings.catch_warnings(),
        torch_precision(precision),
        builder_sizes(MODELS[name], mark["sizes"]),
    ):
        warnings.simplefilter("ignore")
        loaded = ORB_PRETRAINED_MODELS[name](
            weights_path=str(path), device="cpu", precision=precision, compile=False
        )
        if isinstance(loaded, tuple):
            model, adapter = loaded
            graph = adapter.from_ase_atoms(atoms, device="cpu")
        else:
            from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs

            model = loaded
            graph = ase_atoms_to_atom_graphs(atoms, model.system_config, device=torch.device("cpu"))
        out = {key: value.detach().numpy() for key, value in model.predict(graph).items()}
    forces = out.get("grad_forces", out.get("forces"))
    return out["energy"].item(), forces, out.get("grad_stress", out.get("stress"))


def examples(model):
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.1, seed=1)
    methanol, radical = molecule("CH3OH"), molecule("CH3")
    methanol.info.update(charge=0.0, spin=1.0)
    radical.info.update(charge=1.0, spin=3.0)
    return [methanol, radical] if model.molecular else [methanol, silicon, molecule("C6H6")]


@pytest.mark.parametrize("precision", ["float32-highest", "float64"])
@pytest.mark.parametrize("name", KINDS)
def test_labels_are_those_of_orb_models(name, precision, orb_checkpoints):
    path = orb_checkpoints[name]
    teacher = load_orb(f"{name}@{precision}", path, "0", device="cpu")
    atoms = examples(MODELS[name])
    results = label(teacher, [Structure.from_atoms(one) for one in atoms])
    limit = 1e-9 if precision == "float64" else 1e-5
    for one, result in zip(atoms, results, strict=True):
        energy, forces, stress = direct(path, name, precision, one)
        assert abs(result.energy - energy) / len(one) < limit
        assert np.abs(result.forces - forces).max() < limit
        assert result.forces.dtype == (np.float64 if precision == "float64" else np.float32)
        if one.pbc.all():
            assert np.abs(result.stress - stress.reshape(-1)).max() < limit
        else:
            assert result.stress is None


@pytest.mark.parametrize("name", KINDS)
def test_the_contract(name, orb_checkpoints):
    precision = "@float64" if MODELS[name].gradient else ""
    teacher = load_orb(name + precision, orb_checkpoints[name], "0", device="cpu")
    structures = built_in_structures(teacher.capabilities)
    outcomes = {one.check: one for one in run_suite(teacher, structures)}
    assert [one.why for one in outcomes.values() if one.status == "broken"] == []
    held = teacher.capabilities.conservative
    assert outcomes["forces"].status == ("passed" if held else "measured")
    assert outcomes["rotation"].status == "measured"
    assert outcomes["rotation"].force > 1e-6, "random weights are not equivariant"


def test_gradients_among_twenty_neighbours(orb_checkpoints):
    """The energy has steps, so it is not declared conservative; between them, forces are exact."""
    name = "orb-v3-conservative-20-omat"
    teacher = load_orb(f"{name}@float64", orb_checkpoints[name], "0", device="cpu")
    assert not teacher.capabilities.conservative
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.1, seed=1)
    structure = Structure.from_atoms(silicon)
    step = np.zeros((8, 3))
    step[3] = 1e-5 * np.array([0.6, 0.0, 0.8])
    moved = [structure.moved(structure.positions + sign * step) for sign in (1, 0, -1)]
    up, middle, down = label(teacher, moved)
    slope = (up.energy - down.energy) / 2e-5
    assert slope == pytest.approx(-float((middle.forces * step).sum()) / 1e-5, abs=1e-6)


def test_charge_and_multiplicity_are_taken(orb_checkpoints):
    name = "orb-v3-conservative-omol"
    teacher = load_orb(name, orb_checkpoints[name], "0", device="cpu")
    numbers, positions = molecule("CH3OH").numbers, molecule("CH3OH").positions
    states = [(0, 1), (0, 3), (1, 2), (-1, 2)]
    results = label(teacher, [Structure(numbers, positions, None, charge=c, multiplicity=m)
                              for c, m in states])  # fmt: skip
    assert [(one.charge, one.multiplicity) for one in results] == states
    assert len({round(one.energy, 4) for one in results}) == 4


@pytest.mark.parametrize("name", ["orb-v2", "orb-v3-direct-20-mpa", "orb-v3-conservative-omol"])
@pytest.mark.parametrize(
    ("structure", "code", "molecular"),
    [
        (Structure([84, 1, 1], np.eye(3)), "unsupported_element", True),
        (Structure([95], [[0, 0, 0]], multiplicity=2), "unsupported_element", True),
        (Structure([8, 1, 1, 1], np.eye(4, 3), charge=1), "charge", False),
        (Structure([8, 8], [[0, 0, 0], [1.2, 0, 0]], multiplicity=3), "multiplicity", False),
        (
            Structure([6], [[0, 0, 0]], np.diag([2, 2, 20]), (True, True, False)),
            "periodicity",
            True,
        ),
    ],
)
def test_refused(name, structure, code, molecular, orb_checkpoints):
    teacher = load_orb(name, orb_checkpoints[name], "0", device="cpu")
    [result] = label(teacher, [structure])
    if MODELS[name].molecular and not molecular:
        assert np.isfinite(result.energy)
    else:
        assert result.code == code


def test_crystals_are_refused_by_models_of_molecules(orb_checkpoints):
    name = "orb-v3-direct-omol"
    teacher = load_orb(name, orb_checkpoints[name], "0", device="cpu")
    [failure] = label(teacher, [Structure.from_atoms(bulk("Si"))])
    assert failure.code == "periodicity"
    assert "the omol ones molecules only" in failure.message


@pytest.mark.parametrize("name", MODELS)
def test_what_the_registry_says_is_what_is_loaded(name, orb_checkpoints, settings):
    found = settings.model_copy(update={"weights_dir": orb_checkpoints[name].parent})
    info = registry.describe(name)
    assert info.weights_url is not None
    assert info.weights_url.endswith(orb_checkpoints[name].name)
    teacher = registry.load(name, settings=found)
    assert teacher.name == name == teacher.identity.name
    assert teacher.capabilities == info.capabilities
    assert teacher.identity.settings["max_neighbours"] == MODELS[name].neighbours
    assert teacher.identity.settings["cutoff"] == 6.0
    assert teacher.identity.versions["orb-models"] == version("orb-models")


def test_addresses_are_those_of_orb_models():
    import inspect

    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    for name, model in MODELS.items():
        default = inspect.signature(ORB_PRETRAINED_MODELS[name]).parameters["weights_path"].default
        assert model.weights.url == default
        assert model.weights.sha256 is None


def test_precision_is_part_of_the_name_and_the_fingerprint(orb_checkpoint, settings):
    found = settings.model_copy(update={"weights_dir": orb_checkpoint.parent})
    teachers = [registry.load(f"orb-v2@{one}", settings=found) for one in PRECISIONS]
    assert [one.name for one in teachers] == ["orb-v2", "orb-v2@float32-high", "orb-v2@float64"]
    assert [one.identity.precision for one in teachers] == list(PRECISIONS)
    assert len({one.identity.fingerprint for one in teachers}) == 3


def test_an_unknown_precision():
    with pytest.raises(TeacherError, match="use one of float32-highest, float32-high, float64"):
        registry.describe("orb-v2@half")


def test_random_weights_are_marked(orb_checkpoint, orb_checkpoints, tmp_path):
    assert load_orb("orb-v2", orb_checkpoint, "0", device="cpu").identity.untrained
    full = tmp_path / "full.ckpt"
    save_random_checkpoint(full, "orb-v3-direct-20-omat", 0)
    state = torch.load(full, weights_only=True)
    del state._metadata["mlffdb.untrained"]
    torch.save(state, full)
    assert not load_orb("orb-v3-direct-20-omat", full, "0", device="cpu").identity.untrained


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(TeacherError, match=r"broken\.ckpt cannot be read as a checkpoint"):
        load_orb("orb-v2", path, "0" * 64, device="cpu")


def test_a_checkpoint_of_another_size(orb_checkpoints, tmp_path):
    """Only what says that it is random may be smaller than the published network."""
    state = torch.load(orb_checkpoints["orb-v3-direct-20-omat"], weights_only=True)
    del state._metadata["mlffdb.untrained"]
    path = tmp_path / "small.ckpt"
    torch.save(state, path)
    with pytest.raises(TeacherError, match=r"small\.ckpt does not fit orb-v3-direct-20-omat"):
        load_orb("orb-v3-direct-20-omat", path, "0", device="cpu")


def test_a_checkpoint_under_the_names_of_2024(orb_checkpoint, tmp_path):
    state = torch.load(orb_checkpoint, weights_only=True)
    mark = state._metadata["mlffdb.untrained"]
    old = {
        "heads.forces.": "node_head.",
        "heads.energy.": "graph_head.",
        "heads.stress.": "stress_head.",
    }
    renamed = type(state)()
    for key, value in state.items():
        prefix = next((new for new in old if key.startswith(new)), "")
        renamed[old.get(prefix, "") + key.removeprefix(prefix)] = value
    renamed._metadata = {"mlffdb.untrained": mark}
    path = tmp_path / "old.ckpt"
    torch.save(renamed, path)
    structure = Structure.from_atoms(molecule("CH3OH"))
    energies = [
        label(load_orb("orb-v2", one, "0", device="cpu"), [structure])[0].energy
        for one in (path, orb_checkpoint)
    ]
    assert energies[0] == energies[1]


def test_the_cost_is_in_edges(orb_checkpoints):
    v2 = load_orb("orb-v2", orb_checkpoints["orb-v2"], "0", device="cpu")
    name = "orb-v3-direct-inf-mpa"
    wide = load_orb(name, orb_checkpoints[name], "0", device="cpu")
    water, silicon = Structure([8, 1, 1], np.eye(3)), Structure.from_atoms(bulk("Si"))
    assert v2.cost(water) == wide.cost(water) == 6
    assert v2.cost(silicon) == 40
    assert wide.cost(silicon) == pytest.approx(2 * 45.2, rel=0.01)  # 44 and 48 within 6 Å


def test_a_gpu_that_is_not_there(orb_checkpoint):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TeacherError, match="cuda:0 was asked for but torch sees no GPU"):
        load_orb("orb-v2", orb_checkpoint, "0", device="cuda:0")
