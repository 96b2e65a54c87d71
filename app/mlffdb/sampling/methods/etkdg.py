"""Conformers by distance geometry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from mlffdb.sampling.items import Context, Item, Parent
from mlffdb.sampling.method import Method, Pool
from mlffdb.sampling.seeds import rdkit_seed
from mlffdb.structures import Candidate, Rejection


class Etkdg(Method):
    """Conformers by RDKit's ETKDG version 3; they become the item's parents.

    Wang, Witek, Landrum, Riniker, J. Chem. Inf. Model. 60, 2044 (2020).
    """

    type: Literal["etkdg"] = "etkdg"
    count: int = Field(default=1, ge=1, description="conformers of each molecule")

    needs: ClassVar[Literal["molecule", "isolated", "periodic", "any"]] = "molecule"
    places_atoms: ClassVar[bool] = True

    def expected(self, pool: Pool) -> tuple[int, Pool]:  # noqa: ARG002
        return self.count, (None,) * self.count

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        from mlffdb.structures.molecules import embed, structure_from_mol

        seed = rdkit_seed(context.seed)
        conformers = embed(item.molecule, self.count, seed)
        item.parents = []
        for index, conformer in enumerate(conformers):
            structure = structure_from_mol(item.molecule, conformer)
            item.parents.append(Parent.of(structure))
            yield item.candidate(structure, self.type, parameters={"index": index}, seed=seed)
        for _ in range(self.count - len(conformers)):
            yield item.rejection("not_embedded", "RDKit finds no coordinates for a conformer")
