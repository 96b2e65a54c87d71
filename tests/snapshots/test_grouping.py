"""Components: property tests against a plain union-find."""

from __future__ import annotations

from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlffdb.snapshots.grouping import ID, as_ids, as_uuids, find_components

NOBODY = np.zeros((0, 2), dtype=ID)


def uuid(number: int) -> UUID:
    """Return an id whose last bytes are zero, which a careless S16 would lose."""
    return UUID(int=(number + 1) << 64)


numbers = st.integers(0, 30)
pairs = st.lists(st.tuples(numbers, numbers), max_size=40)


def as_pairs(values: list[tuple[int, int]], shift: int = 0) -> np.ndarray:
    if not values:
        return NOBODY
    return np.stack([as_ids([uuid(a), uuid(b + shift)]) for a, b in values])


def by_hand(structures: list[int], links: list, keys: list) -> dict[int, int]:
    groups = {("s", n): {("s", n)} for n in range(31)} | {("k", n): {("k", n)} for n in range(31)}
    edges = [(("s", a), ("s", b)) for a, b in links] + [(("s", a), ("k", b)) for a, b in keys]
    for a, b in edges:
        joined = groups[a] | groups[b]
        for member in joined:
            groups[member] = joined
    known = set(structures)
    return {s: min(n for kind, n in groups["s", s] if kind == "s" and n in known) for s in known}


@given(st.lists(numbers, unique=True, min_size=1), pairs, pairs, st.randoms())
def test_components_are_those_of_a_plain_union_find(structures, links, keys, random):
    expected = by_hand(structures, links, keys)
    random.shuffle(links)
    random.shuffle(keys)
    found = find_components(
        as_ids(map(uuid, structures)), as_pairs(links), as_pairs(keys, shift=1000)
    )
    assert as_uuids(found) == [uuid(expected[s]) for s in structures]


def test_children_of_a_parent_that_is_gone_belong_together():
    a, b, c, gone = (uuid(n) for n in (3, 1, 2, 9))
    links = np.stack([as_ids([a, gone]), as_ids([b, gone])])
    assert as_uuids(find_components(as_ids([a, b, c]), links, NOBODY)) == [b, b, c]


def test_grouping_is_vectorised():
    import time

    rng = np.random.default_rng(0)
    n = 200_000  # a loop over rows in Python would take longer than this allows
    ids = np.frombuffer(rng.bytes(16 * n), dtype=ID)
    links = np.stack([ids, ids[rng.integers(0, n, n) // 10 * 10]], axis=1)
    start = time.perf_counter()
    found = find_components(ids, links, NOBODY)
    assert time.perf_counter() - start < 6
    assert len(found) == n
    assert (found <= ids).all()
