from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers, rdMolDescriptors

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.molecules import (
    atomic_numbers,
    embed,
    from_smiles,
    group_key,
    inchikey_block,
    mapped_smiles,
    structure_from_mol,
)


@pytest.mark.parametrize(
    ("smiles", "formula"),
    [("CCO", "C2H6O"), ("[H]O[H]", "H2O"), ("[CH3:2][OH:1]", "CH4O"), ("c1ccccc1", "C6H6")],
)
def test_hydrogens_are_explicit(smiles, formula):
    mol = from_smiles(smiles)
    assert rdMolDescriptors.CalcMolFormula(mol) == formula
    assert all(atom.GetTotalNumHs() == 0 for atom in mol.GetAtoms())


@pytest.mark.parametrize(
    ("smiles", "code"),
    [("C(", "smiles"), ("CN(C)(C)(C)C", "smiles"), ("C*", "element"), ("", "no_atoms")],
)
def test_bad_smiles_are_refused(smiles, code, capfd):
    with pytest.raises(InvalidStructureError) as caught:
        from_smiles(smiles)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "smiles", ["CC(=O)[O-]", "C[C@H](N)C(=O)O", "O.OC", "[Na+].[Cl-]", "[H][H]"]
)
def test_mapped_smiles_give_back_the_order_of_the_atoms(smiles):
    mol = from_smiles(smiles)
    options = Chem.SmilesParserParams()
    options.removeHs = False
    back = Chem.MolFromSmiles(mapped_smiles(mol), options)
    order = np.argsort([atom.GetAtomMapNum() for atom in back.GetAtoms()])
    assert atomic_numbers(back)[order].tolist() == atomic_numbers(mol).tolist()
    bonds = {
        frozenset((bond.GetBeginAtom().GetAtomMapNum() - 1, bond.GetEndAtom().GetAtomMapNum() - 1))
        for bond in back.GetBonds()
    }
    assert bonds == {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()}
    assert Chem.MolToInchiKey(back) == Chem.MolToInchiKey(mol)


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"),
    [("CCO", 0, 1), ("CC(=O)[O-]", -1, 1), ("[CH3]", 0, 2), ("[NH4+]", 1, 1), ("[CH2]", 0, 3)],
)
def test_charge_and_multiplicity(smiles, charge, multiplicity):
    mol = from_smiles(smiles)
    structure = structure_from_mol(mol, embed(mol, 1, 0)[0])
    assert (structure.charge, structure.multiplicity) == (charge, multiplicity)


def test_embedding_is_reproducible_and_depends_on_the_seed():
    def shapes(seed):
        mol = from_smiles("CCCCO")
        return [structure_from_mol(mol, i).positions for i in embed(mol, 3, seed)]

    first = shapes(7)
    assert len(first) == 3
    assert all(np.array_equal(a, b) for a, b in zip(first, shapes(7), strict=True))
    assert not np.allclose(first[0], first[1])
    assert not np.allclose(first[0], shapes(8)[0])


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "O.O.O.O.O.O.O.O", "c1ccccc1.CCO.O"])
def test_molecules_of_a_cluster_touch_but_do_not_overlap(smiles):
    mol = from_smiles(smiles)
    owner = np.zeros(mol.GetNumAtoms(), int)
    for index, atoms in enumerate(Chem.GetMolFrags(mol)):
        owner[list(atoms)] = index
    for conf_id in embed(mol, 3, 1):
        positions = structure_from_mol(mol, conf_id).positions
        distance = np.linalg.norm(positions[:, None] - positions, axis=2)
        distance[owner[:, None] == owner] = np.inf
        nearest = [distance[owner == i].min() for i in range(owner.max() + 1)]
        assert 1.7 < min(nearest) <= max(nearest) < 5.0


def test_mmff_lowers_the_energy():
    def energy(optimise):
        mol = from_smiles("CC(=O)NC")
        conf_id = embed(mol, 1, 3, optimise=optimise)[0]
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        return rdForceFieldHelpers.MMFFGetMoleculeForceField(
            mol, properties, confId=conf_id
        ).CalcEnergy()

    assert energy(True) < energy(False) - 1.0


def test_group_key_is_that_of_the_solute():
    ethanol = inchikey_block(from_smiles("CCO"))
    assert len(ethanol) == 14
    for smiles in ("CCO", "CCO.O.O", "O.OCC", "CCO.[Na+]", "[2H]OCC"):
        assert group_key(from_smiles(smiles)) == f"inchikey:{ethanol}"
    assert group_key(from_smiles("CO.CN")) == group_key(from_smiles("CN.CO"))
    assert group_key(from_smiles("O.O.O")) == "composition:H6O3"
    left, right = from_smiles("C[C@H](N)C(=O)O"), from_smiles("C[C@@H](N)C(=O)O")
    assert group_key(left) == group_key(right)
