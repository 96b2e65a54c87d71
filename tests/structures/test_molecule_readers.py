"""SDF, MOL, MOL2, SMILES and SPICE-style HDF5."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule
from rdkit import Chem

from mlffdb.errors import ReadError
from mlffdb.structures import Candidate, Rejection, structure_id
from mlffdb.structures.molecules import embed, from_smiles, mapped_smiles, structure_from_mol
from mlffdb.structures.readers import read_candidates
from mlffdb.structures.readers.molecule_records import EMBED_SEED
from mlffdb.structures.readers.spice import BOHR

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "structures"


def read(path, **options):
    return list(read_candidates(path, **options))


def in_space(smiles):
    mol = from_smiles(smiles)
    assert embed(mol, 1, 11)
    return mol


def sdf(*blocks):
    return "".join(f"{block}$$$$\n" for block in blocks)


def write_sdf(path, *mols):
    path.write_text(sdf(*(Chem.MolToMolBlock(mol) for mol in mols)))
    return path


def test_sdf_with_hydrogens_comes_as_it_is(tmp_path):
    mols = [in_space("CCO"), in_space("CC(=O)[O-]"), in_space("[CH3]")]
    mols[0].SetProp("_Name", "ethanol")
    results = read(write_sdf(tmp_path / "f.sdf", *mols))
    assert [item.structure.charge for item in results] == [0, -1, 0]
    assert [item.structure.multiplicity for item in results] == [1, 1, 2]
    for mol, item in zip(mols, results, strict=True):
        expected = structure_from_mol(mol)
        assert item.structure.numbers.tolist() == expected.numbers.tolist()
        np.testing.assert_allclose(item.structure.positions, expected.positions, atol=1e-4)
        assert item.origin.smiles == mapped_smiles(mol)
        assert item.origin.method == "import"
        assert item.origin.seed is None
        assert "hydrogens_added" not in item.origin.parameters
    assert results[0].origin.parameters == {"name": "ethanol"}
    assert results[0].origin.group_keys == ("inchikey:LFQSCWFLJHTTHZ",)


@pytest.mark.parametrize(("smiles", "added"), [("CCO", 6), ("c1ccccc1", 6), ("C[NH3+]", 6)])
def test_implicit_hydrogens_are_added_where_they_belong(smiles, added, tmp_path):
    whole = in_space(smiles)
    (item,) = read(write_sdf(tmp_path / "f.sdf", Chem.RemoveHs(whole)))
    assert item.origin.parameters == {"hydrogens_added": added}
    assert item.structure.n_atoms == whole.GetNumAtoms()
    heavy = item.structure.numbers > 1
    expected = structure_from_mol(whole)
    np.testing.assert_allclose(
        item.structure.positions[heavy], expected.positions[expected.numbers > 1], atol=1e-4
    )
    distance = np.linalg.norm(
        item.structure.positions[~heavy][:, None] - item.structure.positions[heavy], axis=2
    )
    assert np.all((distance.min(axis=1) > 0.9) & (distance.min(axis=1) < 1.2))


def test_some_hydrogens_missing(tmp_path):
    mol = Chem.RWMol(in_space("CCO"))
    mol.RemoveAtom(mol.GetNumAtoms() - 1)
    (item,) = read(write_sdf(tmp_path / "f.sdf", mol))
    assert item.origin.parameters == {"hydrogens_added": 1}
    assert item.structure.n_atoms == 9


def test_hydrogens_that_cannot_be_added_are_refused(tmp_path):
    block = Chem.MolToMolBlock(Chem.RemoveHs(in_space("CCCC")))
    # valence 1 or 2 of each carbon: the record says that there are no hydrogens
    lines = block.splitlines()
    for number in range(4, 8):
        valence = 1 if number in (4, 7) else 2
        lines[number] = lines[number][:48] + f"{valence:3d}" + lines[number][51:]
    (tmp_path / "f.sdf").write_text(sdf("\n".join(lines) + "\n", sdf_water()))
    first, second = read(tmp_path / "f.sdf")
    assert (first.code, first.index) == ("no_hydrogens", 0)
    assert isinstance(second, Candidate)


def sdf_water():
    return Chem.MolToMolBlock(in_space("O"))


@pytest.mark.parametrize("coordinates", ["flat", "zero", "none"])
def test_records_without_coordinates_are_embedded(coordinates, tmp_path):
    mol = Chem.MolFromSmiles("CC(N)C(=O)O")
    if coordinates == "flat":
        from rdkit.Chem import rdDepictor

        rdDepictor.Compute2DCoords(mol)
    if coordinates == "zero":
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.Set3D(True)
        mol.AddConformer(conformer)
    (item,) = read(write_sdf(tmp_path / "f.sdf", mol))
    assert (item.origin.method, item.origin.seed) == ("etkdg", EMBED_SEED)
    assert item.structure.n_atoms == 13
    assert np.ptp(item.structure.positions, axis=0).min() > 0.5
    (again,) = read(tmp_path / "f.sdf")
    assert structure_id(again.structure) == structure_id(item.structure)


def test_broken_records_cost_only_themselves(tmp_path, capfd):
    water = sdf_water()
    bad_valence = Chem.MolToMolBlock(in_space("CC")).replace("  1  2  1  0", "  1  2  3  0")
    dummy = Chem.MolToMolBlock(in_space("CF")).replace(" F  ", " *  ")
    nan = water.replace(water.splitlines()[4][:10], "       nan")
    records = [water, "junk\n\n\nmore junk\n", bad_valence, water, dummy, nan, water]
    (tmp_path / "f.sdf").write_text(sdf(*records))
    results = read(tmp_path / "f.sdf")
    found = [item.code if isinstance(item, Rejection) else "ok" for item in results]
    assert found[:5] == ["ok", "unreadable", "valence", "ok", "element"]
    assert found[5] in ("unreadable", "not_finite")
    assert found[6] == "ok"
    assert [item.index for item in results if isinstance(item, Rejection)] == [1, 2, 4, 5]
    assert capfd.readouterr() == ("", "")


def test_mol_and_mol2(tmp_path):
    (tmp_path / "f.mol").write_text(sdf_water())
    (item,) = read(tmp_path / "f.mol")
    assert item.structure.n_atoms == 3
    (tmp_path / "f.mol2").write_text(
        "@<TRIPOS>MOLECULE\nwater\n 3 2 0 0 0\nSMALL\nNO_CHARGES\n\n@<TRIPOS>ATOM\n"
        " 1 O1 0.0 0.0 0.0 O.3\n 2 H1 0.96 0.0 0.0 H\n 3 H2 -0.24 0.93 0.0 H\n"
        "@<TRIPOS>BOND\n 1 1 2 1\n 2 1 3 1\n"
    )
    (item,) = read(tmp_path / "f.mol2")
    assert item.structure.numbers.tolist() == [8, 1, 1]
    assert item.origin.parameters == {"name": "water"}


def test_smiles_file(tmp_path, capfd):
    (tmp_path / "f.smi").write_text(
        "smiles name\n# comment\nCCO ethanol\n\nC(\nCC(=O)[O-]\tan acetate\n*C\nCN(C)(C)(C)C\nO.O\n"
    )
    results = read(tmp_path / "f.smi")
    found = [item.code if isinstance(item, Rejection) else "ok" for item in results]
    assert found == ["ok", "smiles", "ok", "element", "smiles", "ok"]
    assert "line 5" in results[1].reason
    ethanol, acetate, waters = results[0], results[2], results[5]
    assert ethanol.structure.n_atoms == 9
    assert ethanol.origin.parameters["name"] == "ethanol"
    assert (ethanol.origin.method, ethanol.origin.seed) == ("etkdg", EMBED_SEED)
    assert ethanol.domain == "organic"
    assert acetate.structure.charge == -1
    assert acetate.origin.parameters["name"] == "an acetate"
    assert waters.origin.group_keys == ("composition:H4O2",)
    again = read(tmp_path / "f.smi")
    assert structure_id(again[0].structure) == structure_id(ethanol.structure)
    assert capfd.readouterr() == ("", "")


def test_molecule_without_a_shape_is_refused(tmp_path, capfd):
    # cyclopropyne: ETKDG finds no coordinates that fit its bond lengths
    (tmp_path / "f.smi").write_text("C1#CC1\nO\n")
    refused, accepted = read(tmp_path / "f.smi")
    assert (refused.code, refused.index) == ("embedding_failed", 0)
    assert isinstance(accepted, Candidate)
    assert capfd.readouterr() == ("", "")


def test_a_charge_that_the_bonds_contradict_is_refused(tmp_path):
    (tmp_path / "f.smi").write_text("CC(=O)[O-]\nCCO\n")
    accepted, refused = read(tmp_path / "f.smi", charge=-1)
    assert accepted.structure.charge == -1
    assert refused.code == "charge"


def spice_file(path, units="angstrom", **changes):
    with h5py.File(path, "w") as file:
        for name in ("one", "two"):
            group = file.create_group(name)
            group["smiles"] = ["[O:1]([H:3])[H:2]"]
            water = molecule("H2O").positions
            conformations = np.stack([water, water * 1.01, water * 0.99]).astype(np.float32)
            group["conformations"] = conformations
            group["conformations"].attrs["units"] = units
        group = file["two"]
        for key, value in changes.items():
            if key in group:
                attributes = dict(group[key].attrs)
                del group[key]
            else:
                attributes = {}
            if value is not None:
                group[key] = value
                group[key].attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("units", "scale"),
    [("nanometers", 10), ("angstrom", 1), ("bohr", BOHR), (b"Angstroms", 1), ("nm", 10)],
)
def test_spice_units(units, scale, tmp_path):
    results = read(spice_file(tmp_path / "f.h5", units))
    assert [item.origin.index for item in results] == list(range(6))
    assert [item.origin.parameters["conformation"] for item in results] == [0, 1, 2] * 2
    assert results[4].origin.parameters["group"] == "two"
    expected = molecule("H2O").positions.astype(np.float32).astype(float) * scale
    np.testing.assert_array_equal(results[0].structure.positions, expected)
    assert results[0].structure.numbers.tolist() == [8, 1, 1]
    assert results[0].structure.multiplicity == 1
    assert results[0].origin.smiles == "[O:1]([H:3])[H:2]"


def test_spice_order_of_atoms_is_that_of_the_map_numbers(tmp_path):
    results = read(
        spice_file(
            tmp_path / "f.h5", smiles=["[H:1][O:3][H:2]"], atomic_numbers=np.array([1, 1, 8])
        )
    )
    assert results[0].structure.numbers.tolist() == [8, 1, 1]
    assert results[3].structure.numbers.tolist() == [1, 1, 8]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"smiles": ["[O:1]([H:2])"]}, "smiles"),
        ({"smiles": ["[OH2:1]"]}, "smiles"),
        ({"smiles": ["[O:1]([H:3])[H:3]"]}, "smiles"),
        ({"smiles": ["nonsense"]}, "smiles"),
        ({"smiles": ["[CH:1]([H:3])[H:2]"]}, "no_hydrogens"),
        ({"smiles": None}, "smiles"),
        ({"atomic_numbers": np.array([8, 1, 6])}, "smiles"),
        ({"conformations": np.full((3, 3, 3), np.nan)}, "not_finite"),
        ({"conformations": np.zeros((3, 4, 3))}, "smiles"),
    ],
)
def test_a_broken_group_costs_only_itself(changes, code, tmp_path):
    results = read(spice_file(tmp_path / "f.h5", **changes))
    assert [isinstance(item, Candidate) for item in results] == [True] * 3 + [False] * 3
    assert {item.code for item in results[3:]} == {code}
    assert [item.index for item in results[3:]] == [3, 4, 5]
    assert all("'two'" in item.reason for item in results[3:])


def test_spice_without_units_is_refused(tmp_path):
    path = spice_file(tmp_path / "f.h5")
    with h5py.File(path, "a") as file:
        del file["two/conformations"].attrs["units"]
    assert [getattr(item, "code", "ok") for item in read(path)] == ["ok"] * 3 + ["no_units"] * 3
    with h5py.File(path, "a") as file:
        del file["one/conformations"].attrs["units"]
    with pytest.raises(ReadError, match="units"):
        read(path)
    with pytest.raises(ReadError, match="furlongs"):
        read(spice_file(tmp_path / "g.h5", "furlongs"))


def test_other_hdf5_is_refused(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["positions"] = np.zeros((3, 3))
    with pytest.raises(ReadError, match="conformations"):
        read(tmp_path / "f.h5")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared structures beside the checkout")
@pytest.mark.parametrize(
    ("name", "count", "charged", "molecules"),
    [
        ("des-monomers.hdf5", 18_900, 950, 362),
        ("solvated-amino-acids.hdf5", 1300, 300, 20),
        ("water60.hdf5", 1000, 0, 1),
    ],
)
def test_real_spice_files(name, count, charged, molecules):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not there")
    begin = time.monotonic()
    results = read(SHARED / name)
    assert time.monotonic() - begin < 60
    assert Counter(type(item) for item in results) == {Candidate: count}
    assert sum(item.structure.charge != 0 for item in results) == charged
    assert {item.structure.multiplicity for item in results} == {1}
    assert len({item.origin.group_keys for item in results}) == molecules
    assert len({structure_id(item.structure) for item in results}) == count
