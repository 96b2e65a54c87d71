"""Capped peptides from sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from mlffdb.errors import InvalidStructureError
from mlffdb.sampling.amino_acids import capped_smiles, hydrogens, parse_sequence
from mlffdb.sampling.items import Item
from mlffdb.sampling.molecule_item import molecule_item
from mlffdb.sampling.source import Source, Work
from mlffdb.structures import Rejection


class Peptides(Source):
    """L-peptides between an acetyl and an N-methylamide cap, all hydrogens checked."""

    type: Literal["peptides"] = "peptides"
    sequences: tuple[str, ...] = Field(min_length=1, description="such as ALA-GLY or AG")
    protonation: Literal["neutral", "ph7"] = Field(
        default="neutral", description="uncharged side chains, or Asp⁻ Glu⁻ Lys⁺ Arg⁺"
    )

    gives_molecules: ClassVar[bool] = True
    default_domain: ClassVar[str] = "biomolecule"

    @field_validator("sequences")
    @classmethod
    def _canonical(cls, sequences: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys("-".join(parse_sequence(text)) for text in sequences))

    def work(self) -> Iterator[Work]:
        for sequence in self.sequences:
            yield Work({"sequence": sequence}, parents=0)

    def build(
        self,
        payload: Mapping[str, Any],
        domain: str,
        seed: int,  # noqa: ARG002
    ) -> Iterator[Item | Rejection]:
        from mlffdb.structures.molecules import atomic_numbers, from_smiles

        sequence = payload["sequence"]
        codes, charged = tuple(sequence.split("-")), self.protonation == "ph7"
        molecule = from_smiles(capped_smiles(codes, charged=charged))
        found, known = int((atomic_numbers(molecule) == 1).sum()), hydrogens(codes, charged=charged)
        if found != known:
            raise InvalidStructureError(
                "hydrogens", f"peptide {sequence}: {found} hydrogens, not {known}"
            )
        keys = (f"sequence:{sequence}",)
        yield molecule_item(molecule, self.type, sequence, domain, keys)
