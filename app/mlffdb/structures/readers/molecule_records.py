"""From an RDKit molecule of a file to a candidate: hydrogens explicit, three dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.molecules import embed, group_key, mapped_smiles, structure_from_mol
from mlffdb.structures.provenance import Candidate
from mlffdb.structures.readers.source import Source

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: Seed of the one conformer that a record without coordinates gets.
EMBED_SEED = 1
#: A radical with more unpaired electrons is a molecule whose hydrogens are missing.
MAX_UNPAIRED = 2
#: Bond of an added hydrogen to its atom, Å: nearer or farther means that it has no place.
HYDROGEN_BOND = (0.5, 2.5)


def candidate_from_mol(
    source: Source, mol: Mol, index: int, parameters: dict[str, Any]
) -> Candidate:
    """Return the candidate for *mol*, which is sanitised and has its conformer if it came with one.

    Hydrogens that are implicit are added, with coordinates where the others have them. Raises
    InvalidStructureError (``no_hydrogens``, ``embedding_failed``, ``charge`` …).
    """
    in_space = has_coordinates(mol)
    whole = _with_hydrogens(mol, in_space)
    added = whole.GetNumAtoms() - mol.GetNumAtoms()
    if added:
        parameters = {**parameters, "hydrogens_added": added}
    if not in_space and not embed(whole, 1, EMBED_SEED):
        raise InvalidStructureError("embedding_failed", "no three-dimensional shape was found")
    structure = structure_from_mol(whole)
    check_charge(source, structure.charge)
    return source.accept(
        structure,
        index,
        method="import" if in_space else "etkdg",
        parameters=parameters,
        smiles=mapped_smiles(whole),
        seed=None if in_space else EMBED_SEED,
        group_key=group_key(whole),
    )


def check_charge(source: Source, formal: int) -> None:
    """Refuse a charge stated for the whole file that the bonds of this molecule contradict."""
    if source.charge is not None and source.charge != formal:
        raise InvalidStructureError(
            "charge", f"charge {source.charge} is stated, but the formal charge is {formal}"
        )


def has_coordinates(mol: Mol) -> bool:
    """Whether *mol* has a conformer in three dimensions whose atoms are not all in one place."""
    if mol.GetNumConformers() == 0:
        return False
    conformer = mol.GetConformer()
    if mol.GetNumAtoms() == 1:
        return True
    return bool(conformer.Is3D() and np.ptp(conformer.GetPositions(), axis=0).any())


def _with_hydrogens(mol: Mol, in_space: bool) -> Mol:
    from rdkit import Chem

    whole = Chem.AddHs(mol, addCoords=in_space)
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in whole.GetAtoms())
    if unpaired > MAX_UNPAIRED:
        raise InvalidStructureError(
            "no_hydrogens",
            f"{unpaired} unpaired electrons: hydrogens are missing and the record forbids adding",
        )
    if in_space:
        _check_added(whole, mol.GetNumAtoms())
    return whole


def _check_added(mol: Mol, first: int) -> None:
    positions = mol.GetConformer().GetPositions()
    for index in range(first, mol.GetNumAtoms()):
        neighbour = mol.GetAtomWithIdx(index).GetNeighbors()[0].GetIdx()
        distance = np.linalg.norm(positions[index] - positions[neighbour])
        if not HYDROGEN_BOND[0] < distance < HYDROGEN_BOND[1]:
            raise InvalidStructureError("no_hydrogens", "an added hydrogen found no place")
