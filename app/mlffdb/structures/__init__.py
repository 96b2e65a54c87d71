"""What a structure is: its value, identity, composition and provenance, and reading files."""

from mlffdb.structures.arrays import StructureArrays
from mlffdb.structures.identity import structure_id
from mlffdb.structures.provenance import Candidate, Origin, Rejection
from mlffdb.structures.structure import Structure

__all__ = ["Candidate", "Origin", "Rejection", "Structure", "StructureArrays", "structure_id"]
