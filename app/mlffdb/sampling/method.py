"""The contract of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlffdb.sampling.items import Context, Item
from mlffdb.sampling.registry import Registry
from mlffdb.structures import Candidate, Rejection

#: Parents of an item while a plan is counted: for each, what it is a minimum of.
Pool = tuple[str | None, ...]


class Method(BaseModel, ABC):
    """What is done with an item; the fields are the keys of a plan.

    A subclass sets ``type: Literal["name"] = "name"``, ``needs``, and the two methods.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    parents: int = Field(
        default=1, ge=1, description="how many of the item's parents it starts from"
    )

    #: What it can start from: a molecule with bonds, isolated structures, crystals, anything.
    needs: ClassVar[Literal["molecule", "isolated", "periodic", "any"]] = "any"
    #: Whether it gives coordinates to a molecule that has none.
    places_atoms: ClassVar[bool] = False

    @abstractmethod
    def expected(self, pool: Pool) -> tuple[int, Pool]:
        """Return how many structures come from an item with *pool*, and the parents afterwards."""

    @abstractmethod
    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        """Make the structures, and put new parents into *item* where the method says so.

        All randomness comes from ``context``. An engine's failure and InvalidStructureError may
        be raised: they end this method on this item with a rejection, and the next one goes on.
        """


METHODS = Registry(Method, "mlffdb.sampling.methods", "mlffdb.methods")
