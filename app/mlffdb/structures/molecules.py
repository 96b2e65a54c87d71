"""Molecules with bonds: SMILES, hydrogens, conformers, and the keys that tie structures together.

RDKit's molecules stay inside this module's callers; what leaves is a Structure, a SMILES or a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.composition import hill_formula
from mlffdb.structures.packing import spread_fragments
from mlffdb.structures.structure import Structure

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: Iterations of the optional MMFF94 relaxation of a conformer.
MMFF_ITERATIONS = 500
_LARGEST_SEED = 2**31 - 1


def from_smiles(smiles: str) -> Mol:
    """Return the molecule of *smiles* with all hydrogens explicit.

    Explicit atoms keep the order of the SMILES; added hydrogens come after them. Raises
    InvalidStructureError with ``smiles`` (cannot be parsed, impossible valence), ``element``
    (a wildcard) or ``no_atoms``.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        options = Chem.SmilesParserParams()
        options.removeHs = False
        mol = Chem.MolFromSmiles(smiles, options)
        if mol is None:
            raise InvalidStructureError("smiles", f"SMILES {smiles!r}: {_smiles_fault(smiles)}")
        if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
            raise InvalidStructureError("element", f"SMILES {smiles!r} has a wildcard atom")
        if mol.GetNumAtoms() == 0:
            raise InvalidStructureError("no_atoms", f"SMILES {smiles!r} has no atoms")
        return Chem.AddHs(mol)


def _smiles_fault(smiles: str) -> str:
    from rdkit import Chem

    options = Chem.SmilesParserParams()
    options.sanitize = False
    options.removeHs = False
    mol = Chem.MolFromSmiles(smiles, options)
    if mol is None:
        return "cannot be parsed"
    try:
        Chem.SanitizeMol(mol)
    except ValueError as error:
        return str(error).strip()
    return "cannot be understood"


def structure_from_mol(mol: Mol, conf_id: int = -1) -> Structure:
    """Return the structure of one conformer, atoms in the order of *mol*.

    Charge is the formal charge; multiplicity is the number of radical electrons + 1, or None
    where their number does not fit the electron count. Raises InvalidStructureError.
    """
    numbers = atomic_numbers(mol)
    charge, multiplicity = charge_and_multiplicity(mol)
    positions = mol.GetConformer(conf_id).GetPositions()
    return Structure(numbers, positions, charge=charge, multiplicity=multiplicity)


def atomic_numbers(mol: Mol) -> np.ndarray:
    """Return the (n_atoms,) atomic numbers in the order of *mol*."""
    return np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)


def charge_and_multiplicity(mol: Mol) -> tuple[int, int | None]:
    """Return formal charge (e) and multiplicity (radical electrons + 1, or None if impossible)."""
    charge = sum(atom.GetFormalCharge() for atom in mol.GetAtoms())
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    electrons = int(atomic_numbers(mol).sum()) - charge
    return charge, unpaired + 1 if (electrons - unpaired) % 2 == 0 else None


def mapped_smiles(mol: Mol) -> str:
    """Return a SMILES with every atom explicit and its map number = index in *mol* + 1."""
    from rdkit import Chem

    copy = Chem.Mol(mol)
    for atom in copy.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    return str(Chem.MolToSmiles(copy))


def inchikey_block(mol: Mol) -> str:
    """Return the first block of the InChIKey: the skeleton without stereo and isotopes.

    Raises InvalidStructureError (``inchi``) where InChI has no name for *mol*.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        key = str(Chem.MolToInchiKey(mol))
    if not key:
        raise InvalidStructureError("inchi", "InChI has no name for this molecule")
    return key.split("-", maxsplit=1)[0]


def group_key(mol: Mol) -> str:
    """Return the key that ties all structures of a molecule into one leakage-free component.

    ``inchikey:<block>`` of the solute, which is the largest fragment that is not water;
    ``composition:<formula>`` where all is water; ``smiles:…`` where InChI has no name.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        fragments = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)
    solutes = [fragment for fragment in fragments if not _is_water(fragment)]
    if not solutes:
        return f"composition:{hill_formula(atomic_numbers(mol))}"
    largest = max(_size(solute) for solute in solutes)
    return min(_molecule_key(solute) for solute in solutes if _size(solute) == largest)


def _molecule_key(mol: Mol) -> str:
    from rdkit import Chem

    try:
        return f"inchikey:{inchikey_block(mol)}"
    except InvalidStructureError:
        return f"smiles:{Chem.MolToSmiles(mol, isomericSmiles=False)}"


def _size(mol: Mol) -> tuple[int, int]:
    return mol.GetNumHeavyAtoms(), mol.GetNumAtoms()


def _is_water(mol: Mol) -> bool:
    return sorted(atomic_numbers(mol).tolist()) == [1, 1, 8] and charge_and_multiplicity(mol) == (
        0,
        1,
    )


def embed(mol: Mol, count: int, seed: int, *, optimise: bool = False) -> list[int]:
    """Replace the conformers of *mol* by up to *count* new ones; return their ids.

    ETKDGv3 (Wang, Witek, Landrum and Riniker 2020, doi:10.1021/acs.jcim.0c00025), then MMFF94
    with *optimise* where it has parameters. Molecules of a cluster are embedded one by one and
    put side by side, each at a random angle and in contact. The same molecule, seed and RDKit
    give the same conformers. The list is empty where embedding fails.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdDistGeom

    with rdBase.BlockLogs():
        options = rdDistGeom.ETKDGv3()
        options.randomSeed = seed % _LARGEST_SEED
        options.numThreads = 1
        ids = list(rdDistGeom.EmbedMultipleConfs(mol, count, options))
        if not ids:
            options.useRandomCoords = True
            ids = list(rdDistGeom.EmbedMultipleConfs(mol, count, options))
        _place_fragments(mol, ids, options.randomSeed)
        if optimise and ids:
            _optimise(mol)
    return ids


def _place_fragments(mol: Mol, ids: list[int], seed: int) -> None:
    """Move the fragments apart: RDKit puts all of them at the origin, on top of each other."""
    from rdkit import Chem

    fragments = [np.array(indices) for indices in Chem.GetMolFrags(mol)]
    if len(fragments) < 2:
        return
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRvdw(atom.GetAtomicNum()) for atom in mol.GetAtoms()])
    for conf_id in ids:
        conformer = mol.GetConformer(conf_id)
        random = np.random.default_rng([seed, conf_id])
        conformer.SetPositions(spread_fragments(conformer.GetPositions(), fragments, radii, random))


def _optimise(mol: Mol) -> None:
    from rdkit.Chem import rdForceFieldHelpers

    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=MMFF_ITERATIONS)
