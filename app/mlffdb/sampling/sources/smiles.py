"""Molecules from SMILES."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mlffdb.errors import InvalidStructureError
from mlffdb.sampling.input_file import InputFile
from mlffdb.sampling.items import Item
from mlffdb.sampling.molecule_item import molecule_item
from mlffdb.sampling.source import Source, Work
from mlffdb.structures import Rejection


class Smiles(Source):
    """Molecules written as SMILES, in the plan or in a file; charge and spin follow from them.

    A file holds one SMILES at the start of each line; empty lines and those that start with ``#``
    are passed over. The same text twice is one molecule.
    """

    type: Literal["smiles"] = "smiles"
    smiles: tuple[str, ...] = Field(default=(), description="SMILES in the plan")
    file: InputFile | None = Field(default=None, description="file of SMILES, relative to the plan")

    gives_molecules: ClassVar[bool] = True
    default_domain: ClassVar[str] = "organic"

    @model_validator(mode="after")
    def _some(self) -> Smiles:
        if not self.smiles and self.file is None:
            raise ValueError("needs 'smiles' (a list) or 'file'")
        return self

    def texts(self) -> list[str]:
        """Return every SMILES once, those of the plan first."""
        return list(dict.fromkeys((*self.smiles, *self._lines())))

    def _lines(self) -> Iterator[str]:
        if self.file is not None:
            with self.file.open(encoding="utf-8") as lines:
                for line in lines:
                    if line.strip() and not line.startswith("#"):
                        yield line.split()[0]

    def work(self) -> Iterator[Work]:
        for text in self.texts():
            yield Work({"smiles": text}, parents=0)

    def build(
        self,
        payload: Mapping[str, Any],
        domain: str,
        seed: int,  # noqa: ARG002
    ) -> Iterator[Item | Rejection]:
        from mlffdb.structures.molecules import from_smiles

        text = payload["smiles"]
        yield molecule_item(from_smiles(text), self.type, text, domain)

    def problems(self) -> Iterator[str]:
        from mlffdb.structures.molecules import from_smiles

        for text in self.texts():
            try:
                from_smiles(text)
            except InvalidStructureError as error:
                yield str(error)
