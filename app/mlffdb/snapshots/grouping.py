"""Leakage-free groups: structures tied by descent, by a shared key or by near-duplication.

Ids travel as numpy ``S16``: 16 raw bytes, whose order is that of PostgreSQL's uuid.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

#: 16 raw bytes of a uuid. Only ``tobytes`` gives them whole: an element drops trailing zeros.
ID = np.dtype("S16")
Ids = NDArray[np.bytes_]


def as_ids(values: Iterable[UUID]) -> Ids:
    """Return *values* as an (n,) array of ids."""
    return np.frombuffer(b"".join(value.bytes for value in values), dtype=ID)


def as_uuids(ids: Ids) -> list[UUID]:
    """Return an (n,) array of ids as UUIDs."""
    data = np.ascontiguousarray(ids).tobytes()
    return [UUID(bytes=data[start : start + 16]) for start in range(0, len(data), 16)]


def find_components(structures: Ids, links: Ids, keys: Ids) -> Ids:
    """Return the (n,) component of each of the (n,) *structures*: its smallest structure id.

    links: (m, 2) ids of two structures that belong together (child and parent, near-duplicates);
        one that is no structure here still ties all that name it
    keys: (k, 2) structure id and hash of a key; structures with the same key belong together

    Union-find over all of them (scipy's connected components). The order of rows does not matter.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(structures)
    links, keys = links.reshape(-1, 2), keys.reshape(-1, 2)
    ids, codes = np.unique(
        np.concatenate([structures, links.ravel(), keys[:, 0]]), return_inverse=True
    )
    own, linked, keyed = np.split(codes, [n, n + links.size])
    key_ids, key_codes = np.unique(keys[:, 1], return_inverse=True)
    rows = np.concatenate([linked[0::2], keyed])
    columns = np.concatenate([linked[1::2], len(ids) + key_codes])
    size = len(ids) + len(key_ids)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    count, component = connected_components(graph, directed=False)
    smallest = np.full(count, size, dtype=np.int64)
    np.minimum.at(smallest, component[own], own)  # ids are sorted: a smaller code, a smaller id
    result: Ids = ids[smallest[component[own]]]
    return result
