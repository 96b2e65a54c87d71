"""SMILES files: one molecule a line, then perhaps a name; hydrogens added, one conformer each."""

from __future__ import annotations

from collections.abc import Iterator

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.molecules import from_smiles
from mlffdb.structures.provenance import Candidate, Rejection
from mlffdb.structures.readers.molecule_records import candidate_from_mol
from mlffdb.structures.readers.source import Source

_HEADERS = ("smiles", "smi", "canonical_smiles")


def read_smiles(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each line becomes; blank lines, ``#`` comments and a header line do not count.

    Raises ReadError where there is no line.
    """
    index = 0
    with source.lines() as lines:
        for number, line in enumerate(lines, start=1):
            words = line.split(maxsplit=1)
            if not words or words[0].startswith("#"):
                continue
            if index == 0 and words[0].lower() in _HEADERS:
                continue
            yield _read_line(source, words, index, number)
            index += 1
    if index == 0:
        raise source.fail("no SMILES found")


def _read_line(source: Source, words: list[str], index: int, number: int) -> Candidate | Rejection:
    from rdkit import rdBase

    parameters = {"name": words[1].strip()} if len(words) > 1 else {}
    try:
        with rdBase.BlockLogs():
            return candidate_from_mol(source, from_smiles(words[0]), index, parameters)
    except InvalidStructureError as error:
        return source.reject(index, error.code, f"line {number}: {error}")
    except Exception as error:  # RDKit's own, for this line only
        return source.reject_error(index, error)
