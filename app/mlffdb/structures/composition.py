"""Formula, elements and domain of a structure."""

from __future__ import annotations

import math

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike

#: Elements that molecules of organic chemistry and biochemistry are made of.
ORGANIC_ELEMENTS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53})


def hill_formula(numbers: ArrayLike) -> str:
    """Return the Hill formula: C, H, then the rest by symbol; by symbol alone without C."""
    elements, counts = element_counts(numbers)
    amount = {chemical_symbols[z]: n for z, n in zip(elements, counts, strict=True)}
    head = [symbol for symbol in ("C", "H") if symbol in amount] if "C" in amount else []
    symbols = head + sorted(set(amount) - set(head))
    return "".join(s if amount[s] == 1 else f"{s}{amount[s]}" for s in symbols)


def element_counts(numbers: ArrayLike) -> tuple[list[int], list[int]]:
    """Return the sorted atomic numbers that occur, and how often each does."""
    counts = np.bincount(np.asarray(numbers, dtype=np.intp))
    elements = np.flatnonzero(counts)
    return elements.tolist(), counts[elements].tolist()


def guess_domain(numbers: ArrayLike, n_periodic: int) -> str:
    """Return the domain of a structure of which only the composition is known.

    ``organic`` where carbon is present and all elements are those of organic chemistry, else
    ``inorganic``; a periodic structure counts as organic only with hydrogen too.
    """
    elements = set(element_counts(numbers)[0])
    organic = 6 in elements and elements <= ORGANIC_ELEMENTS
    if n_periodic:
        organic = organic and 1 in elements
    return "organic" if organic else "inorganic"


def composition_key(numbers: ArrayLike, n_periodic: int) -> str:
    """Return the group key of a structure whose bonds nobody knows: ``composition:<formula>``.

    It is coarse on purpose: frames of one trajectory and conformers of one molecule share it, so
    none of them leaks from one split into another. The formula of a periodic structure is
    reduced, so that a cell and its repeats share it too.
    """
    counts = np.bincount(np.asarray(numbers, dtype=np.intp))
    if n_periodic:
        counts //= math.gcd(*counts.tolist())
    return f"composition:{hill_formula(np.repeat(np.arange(len(counts)), counts))}"
