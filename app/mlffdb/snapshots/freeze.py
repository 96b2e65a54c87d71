"""Versions in the database: made as ``building``, published when their files are in place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from mlffdb.errors import ExportError
from mlffdb.snapshots.copying import copy_in
from mlffdb.snapshots.grouping import Ids
from mlffdb.snapshots.splits import SPLITS
from mlffdb.store.database import Database, connecting

_COLUMNS = "snapshot_id, name, version, status, teacher_ids, condition, split, seed, root_hash"


@dataclass(frozen=True, slots=True)
class Version:
    """A row of table snapshot."""

    snapshot_id: int
    name: str
    version: int
    status: str
    teacher_ids: Sequence[int]
    condition: str | None
    split: dict[str, float]
    seed: int
    root_hash: str
    manifest: dict[str, Any] | None


@dataclass(frozen=True, eq=False, slots=True)
class Members:
    """The n members of a version, by structure id."""

    structures: Ids
    components: Ids
    label_hashes: NDArray[np.bytes_]
    #: (n,) int8, indices into SPLITS.
    split: NDArray[np.int8]

    def counts(self) -> dict[str, int]:
        """Return split name → number of structures."""
        counts = np.bincount(self.split, minlength=len(SPLITS))
        return {name: int(n) for name, n in zip(SPLITS, counts, strict=True)}

    def root_hash(self) -> str:
        """Return the SHA-256 (hex) over (structure id, label hash, split), by structure id."""
        leaf = np.dtype([("structure", "S16"), ("label", "S32"), ("split", "|u1")])
        leaves = np.zeros(len(self.structures), dtype=leaf)
        leaves["structure"] = self.structures
        leaves["label"] = self.label_hashes
        leaves["split"] = self.split
        leaves = leaves[np.argsort(self.structures)]
        return hashlib.sha256(b"mlffdb snapshot 1" + leaves.tobytes()).hexdigest()


@contextmanager
def export_lock(database: Database, name: str) -> Iterator[None]:
    """Hold the right to export *name*; it is given up when the process ends, however it does.

    Raises ExportError where another process has it.
    """
    connection = database.raw()
    try:
        with connecting(database.label), connection.cursor() as cursor:
            # of the transaction, which stays open and holds no snapshot: behind a pooler a session
            # is anybody's
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended('mlffdb snapshot ' || %s, 0))",
                (name,),
            )
            if not cursor.fetchone()[0]:
                raise ExportError(
                    f"snapshot {name} is being exported by another process; wait until it is done"
                )
        yield
    finally:
        connection.close()


def versions(connection: Connection, name: str, status: str) -> list[Version]:
    """Return the versions of *name* with *status*, oldest first."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS}, manifest FROM snapshot WHERE name = :name AND status = :status"
            " ORDER BY version"
        ),
        {"name": name, "status": status},
    )
    return [Version(*row) for row in rows]


def insert(
    connection: Connection,
    members: Members,
    *,
    run_id: int,
    name: str,
    version: int,
    teacher_id: int,
    condition: str | None,
    split: dict[str, float],
    seed: int,
) -> Version:
    """Freeze *members* as a version with status building."""
    root_hash = members.root_hash()
    statement = text(
        "INSERT INTO snapshot (run_id, name, version, teacher_ids, condition, split, seed,"
        " root_hash) VALUES (:run_id, :name, :version, ARRAY[CAST(:teacher_id AS int)],"
        " :condition, :split, :seed, :root_hash)"
        f" RETURNING {_COLUMNS}, manifest"
    ).bindparams(bindparam("split", type_=JSONB))
    row = connection.execute(
        statement,
        {
            "run_id": run_id,
            "name": name,
            "version": version,
            "teacher_id": teacher_id,
            "condition": condition,
            "split": split,
            "seed": seed,
            "root_hash": root_hash,
        },
    ).one()
    made = Version(*row)
    for index, split_name in enumerate(SPLITS):
        chosen = np.flatnonzero(members.split == index)
        if len(chosen):
            chosen = chosen[np.argsort(members.structures[chosen])]
            _insert_split(connection, members, chosen, split_name, made)
    return made


def _insert_split(
    connection: Connection,
    members: Members,
    chosen: NDArray[np.intp],
    split_name: str,
    version: Version,
) -> None:
    columns = {
        "structure_id": "S16",
        "snapshot_id": ">i4",
        "teacher_id": ">i4",
        "split": f"S{len(split_name)}",
        "position": ">i4",
        "component_id": "S16",
        "label_hash": "S32",
    }
    values = {
        "structure_id": members.structures[chosen],
        "snapshot_id": version.snapshot_id,
        "teacher_id": version.teacher_ids[0],
        "split": split_name.encode(),
        "position": np.arange(len(chosen)),
        "component_id": members.components[chosen],
        "label_hash": members.label_hashes[chosen],
    }
    copy_in(connection, "snapshot_member", columns, values)


def publish(connection: Connection, snapshot_id: int, manifest: dict[str, Any]) -> None:
    """Make a version public; from now on the database refuses to change it."""
    connection.execute(
        text(
            "UPDATE snapshot SET status = 'published', manifest = :manifest"
            " WHERE snapshot_id = :snapshot_id"
        ).bindparams(bindparam("manifest", type_=JSONB)),
        {"manifest": manifest, "snapshot_id": snapshot_id},
    )


def discard(connection: Connection, snapshot_id: int) -> None:
    """Remove a version that was never published."""
    for table in ("snapshot_member", "snapshot"):
        connection.execute(
            text(f"DELETE FROM {table} WHERE snapshot_id = :snapshot_id"),
            {"snapshot_id": snapshot_id},
        )
