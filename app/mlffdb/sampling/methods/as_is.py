"""The source's own structures and nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mlffdb.sampling.items import Context, Item
from mlffdb.sampling.method import Method, Pool
from mlffdb.structures import Candidate, Rejection


class AsIs(Method):
    """Say in a plan that the source's structures are stored as they are; they always are."""

    type: Literal["as_is"] = "as_is"

    def expected(self, pool: Pool) -> tuple[int, Pool]:
        return 0, pool

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:  # noqa: ARG002
        return iter(())
