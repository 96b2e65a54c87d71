"""Missing hydrogens, told by geometry: silent on what has none, loud on skeletons."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule, nanotube, surface
from ase.collections import g2 as g2_set
from ase.spacegroup import crystal

from mlffdb.structures import Structure
from mlffdb.validation import Severity
from tests.validation.making import batch, found, g2, skeleton

#: g2 molecules whose heavy atoms alone are a sound species too, or say too little.
INDISTINCT = {"HCN", "H2CO", "HCO", "HCCl3", "HCF3", "HOCl", "N2H4", "H2O2"}


def fired(*items: Structure | Atoms, tags: list[list[str]] | None = None) -> list[int]:
    return [f.index for f in found(batch(*items), only=["missing_hydrogens"], tags=tags or [])]


def nickel_carbonyl() -> Atoms:
    axes = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    return Atoms("NiC4O4", np.vstack([np.zeros((1, 3)), 1.84 * axes, 2.98 * axes]))


def crystals() -> dict[str, Atoms]:
    hexagonal = [2.46, 2.46, 6.71, 90, 90, 120]
    calcite = [4.99, 4.99, 17.06, 90, 90, 120]
    quartz = [4.916, 4.916, 5.405, 90, 90, 120]
    return {
        "diamond": bulk("C", "diamond", 3.57, cubic=True),
        "graphite": crystal(
            "CC", [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)], spacegroup=194, cellpar=hexagonal
        ),
        "CaCO3": crystal(
            ["Ca", "C", "O"],
            [(0, 0, 0), (0, 0, 0.25), (0.2578, 0, 0.25)],
            spacegroup=167,
            cellpar=calcite,
        ),
        "SiO2": crystal(
            ["Si", "O"],
            [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)],
            spacegroup=152,
            cellpar=quartz,
        ),
        "dry ice": crystal(
            ["C", "O"],
            [(0, 0, 0), (0.1185,) * 3],
            spacegroup=205,
            cellpar=[5.624] * 3 + [90] * 3,
        ),
        **{
            name: bulk(name, structure, edge)
            for name, structure, edge in (
                ("TiC", "rocksalt", 4.33),
                ("TiN", "rocksalt", 4.24),
                ("SiC", "zincblende", 4.36),
                ("BN", "zincblende", 3.615),
                ("MgO", "rocksalt", 4.21),
                ("BaO", "rocksalt", 5.54),
                ("AlN", "zincblende", 4.38),
            )
        },
    }


def carbons() -> dict[str, Atoms]:
    sheet = graphene(size=(6, 6, 1), vacuum=10)
    hole = sheet.copy()
    hole.pop(10)
    tube = nanotube(6, 0, length=3)
    tube.pbc = False
    face = surface(bulk("C", "diamond", 3.57, cubic=True), (1, 0, 0), 3, vacuum=10)
    face.pbc = True
    return {"graphene": sheet, "hole": hole, "tube": tube, "face": face, "C60": molecule("C60")}


def adsorbate() -> Atoms:
    slab = fcc111("Pt", (2, 2, 3), vacuum=10, periodic=True)
    up = np.array([0.0, 0.0, 1.0])
    return slab + Atoms("CO", slab.positions[-1] + np.outer([1.85, 3.0], up))


@pytest.mark.parametrize("name", crystals())
def test_crystals_are_left_alone(name: str) -> None:
    assert fired(crystals()[name]) == []


@pytest.mark.parametrize("name", carbons())
def test_pure_carbon_is_left_alone(name: str) -> None:
    assert fired(carbons()[name]) == []


def test_molecules_without_hydrogen_are_left_alone() -> None:
    names = ["CO", "CO2", "N2", "O2", "O3", "N2O", "CCl4", "C2F4", "C2Cl4", "NCCN", "CF3CN"]
    sulfur = Atoms("SF6", np.vstack([np.zeros((1, 3)), 1.56 * np.eye(3), -1.56 * np.eye(3)]))
    stretched = Atoms("CO", [[0, 0, 0], [0, 0, 1.25]])
    assert fired(*map(g2, names), sulfur, stretched, nickel_carbonyl(), adsorbate()) == []


def test_every_molecule_of_g2_is_left_alone() -> None:
    assert fired(*(Structure.from_atoms(g2_set[name]) for name in g2_set.names)) == []


@pytest.mark.parametrize("name", ["C6H6", "CH3CH2OH", "CH3CONH2", "C4H4O", "C2H2", "CH3OH"])
def test_skeletons_are_rejected(name: str) -> None:
    (finding,) = found(batch(skeleton(g2(name))), only=["missing_hydrogens"])
    assert finding.severity is Severity.REJECT
    assert finding.value == 1.0
    assert "no hydrogens" in finding.message and finding.atoms


def test_the_count_is_about_that_of_the_hydrogens_lost() -> None:
    for name, lost in (("C6H6", 6), ("CH3CH2OH", 6), ("C2H4", 4), ("isobutane", 10)):
        (finding,) = found(batch(skeleton(g2(name))), only=["missing_hydrogens"])
        assert f"about {lost} more" in finding.message


def test_the_skeleton_of_every_organic_g2_molecule_is_rejected() -> None:
    organic = [
        name
        for name in g2_set.names
        if {1, 6} <= set(g2_set[name].numbers)
        and (g2_set[name].numbers > 1).sum() > 1
        and name not in INDISTINCT
    ]
    silent = set(range(len(organic))) - set(fired(*(skeleton(g2(name)) for name in organic)))
    assert len(organic) > 70
    assert [organic[i] for i in sorted(silent)] == []


def test_alanine_from_smiles_and_its_skeleton() -> None:
    chem = pytest.importorskip("rdkit.Chem")
    from rdkit.Chem import AllChem

    mol = chem.AddHs(chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    whole = Structure(numbers, mol.GetConformer().GetPositions())
    polar = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1 or _on_polar(a)]
    assert fired(whole, skeleton(whole), whole.take(polar)) == [1, 2]


def _on_polar(hydrogen: object) -> bool:
    return hydrogen.GetNeighbors()[0].GetAtomicNum() in (7, 8)  # type: ignore[attr-defined]


def test_water_without_hydrogens_is_rejected_but_not_an_oxide() -> None:
    rng = np.random.default_rng(0)
    grid = 3.0 * np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    assert fired(Structure([8] * 27, grid + rng.normal(0, 0.1, grid.shape))) == [0]


def test_the_solid_skeleton_of_benzene_is_rejected() -> None:
    ring = skeleton(g2("C6H6"))
    cell = Structure(ring.numbers, ring.positions, np.eye(3) * 8, (True, True, True))
    assert fired(cell) == [0]


def test_reference_structures_are_let_pass() -> None:
    assert fired(skeleton(g2("C6H6")), tags=[["reference"]]) == []


def test_ions_and_radicals_are_left_alone() -> None:
    ion = Structure([6, 7], [[0, 0, 0], [0, 0, 1.17]], charge=-1)
    dication = Structure(g2("C2H2").numbers, g2("C2H2").positions, charge=2)
    assert fired(ion, dication, g2("C2H3"), g2("CCH"), g2("CN")) == []
