"""The contract of a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mlffdb.sampling.items import Item
from mlffdb.sampling.registry import Registry
from mlffdb.structures import Rejection


@dataclass(frozen=True, slots=True)
class Work:
    """One task's share of a source, before anything is built."""

    #: Small, JSON, without floats; the source builds its items from this alone.
    payload: dict[str, Any]
    #: Items in it, and structures that the source gives with each (0 for molecules).
    items: int = 1
    parents: int = 1


class Source(BaseModel, ABC):
    """Where items come from; the fields are the keys of a plan.

    A subclass sets ``type: Literal["name"] = "name"``, the class variables, and the two methods.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str

    #: Whether items are molecules with bonds but without coordinates.
    gives_molecules: ClassVar[bool] = False
    #: Whether its structures are periodic; None where only the item tells.
    periodic: ClassVar[bool | None] = False
    #: Domain where the block states none; empty where the source tells it for each item.
    default_domain: ClassVar[str] = ""

    @abstractmethod
    def work(self) -> Iterator[Work]:
        """Enumerate the tasks; cheap, nothing three-dimensional is built."""

    @abstractmethod
    def build(
        self, payload: Mapping[str, Any], domain: str, seed: int
    ) -> Iterator[Item | Rejection]:
        """Build the items of one task; the same payload and seed give the same items.

        May raise InvalidStructureError for the payload as a whole; it is counted as rejected.
        """

    def problems(self) -> Iterator[str]:
        """Say what will be rejected, as far as can be told without building it."""
        return iter(())


SOURCES = Registry(Source, "mlffdb.sampling.sources", "mlffdb.sources")
