"""Where a structure came from, and what a reader or a sampler hands to the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mlffdb.structures.structure import Structure


@dataclass(frozen=True, slots=True)
class Origin:
    """One way in which a structure was found; a structure can have many."""

    #: Kind of source: ``file``, ``smiles``, ``prototype``, ``g2`` …
    source: str
    #: What was done to get it: ``import``, ``etkdg``, ``normal_modes``, ``md``, ``rattle`` …
    method: str
    #: File as the user named it, and the index of the structure in it.
    file: str | None = None
    index: int | None = None
    #: The structure that it was made from.
    parent: UUID | None = None
    #: Parameters of the method with units in their names or as the method documents them.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    #: SMILES with explicit atoms where the bonds are known.
    smiles: str | None = None
    #: Keys that tie structures into one leakage-free component: ``inchikey:…``, ``sequence:…``,
    #: ``trajectory:…``, ``prototype:…``. Of the solute or the whole composition, never of each
    #: fragment.
    group_keys: tuple[str, ...] = ()

    def key(self) -> UUID:
        """Return what makes this origin the same one when it is found again."""
        content = json.dumps(
            [
                self.source,
                self.method,
                self.file,
                self.index,
                str(self.parent),
                dict(self.parameters),
                self.seed,
                self.smiles,
                sorted(self.group_keys),
            ],
            sort_keys=True,
            default=str,
        )
        return UUID(bytes=hashlib.sha256(content.encode()).digest()[:16])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A structure offered to the store, with where it came from."""

    structure: Structure
    origin: Origin
    #: ``organic``, ``biomolecule``, ``inorganic`` … (lower case, digits, ``_`` and ``-``)
    domain: str
    #: Free marks such as ``reference`` (isolated atoms, dimers: exempt from some checks).
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that was read or sampled and cannot be a structure."""

    file: str | None
    index: int | None
    #: Short reason to group counts by: ``not_finite``, ``no_hydrogens``, ``unreadable`` …
    code: str
    reason: str
