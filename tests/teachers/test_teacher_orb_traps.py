"""Ways in which Orb gives wrong numbers without a word, each shown to be impossible here."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure
from mlffdb.teachers.label import label
from mlffdb.teachers.orb import load_orb
from mlffdb.teachers.orb.graphs import in_order, standard_cell
from mlffdb.teachers.orb.torque import without_net_torque

torch = pytest.importorskip("torch", reason="the extra orb is not installed")
pytest.importorskip("orb_models", reason="the extra orb is not installed")


@pytest.fixture(scope="module")
def load(orb_checkpoints):
    """Load a model by name; a test may have several, at several precisions."""

    def load(name):
        return load_orb(name, orb_checkpoints[name.partition("@")[0]], "0", device="cpu")

    return load


def shaken(name, **options):
    atoms = bulk(name, **options)
    atoms.rattle(0.1, seed=2)
    return atoms


@pytest.mark.parametrize("name", ["orb-v2", "orb-v3-conservative-20-omat"])
def test_nan_coordinates_never_reach_it(load, name):
    structure = Structure.from_atoms(molecule("H2O"))
    broken = structure.positions.copy()
    broken[0, 0] = np.nan
    object.__setattr__(structure, "positions", broken)  # a Structure itself refuses NaN
    [failure] = label(load(name), [structure])
    assert isinstance(failure, Failure)
    assert failure.code == "not_finite"


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("orb-v2", "heads.stress."),
        ("orb-v3-direct-20-omat", "heads.forces."),
        ("orb-v3-conservative-20-omat", "heads.energy."),
        ("orb-v3-conservative-omol", "model.conditioner."),
    ],
)
def test_a_checkpoint_without_a_part_is_refused(orb_checkpoints, tmp_path, name, head):
    """orb_models would take it, and predict with a random head."""
    state = torch.load(orb_checkpoints[name], weights_only=True)
    path = tmp_path / "partial.ckpt"
    for key in [key for key in state if key.startswith(head)]:
        del state[key]
    torch.save(state, path)
    with pytest.raises(TeacherError, match=rf"partial\.ckpt .*{head.split('.')[1]}"):
        load_orb(name, path, "0" * 64, device="cpu")


def test_a_checkpoint_of_another_model_is_refused(orb_checkpoints):
    with pytest.raises(TeacherError, match="does not fit orb-v3-conservative-inf-omat"):
        load_orb(
            "orb-v3-conservative-inf-omat",
            orb_checkpoints["orb-v3-conservative-omol"].with_name(
                "orb-v3-direct-omol-20250820.ckpt"
            ),
            "0",
            device="cpu",
        )


@pytest.mark.parametrize("name", ["orb-v2", "orb-v3-direct-20-omat", "orb-v3-conservative-20-omat"])
def test_a_molecule_that_carries_a_cell_is_a_molecule(load, name):
    """Orb removes torque where the cell is zero, whatever pbc says."""
    atoms = molecule("CH3OH")
    boxed = atoms.copy()
    boxed.set_cell(np.eye(3) * 15)
    free, inside = label(load(name), [Structure.from_atoms(atoms), Structure.from_atoms(boxed)])
    assert np.abs(free.forces - inside.forces).max() < 1e-6
    assert free.stress is inside.stress is None


def test_stress_only_for_crystals_among_molecules(load):
    both = [Structure.from_atoms(molecule("H2O")), Structure.from_atoms(shaken("Si"))]
    alone, crystal = label(load("orb-v3-conservative-inf-omat"), both)
    assert alone.stress is None
    assert crystal.stress.shape == (6,)


def test_ties_among_neighbours(load):
    """Of equally near atoms 20 are kept; neither atom order nor company decides which."""
    teacher = load("orb-v2")
    assert teacher.identity.settings["edge_method"] in ("knn_scipy", "knn_alchemi")
    silicon = Structure.from_atoms(bulk("Si", cubic=True).repeat(2))
    rng = np.random.default_rng(0)
    [alone] = label(teacher, [silicon])
    assert alone.details["edge_method"] == teacher.identity.settings["edge_method"]
    order = rng.permutation(silicon.n_atoms)
    images = silicon.moved(silicon.positions + rng.integers(-2, 3, (64, 3)) @ silicon.cell)
    others = [Structure.from_atoms(shaken("NaCl", crystalstructure="rocksalt", a=5.64))]
    for moved, back in ((silicon.take(order), np.argsort(order)), (images, slice(None))):
        [result] = label(teacher, [moved])
        assert abs(result.energy - alone.energy) < 1e-4
        assert np.abs(result.forces[back] - alone.forces).max() < 1e-6
    among = label(teacher, [*others, silicon])[1]
    assert abs(among.energy - alone.energy) < 1e-3
    assert np.abs(among.forces - alone.forces).max() < 1e-5
    # what is left: a shift of the whole perfect crystal, within what the teacher declares
    [shifted] = label(teacher, [silicon.moved(silicon.positions + rng.normal(size=3))])
    apart = abs(shifted.energy - alone.energy) / silicon.n_atoms
    assert apart < teacher.capabilities.energy_tolerance


@pytest.mark.parametrize("name", ["orb-v2", "orb-v3-direct-inf-omat"])
def test_linear_molecules(load, name):
    """Orb's own removal of torque is singular there, and rounding decides the forces.

    It is worst where a molecule is bent by 1e-3 Å: by an eV/Å.
    """
    teacher, exact = load(name), load(f"{name}@float64")
    rng = np.random.default_rng(1)
    structures = []
    for one, bend in (("CO2", 0), ("HCN", 0), ("C2H2", 0), ("N2", 0), ("CO2", 1e-3), ("HCN", 1e-3)):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        atoms = molecule(one)
        atoms.positions[0, 0] += bend
        structures.append(Structure(atoms.numbers, atoms.positions @ turn.T, multiplicity=1))
    for s, one, other in zip(
        structures, label(teacher, structures), label(exact, structures), strict=True
    ):
        assert np.abs(one.forces - other.forces).max() < 1e-4
        arms = s.positions - s.positions.mean(axis=0)
        assert np.abs(np.cross(arms, other.forces).sum(axis=0)).max() < 1e-9
        assert np.abs(other.forces.sum(axis=0)).max() < 1e-9


@pytest.mark.parametrize("bend", [0.0, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2])
def test_torque_is_removed_alike_in_every_orientation(bend):
    """By Orb itself forces of carbon dioxide turn by up to 1.2 eV/Å at a bend of 1e-4 Å."""
    rng = np.random.default_rng(0)
    positions = molecule("CO2").positions
    positions[0, 0] += bend
    forces = rng.normal(size=(3, 3)).astype(np.float32)
    expected = without_net_torque(positions, forces)
    for _ in range(20):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        found = without_net_torque(positions @ turn.T, (forces @ turn.T).astype(np.float32))
        assert np.abs(found @ turn - expected).max() < 1e-5


def test_torque_is_removed_as_orb_does_it():
    if version("orb-models").startswith("0.5"):
        from orb_models.forcefield.forcefield_utils import _remove_net_torque
    else:
        from orb_models.forcefield.models.forcefield_utils import _remove_net_torque
    rng = np.random.default_rng(0)
    positions, forces = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    theirs = _remove_net_torque(*(torch.tensor(x) for x in (positions, forces)), torch.tensor([7]))
    assert np.abs(without_net_torque(positions, forces) - theirs.numpy()).max() < 1e-12
    assert np.array_equal(without_net_torque(np.ones((1, 3)), np.ones((1, 3))), np.ones((1, 3)))


def test_precisions_in_one_process(load):
    """orb_models' loader sets the dtype of the process, and by default turns TF32 on."""
    structure = Structure.from_atoms(shaken("Si"))

    def of_the_process():
        return (torch.get_default_dtype(), torch.get_float32_matmul_precision(),
                torch.backends.cudnn.allow_tf32)  # fmt: skip

    before = of_the_process()
    single = load("orb-v3-conservative-20-omat")
    [first] = label(single, [structure])
    for precision in ("float64", "float32-high"):
        [other] = label(load(f"orb-v3-conservative-20-omat@{precision}"), [structure])
        assert abs(other.energy - first.energy) < 1e-4
        assert of_the_process() == before, precision
    [again] = label(single, [structure])
    assert again.energy == first.energy
    assert np.array_equal(again.forces, first.forces)
    assert of_the_process() == before


def test_tf32_is_off_unless_chosen(load, monkeypatch):
    seen = {}
    for precision in ("float32-highest", "float32-high", "float64"):
        teacher = load(f"orb-v3-direct-20-omat@{precision}")
        predict = teacher._network.predict

        def spy(graphs, predict=predict, precision=precision):
            seen[precision] = (torch.get_float32_matmul_precision(), torch.get_default_dtype())
            return predict(graphs)

        monkeypatch.setattr(teacher._network, "predict", spy)
        label(teacher, [Structure.from_atoms(molecule("H2O"))])
    assert seen == {
        "float32-highest": ("highest", torch.float32),
        "float32-high": ("high", torch.float32),
        "float64": ("highest", torch.float64),
    }


def test_large_energies_keep_their_digits(load):
    """In float32 the sum of reference energies of a large molecule has steps of 0.01 eV."""
    teacher = load("orb-v3-direct-20-omat")
    reference = teacher._network.heads["energy"].reference.linear.weight
    reference.data.fill_(-30_000.0)
    structure = Structure.from_atoms(molecule("C6H6"))
    step = np.zeros((12, 3))
    step[0, 2] = 1e-2
    low, high = label(teacher, [structure, structure.moved(structure.positions + step)])
    assert low.energy == pytest.approx(-360_000, abs=200)
    reference.data.fill_(0.0)
    small = label(teacher, [structure, structure.moved(structure.positions + step)])
    assert high.energy - low.energy == pytest.approx(small[1].energy - small[0].energy, abs=1e-4)


def test_strongly_skewed_cells_keep_their_neighbours(load):
    """orb-models 0.5 looks at a fixed number of images, and loses neighbours in such a cell."""
    from vesin import NeighborList

    teacher = load("orb-v3-direct-inf-mpa")
    copper = shaken("Cu")
    skewed = copper.copy()
    skewed.set_cell(np.array([[1, 4, -2], [0, 1, 0], [0, -3, 1]]) @ copper.cell.array)
    usual, same = (Structure.from_atoms(one) for one in (copper, skewed))
    counts = [len(teacher._graphs(in_order([one])).senders) for one in (usual, same)]
    pairs = NeighborList(cutoff=6.0, full_list=True).compute(
        points=copper.positions, box=copper.cell.array, periodic=True, quantities="i"
    )
    assert counts == [len(pairs[0])] * 2
    one, other = label(teacher, [usual, same])
    assert abs(one.energy - other.energy) < 1e-5
    assert np.abs(one.stress - other.stress).max() < 1e-5


def test_left_handed_cells(load):
    """The repulsion of orb-v3's direct models divides stress by a determinant that has a sign."""
    atoms = shaken("Si", cubic=True)
    atoms.positions[1] = atoms.positions[0] + [1.2, 0.2, 0.1]
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(left.cell.array) < 0
    assert np.linalg.det(standard_cell(left.cell.array)) > 0
    one, other = label(
        load("orb-v3-direct-20-omat"), [Structure.from_atoms(atoms), Structure.from_atoms(left)]
    )
    assert np.abs(one.stress - other.stress).max() < 1e-5


def test_atoms_outside_the_cell_are_wrapped(load):
    inside = shaken("NaCl", crystalstructure="rocksalt", a=5.64, cubic=True)
    outside = inside.copy()
    outside.positions += np.array([3, -2, 5]) @ inside.cell.array
    both = [Structure.from_atoms(inside), Structure.from_atoms(outside)]
    first, second = label(load("orb-v2"), both)
    assert abs(first.energy - second.energy) < 1e-4


def test_elements_it_never_saw(load):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = label(
            load("orb-v3-conservative-omol"),
            [Structure([z], [[0, 0, 0]], multiplicity=1 + z % 2) for z in (83, 84, 89, 118)],
        )
    assert [getattr(one, "code", "ok") for one in results] == ["ok"] + ["unsupported_element"] * 3
    assert len(load("orb-v2").capabilities.elements) == 89
