"""SDF, MOL and MOL2 through RDKit, record by record, with explicit hydrogens always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.provenance import Candidate, Rejection
from mlffdb.structures.readers.molecule_records import candidate_from_mol
from mlffdb.structures.readers.source import Source, split_records

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def read_sdf(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each record of an SDF or MOL file becomes (see `candidate_from_mol`)."""
    with source.lines() as lines:
        records = split_records(lines, end=lambda line: line.startswith("$$$$"))
        yield from _read(source, records, _mol_from_sdf)


def read_mol2(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each molecule of a MOL2 file becomes; RDKit knows Corina's atom types only."""
    with source.lines() as lines:
        records = split_records(lines, start=lambda line: line.startswith("@<TRIPOS>MOLECULE"))
        yield from _read(source, records, _mol_from_mol2)


def _read(
    source: Source, records: Iterator[list[str]], parse: Callable[[str], Mol]
) -> Iterator[Candidate | Rejection]:
    """Yield what the *records* become; a file whose only record is unreadable cannot be read."""
    from rdkit import rdBase

    first: Rejection | None = None
    index = -1
    for index, record in enumerate(records):
        if first is not None:
            yield first
            first = None
        try:
            with rdBase.BlockLogs():
                outcome: Candidate | Rejection = candidate_from_mol(
                    source, parse("".join(record)), index, _title(record)
                )
        except Exception as error:  # RDKit's own errors and ours, for this record only
            outcome = source.reject_error(index, error)
        if index == 0 and isinstance(outcome, Rejection) and outcome.code == "unreadable":
            first = outcome
        else:
            yield outcome
    if index < 0:
        raise source.fail("no molecule found")
    if first is not None:
        raise source.fail(first.reason)


def _title(record: list[str]) -> dict[str, str]:
    name = record[1 if record[0].startswith("@<TRIPOS>") and len(record) > 1 else 0].strip()
    return {"name": name} if name else {}


def _mol_from_sdf(text: str) -> Mol:
    from rdkit import Chem

    mol = Chem.MolFromMolBlock(text, sanitize=False, removeHs=False)
    if mol is None:
        raise InvalidStructureError("unreadable", "not a valid MOL record")
    return _sanitised(mol)


def _mol_from_mol2(text: str) -> Mol:
    from rdkit import Chem

    mol = Chem.MolFromMol2Block(text, sanitize=False, removeHs=False)
    if mol is None:
        raise InvalidStructureError("unreadable", "not a valid MOL2 molecule")
    return _sanitised(mol)


def _sanitised(mol: Mol) -> Mol:
    from rdkit import Chem

    if mol.GetNumAtoms() == 0:
        raise InvalidStructureError("no_atoms", "the record has no atoms")
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise InvalidStructureError("element", "the record has an atom that is no element")
    try:
        Chem.SanitizeMol(mol)
    except ValueError as error:
        raise InvalidStructureError("valence", str(error)) from None
    if mol.GetNumConformers() and mol.GetConformer().Is3D():
        Chem.AssignStereochemistryFrom3D(mol)
    else:
        Chem.AssignStereochemistry(mol, cleanIt=True)
    return mol
