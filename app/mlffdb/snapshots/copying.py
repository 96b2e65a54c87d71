"""Rows of fixed width by COPY BINARY, as numpy arrays: no loop over rows on either side."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mlffdb.store.database import driver_cursor

#: Columns that have one width: name → numpy dtype. int4 is ``>i4``, uuid ``S16``.
Columns = Mapping[str, str]

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


def copy_out(
    connection: Connection,
    query: str,
    columns: Columns,
    parameters: Mapping[str, Any] | None = None,
) -> NDArray[Any]:
    """Return the rows of *query*, none of them NULL, as a structured array of *columns*."""
    data = copy_bytes(connection, query, parameters)
    kind = _row_dtype(columns)
    body = len(data) - len(_HEADER) - len(_TRAILER)
    if body % kind.itemsize:
        raise ValueError(f"COPY gave rows of another width than {dict(columns)}")
    rows = np.frombuffer(data, dtype=kind, offset=len(_HEADER), count=body // kind.itemsize)
    for name in columns:
        if (rows[f"{name} length"] != rows.dtype[name].itemsize).any():
            raise ValueError(f"COPY gave {name} NULL or of another width")
    return rows


def copy_bytes(
    connection: Connection, query: str, parameters: Mapping[str, Any] | None = None
) -> memoryview:
    """Return what ``COPY (query) TO STDOUT BINARY`` sends."""
    cursor = driver_cursor(connection)
    buffer = io.BytesIO()
    sql = cursor.mogrify(query, dict(parameters or {})).decode()
    cursor.copy_expert(f"COPY ({sql}) TO STDOUT (FORMAT binary)", buffer)
    return buffer.getbuffer()


def copy_in(
    connection: Connection, table: str, columns: Columns, values: Mapping[str, Any]
) -> None:
    """Insert *values*, arrays of equal length or constants, into *columns* of *table*."""
    length = max(len(v) for v in values.values() if isinstance(v, np.ndarray))
    rows = np.zeros(length, dtype=_row_dtype(columns))
    rows["fields"] = len(columns)
    for name in columns:
        rows[f"{name} length"] = rows.dtype[name].itemsize
        rows[name] = values[name]
    data = io.BytesIO(_HEADER + rows.tobytes() + _TRAILER)
    names = ", ".join(columns)
    driver_cursor(connection).copy_expert(
        f"COPY {table} ({names}) FROM STDIN (FORMAT binary)", data, size=1 << 20
    )


def _row_dtype(columns: Columns) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in columns.items():
        fields += [(f"{name} length", ">i4"), (name, kind)]
    return np.dtype(fields)
