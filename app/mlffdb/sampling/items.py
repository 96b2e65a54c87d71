"""What a source hands to the methods: an item with its parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from mlffdb.structures import Candidate, Origin, Rejection, Structure, structure_id

if TYPE_CHECKING:
    from rdkit.Chem import Mol

    from mlffdb.sampling.engines import EngineCache


@dataclass(frozen=True, eq=False, slots=True)
class Parent:
    """A structure that methods start from; it is among the stored ones."""

    structure: Structure
    id: UUID
    #: Engine (`EngineSpec.label`) and force limit that it is a minimum of, or None.
    minimum_of: str | None = None

    @classmethod
    def of(cls, structure: Structure, minimum_of: str | None = None) -> Parent:
        """Return *structure* with its identity."""
        return cls(structure, structure_id(structure), minimum_of)


@dataclass(eq=False, slots=True)
class Item:
    """One molecule, crystal, pair or structure of a file, on its way through a block's methods."""

    #: Name of the source, for the origins.
    source: str
    #: JSON value that tells this item from all others of its block; seeds follow from it.
    key: Any
    domain: str
    group_keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    smiles: str | None = None
    file: str | None = None
    index: int | None = None
    #: Bonds, where they are known; its atoms are in the order of the parents' atoms.
    molecule: Mol | None = None
    parents: list[Parent] = field(default_factory=list)
    #: What is stored of the parents that the source gave.
    given: list[Candidate] = field(default_factory=list)

    def give(
        self, structure: Structure, parameters: Mapping[str, Any], seed: int | None = None
    ) -> None:
        """Add a structure of the source itself: a parent that is stored as it is."""
        self.parents.append(Parent.of(structure))
        self.given.append(self.candidate(structure, "as_is", parameters=parameters, seed=seed))

    def candidate(
        self,
        structure: Structure,
        method: str,
        *,
        parameters: Mapping[str, Any],
        seed: int | None = None,
        parent: Parent | None = None,
        group_keys: Sequence[str] = (),
    ) -> Candidate:
        """Return *structure* with its origin."""
        origin = Origin(
            source=self.source,
            method=method,
            file=self.file,
            index=self.index,
            parent=None if parent is None else parent.id,
            parameters=dict(parameters),
            seed=seed,
            smiles=self.smiles,
            group_keys=(*self.group_keys, *group_keys),
        )
        return Candidate(structure, origin, self.domain, self.tags)

    def rejection(self, code: str, reason: str) -> Rejection:
        """Return why something of this item was not made."""
        name = self.key if isinstance(self.key, str) else f"{self.file or self.key}"
        return Rejection(self.file, self.index, code, f"{name}: {reason}")


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """What a method works with besides the item."""

    #: Seed of this method on this item; it goes into the origins.
    seed: int
    #: Generator started from ``seed``.
    rng: np.random.Generator
    engines: EngineCache
