"""Members of a frozen version, read in chunks in the order and form of their file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mlffdb.snapshots.copying import copy_bytes, copy_out
from mlffdb.store.database import Database

_ROWS = 8192  # structures per chunk, at most
_ATOMS = 262_144  # atoms per chunk, unless one structure alone has more: 12 MB

_NO_STRESS = "7ff8000000000000" * 6  # NaN
_NO_CELL = "00" * 72

#: One row of long byte strings per chunk: the server concatenates, the client only looks.
#: Without parallel workers, which could mix up the order (it is checked all the same).
_CHUNK = f"""SELECT
    string_agg(int4send(position), ''::bytea), string_agg(uuid_send(structure_id), ''::bytea),
    string_agg(uuid_send(component_id), ''::bytea), string_agg(numbers, ''::bytea),
    string_agg(positions, ''::bytea), string_agg(source_order, ''::bytea),
    string_agg(coalesce(cell, '\\x{_NO_CELL}'::bytea), ''::bytea),
    string_agg(int2send(pbc), ''::bytea), string_agg(int2send(charge), ''::bytea),
    string_agg(int2send(multiplicity), ''::bytea),
    string_agg(int4send(domain), ''::bytea), string_agg(float8send(energy), ''::bytea),
    string_agg(int4send(octet_length(forces)), ''::bytea), string_agg(forces, ''::bytea),
    string_agg(coalesce(float8send(stress[1]) || float8send(stress[2]) || float8send(stress[3])
        || float8send(stress[4]) || float8send(stress[5]) || float8send(stress[6]),
        '\\x{_NO_STRESS}'::bytea), ''::bytea)
FROM (SELECT m.position, m.structure_id, m.component_id, s.numbers, s.positions, s.source_order,
        s.cell, s.pbc, s.charge, coalesce(l.multiplicity, s.multiplicity, 0::int2) AS multiplicity,
        array_position(%(domains)s::text[], s.domain) - 1 AS domain, l.energy, l.forces, l.stress
    FROM snapshot_member m
    JOIN structure s ON s.structure_id = m.structure_id
    JOIN label l ON l.structure_id = m.structure_id AND l.teacher_id = m.teacher_id
    WHERE m.snapshot_id = %(snapshot)s AND m.split = %(split)s
        AND m.position >= %(start)s AND m.position < %(stop)s
    ORDER BY m.position) AS members"""
_N_FIELDS = 15


@dataclass(frozen=True, eq=False, slots=True)
class SplitShape:
    """How large a split of a frozen version is."""

    #: (n,) atoms of each member, by position.
    sizes: NDArray[np.int64]
    #: ``<f8`` if any forces of the split are float64, else ``<f4``.
    forces_dtype: str


def domain_names(connection: Connection, snapshot_id: int) -> list[str]:
    """Return the domains of a version's members, sorted."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT domain FROM snapshot_member JOIN structure USING (structure_id)"
        " WHERE snapshot_id = %s",
        (snapshot_id,),
    )
    return sorted(row[0] for row in rows)


def split_shape(connection: Connection, snapshot_id: int, split: str) -> SplitShape:
    """Return the sizes of a split's members."""
    rows = copy_out(
        connection,
        "SELECT l.n_atoms, (octet_length(l.forces) = 24 * l.n_atoms)::int4"
        " FROM snapshot_member m JOIN label l USING (structure_id, teacher_id)"
        " WHERE m.snapshot_id = %(snapshot)s AND m.split = %(split)s ORDER BY m.position",
        {"n_atoms": ">i4", "wide": ">i4"},
        {"snapshot": snapshot_id, "split": split},
    )
    return SplitShape(rows["n_atoms"].astype(np.int64), "<f8" if rows["wide"].any() else "<f4")


def read_batches(
    database: Database, snapshot_id: int, split: str, sizes: NDArray[np.int64], domains: list[str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the split's members in chunks, by `layout.Field.name`, source's atom order.

    Each chunk is a short transaction of its own, the next one read while this one is written.
    """
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    parameters = {"snapshot": snapshot_id, "split": split, "domains": domains}

    def read(start: int, stop: int) -> dict[str, NDArray[Any]]:
        with database.begin() as connection:
            connection.exec_driver_sql("SET LOCAL max_parallel_workers_per_gather = 0")
            row = copy_bytes(connection, _CHUNK, {**parameters, "start": start, "stop": stop})
        return _decode(_fields(row), sizes[start:stop], offsets[start:stop], start)

    with ThreadPoolExecutor(1) as pool:
        pending = None
        for start, stop in _bounds(sizes):
            following = pool.submit(read, start, stop)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _bounds(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of chunks of at most _ROWS structures and about _ATOMS atoms."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + _ATOMS, side="right"))
        stop = min(max(stop, start + 1), start + _ROWS)
        yield start, stop
        start = stop


def _fields(data: memoryview) -> list[memoryview]:
    """Return the fields of the one row in COPY BINARY *data*."""
    at = 19  # header
    (count,) = struct.unpack_from(">h", data, at)
    if count != _N_FIELDS:
        raise ValueError(f"COPY gave {count} fields")
    at += 2
    fields = []
    for _ in range(count):
        (length,) = struct.unpack_from(">i", data, at)
        fields.append(data[at + 4 : at + 4 + max(length, 0)])
        at += 4 + max(length, 0)
    return fields


def _decode(
    fields: list[memoryview], sizes: NDArray[np.int64], offsets: NDArray[np.int64], first: int
) -> dict[str, NDArray[Any]]:
    n = len(sizes)
    position, ids, components, numbers, positions, order, cells, pbc, charge = fields[:9]
    multiplicity, domain, energy, force_bytes, forces, stress = fields[9:]
    if not np.array_equal(np.frombuffer(position, ">i4"), np.arange(first, first + n)):
        raise ValueError("members are missing, or came in another order than asked for")
    local = offsets - offsets[0]
    # canonical atom i of a structure is atom order[i] of its source
    target = np.repeat(local, sizes) + np.frombuffer(order, "<u2")
    axes = np.frombuffer(pbc, ">i2")[:, None] >> np.arange(3)
    virial = np.frombuffer(stress, ">f8").reshape(n, 6)
    return {
        "offsets": offsets + sizes,
        "numbers": _scatter(np.frombuffer(numbers, "|u1"), target),
        "positions": _scatter(np.frombuffer(positions, "<f8").reshape(-1, 3), target),
        "cells": np.frombuffer(cells, "<f8").reshape(n, 3, 3),
        "pbc": (axes & 1).astype(bool),
        "charges": np.frombuffer(charge, ">i2"),
        "multiplicities": np.frombuffer(multiplicity, ">i2"),
        "ids": np.frombuffer(ids, "|u1").reshape(n, 16),
        "components": np.frombuffer(components, "|u1").reshape(n, 16),
        "domains": np.frombuffer(domain, ">i4"),
        "energy": np.frombuffer(energy, ">f8"),
        "forces": _scatter(_forces(forces, np.frombuffer(force_bytes, ">i4"), sizes), target),
        "stress": virial,
        "stress_mask": ~np.isnan(virial[:, 0]),
    }


def _scatter(values: NDArray[Any], target: NDArray[np.int64]) -> NDArray[Any]:
    result = np.empty_like(values)
    result[target] = values
    return result


def _forces(data: memoryview, lengths: NDArray[np.int32], sizes: NDArray[np.int64]) -> NDArray[Any]:
    """Return (N, 3) forces, float64 if any structure's are."""
    wide = lengths == 24 * sizes
    if not wide.any():
        return np.frombuffer(data, "<f4").reshape(-1, 3)
    if wide.all():
        return np.frombuffer(data, "<f8").reshape(-1, 3)
    ends = np.cumsum(lengths)
    parts = [
        np.frombuffer(data[end - length : end], "<f8" if is_wide else "<f4")
        for end, length, is_wide in zip(ends, lengths, wide, strict=True)
    ]
    return np.concatenate(parts, dtype=np.float64).reshape(-1, 3)
