"""Runs: one row per action, with what was asked for and what came of it."""

from __future__ import annotations

import hashlib
import json
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import bindparam, text

from mlffdb.errors import MlffdbError
from mlffdb.store.database import Database
from mlffdb.store.patience import patiently
from mlffdb.store.schema.base import JSON

#: Packages whose versions are kept with every run.
PACKAGES = ("mlffdb", "ase", "numpy", "rdkit", "scipy", "h5py", "sqlalchemy", "tblite", "fennol",
            "jax", "orb-models", "torch")  # fmt: skip


@dataclass(slots=True)
class RunRecord:
    """A run in progress; what is put into counts is stored at its end."""

    run_id: int
    counts: dict[str, Any] = field(default_factory=dict)
    #: Whether it was stopped before its end, without an exception.
    interrupted: bool = False


@contextmanager
def recorded(
    database: Database,
    action: str,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Iterator[RunRecord]:
    """Record the action done inside: its start, end, counts, and how it ended."""
    run = start(database, action, name=name, config=config, seed=seed)
    try:
        yield run
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        message = str(error) if isinstance(error, MlffdbError) else type(error).__name__
        with suppress(Exception):  # the first error is the one that matters
            if interrupted:
                finish(database, run, "interrupted", None)
            else:
                finish(database, run, "failed", message)
        raise
    patiently(lambda: finish(database, run, "interrupted" if run.interrupted else "done", None))


def start(
    database: Database,
    action: str,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> RunRecord:
    """Insert a run and return it."""
    content = dict(config or {})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    statement = text(
        "INSERT INTO run (action, name, config, config_hash, seed, versions, host)"
        " VALUES (:action, :name, :config, :digest, :seed, :versions, :host) RETURNING run_id"
    ).bindparams(bindparam("config", type_=JSON), bindparam("versions", type_=JSON))
    with database.begin() as connection:
        run_id = connection.execute(
            statement,
            {
                "action": action,
                "name": name,
                "config": json.loads(json.dumps(content, default=str)),
                "digest": digest,
                "seed": seed,
                "versions": versions(),
                "host": socket.gethostname(),
            },
        ).scalar_one()
    return RunRecord(run_id)


def finish(database: Database, run: RunRecord, status: str, error: str | None) -> None:
    """Store how *run* ended."""
    statement = text(
        "UPDATE run SET status = :status, finished_at = now(), counts = :counts, error = :error"
        " WHERE run_id = :run_id"
    ).bindparams(bindparam("counts", type_=JSON))
    with database.begin() as connection:
        connection.execute(
            statement,
            {"status": status, "counts": run.counts, "error": error, "run_id": run.run_id},
        )


def versions() -> dict[str, str]:
    """Return the versions of Python and of PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
