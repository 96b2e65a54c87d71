"""Names in a plan: element symbols and suggestions for misspelt ones."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated

from ase.data import atomic_numbers
from pydantic import AfterValidator

from mlffdb.structures.structure import MAX_ATOMIC_NUMBER


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """Return what to write instead of *name*: the nearest allowed one, and all of them."""
    names = list(allowed)
    by_lower = {known.lower(): known for known in names}
    near = get_close_matches(name.lower(), by_lower, n=1)
    hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
    return f"{hint}known: {', '.join(names)}"


def _element(symbol: str) -> str:
    if not 1 <= atomic_numbers.get(symbol, 0) <= MAX_ATOMIC_NUMBER:
        raise ValueError(f"{symbol!r} is no element's symbol")
    return symbol


#: An element's symbol.
Symbol = Annotated[str, AfterValidator(_element)]
