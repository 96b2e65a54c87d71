"""Crystals from prototypes and lists of elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mlffdb.sampling.crystals import (
    PROTOTYPES,
    balanced_charges,
    compound_name,
    lattice_constant,
    repeats,
)
from mlffdb.sampling.items import Item
from mlffdb.sampling.names import Symbol, suggestion
from mlffdb.sampling.source import Source, Work
from mlffdb.structures import Rejection, Structure


class Crystal(BaseModel):
    """A prototype and the elements of its sites: A and B cations or metals, X the anion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prototype: str
    A: tuple[Symbol, ...] = Field(min_length=1)
    B: tuple[Symbol, ...] = ()
    X: tuple[Symbol, ...] = ()
    charges: Literal["balanced", "any"] = Field(
        default="balanced",
        description="take only what can be neutral with usual oxidation states, or all",
    )

    @field_validator("prototype")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PROTOTYPES:
            raise ValueError(f"unknown prototype {name!r}; {suggestion(name, PROTOTYPES)}")
        return name

    @model_validator(mode="after")
    def _sites_fit(self) -> Crystal:
        wanted = PROTOTYPES[self.prototype].letters
        given = [letter for letter in "ABX" if getattr(self, letter)]
        if given != wanted:
            raise ValueError(
                f"{self.prototype} has the sites {', '.join(wanted)}, but elements are given for "
                f"{', '.join(given)}"
            )
        if not self.takes():
            raise ValueError(
                f"no combination of these elements is neutral as {self.prototype}; for alloys say "
                "'charges: any'"
            )
        return self

    def takes(self) -> list[dict[str, str]]:
        """Return the elements by letter of each crystal that is made."""
        return [elements for elements in self._all() if self._takes(elements)]

    def leaves(self) -> list[dict[str, str]]:
        """Return those that are left out because no oxidation states balance."""
        return [elements for elements in self._all() if not self._takes(elements)]

    def _all(self) -> Iterator[dict[str, str]]:
        letters = PROTOTYPES[self.prototype].letters
        for chosen in product(*(getattr(self, letter) for letter in letters)):
            if len(set(chosen)) == len(chosen):
                yield dict(zip(letters, chosen, strict=True))

    def _takes(self, elements: dict[str, str]) -> bool:
        prototype = PROTOTYPES[self.prototype]
        if len(elements) == 1 or self.charges == "any":
            return True
        return balanced_charges(prototype, elements) is not None


class Prototypes(Source):
    """Crystals by substitution of elements into prototypes, repeated to a smallest size.

    Lattice constants are ASE's measured ones where it has them, else estimates from ionic or
    covalent radii, within about 5 per cent; ``strain`` covers the rest.
    """

    type: Literal["prototypes"] = "prototypes"
    crystals: tuple[Crystal, ...] = Field(min_length=1, description="prototypes with elements")
    min_atoms: int = Field(default=10, ge=1, le=1000, description="atoms that a cell has at least")

    periodic: ClassVar[bool | None] = True
    default_domain: ClassVar[str] = "inorganic"

    def work(self) -> Iterator[Work]:
        seen = set()
        for crystal in self.crystals:
            for elements in crystal.takes():
                name = f"{compound_name(PROTOTYPES[crystal.prototype], elements)}"
                if (crystal.prototype, name) not in seen:
                    seen.add((crystal.prototype, name))
                    yield Work({"prototype": crystal.prototype, "elements": elements})

    def build(
        self,
        payload: Mapping[str, Any],
        domain: str,
        seed: int,  # noqa: ARG002
    ) -> Iterator[Item | Rejection]:
        name, elements = payload["prototype"], payload["elements"]
        prototype = PROTOTYPES[name]
        a = lattice_constant(name, elements)
        cell = np.array(prototype.cell) * a
        atoms = Atoms(
            symbols=[elements[letter] for letter, _ in prototype.sites],
            scaled_positions=[place for _, place in prototype.sites],
            cell=cell,
            pbc=True,
        )
        times = repeats(cell, len(atoms), self.min_atoms)
        key = f"{compound_name(prototype, elements)}-{name}"
        item = Item(self.type, key, domain, (f"prototype:{key}",))
        facts = {"prototype": name, "lattice_constant_A": round(a, 6), "repeat": list(times)}
        item.give(Structure.from_atoms(atoms.repeat(times)), facts)
        yield item

    def problems(self) -> Iterator[str]:
        for crystal in self.crystals:
            for elements in crystal.leaves():
                name = compound_name(PROTOTYPES[crystal.prototype], elements)
                yield f"{name} as {crystal.prototype}: no usual oxidation states balance; left out"
