"""Export and loading per second, against bare COPY, h5py and a memory map in the same run."""

from __future__ import annotations

import io
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from sqlalchemy import text

from mlffdb.config import Settings
from mlffdb.snapshots.copying import copy_in
from mlffdb.snapshots.export import export_snapshot, rewrite_snapshot
from mlffdb.snapshots.grouping import ID, find_components
from mlffdb.snapshots.splits import Placed, assign, parse_split
from mlffdb.store import migrate, runs
from mlffdb.store.database import Database, driver_cursor
from mlffdb.store.labels import TeacherRow, register_teacher
from mlffdb.training import Snapshot, load

N_ATOMS = 30
BATCH = 32
TEACHER = TeacherRow("bench", "0" * 64, {}, None, "float32", {}, False, True, "none")


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return a row for each measurement: 120,000 structures of 30 atoms, quick: 4,000."""
    n = 4_000 if quick else 120_000
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded server of a root is another user
        with Database(Settings(data_dir=folder / "data")) as database:
            try:
                migrate.upgrade(database)
                _fill(database, n)
                rows = list(_exporting(database, folder, n))
            finally:
                database.close()
                database.server.stop()
        rows += _loading(folder / "set" / "v1" / "train.h5")
    rows.append(_splitting(20_000 if quick else 1_000_000))
    return rows


def _fill(database: Database, n: int) -> None:
    """Insert n structures of random atoms with labels and verdicts, five to a parent."""
    rng = np.random.default_rng(0)
    ids = np.frombuffer(rng.bytes(16 * n), dtype=ID)
    columns = {"id": "S16", "parent": "S16", "numbers": f"V{N_ATOMS}"}
    columns |= {"positions": f"V{24 * N_ATOMS}", "source_order": f"V{2 * N_ATOMS}"}
    columns |= {"forces": f"V{12 * N_ATOMS}", "energy": ">f8"}
    values = {
        "id": ids,
        "parent": ids[np.arange(n) // 5 * 5],
        "numbers": rng.choice([1, 6, 7, 8], (n, N_ATOMS)).astype("u1").view(f"V{N_ATOMS}")[:, 0],
        "positions": rng.normal(size=(n, 3 * N_ATOMS)).view(f"V{24 * N_ATOMS}")[:, 0],
        "source_order": np.tile(np.arange(N_ATOMS)[::-1].astype("<u2"), (n, 1)).view(
            f"V{2 * N_ATOMS}"
        )[:, 0],
        "forces": rng.normal(size=(n, 3 * N_ATOMS)).astype("<f4").view(f"V{12 * N_ATOMS}")[:, 0],
        "energy": rng.normal(-1000, 100, n),
    }
    run_id = runs.start(database, "import").run_id
    with database.begin() as connection:
        teacher_id = register_teacher(connection, TEACHER)
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE raw (id uuid, parent uuid, numbers bytea, positions bytea,"
                " source_order bytea, forces bytea, energy float8) ON COMMIT DROP"
            )
        )
        copy_in(connection, "raw", columns, values)
        for statement in _INSERT.split(";\n"):
            connection.execute(
                text(statement), {"run": run_id, "teacher": teacher_id, "n_atoms": N_ATOMS}
            )
    connection = database.raw()
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


_INSERT = """INSERT INTO structure (structure_id, run_id, n_atoms, numbers, positions, pbc,
    n_periodic, charge, formula, elements, element_counts, domain, source_order)
SELECT id, :run, :n_atoms, numbers, positions, 0, 0, 0, 'X', '{1,6,7,8}', '{1,1,1,1}',
    'organic', source_order FROM raw;
INSERT INTO origin (structure_id, origin_id, run_id, source, method, parent_id,
    domain)
SELECT id, id, :run, 'bench', 'rattle', parent, 'organic' FROM raw;
INSERT INTO label (structure_id, teacher_id, n_atoms, energy, forces, charge, batch_size,
    wall_seconds, worker_id, device)
SELECT id, :teacher, :n_atoms, energy, forces, 0, 1, 0, id, 'cpu' FROM raw;
INSERT INTO verdict (structure_id, teacher_id, run_id, verdict, rule_version)
SELECT id, NULL, :run, 'valid', '1' FROM raw;
INSERT INTO verdict (structure_id, teacher_id, run_id, verdict, rule_version)
SELECT id, :teacher, :run, 'valid', '1' FROM raw"""


def _exporting(database: Database, folder: Path, n: int) -> Iterator[dict[str, Any]]:
    run_id = runs.start(database, "export").run_id
    copied = _row("COPY out of the same bytes", n, lambda: _copy(database))
    content = _content(n)
    written = _row("h5py write of the same arrays", n, lambda: _write(folder / "h.h5", content))
    slower = min(copied["structures_per_s"], written["structures_per_s"])
    exported = _row(
        "export: choose, group, split, freeze, write, verify",
        n,
        lambda: export_snapshot(database, "set", run_id=run_id, teacher="bench", out=folder),
    )
    files = _row(
        "files of a frozen version alone",
        n,
        lambda: rewrite_snapshot(database, "set", 1, out=folder / "again"),
    )
    again = _row(
        "export with nothing new",
        n,
        lambda: export_snapshot(database, "set", run_id=run_id, teacher="bench", out=folder),
    )
    for row in (copied, written, exported, files, again):
        yield {**row, "of_slower_bare": round(row["structures_per_s"] / slower, 2)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield {"what": "peak memory of this process, its bare arrays included", "mb": round(peak)}


def _copy(database: Database) -> None:
    query = (
        "SELECT structure_id, numbers, positions, source_order, energy, forces"
        " FROM structure JOIN label USING (structure_id)"
    )
    with database.begin() as connection:
        driver_cursor(connection).copy_expert(
            f"COPY ({query}) TO STDOUT (FORMAT binary)", io.BytesIO()
        )


def _content(n: int) -> dict[str, Any]:
    atoms = n * N_ATOMS
    return {
        "offsets": np.arange(n + 1) * N_ATOMS,
        "numbers": np.ones(atoms, "u1"),
        "positions": np.ones((atoms, 3)),
        "forces": np.ones((atoms, 3), "f4"),
        "energy": np.ones(n),
        "ids": np.ones((n, 16), "u1"),
        "cells": np.ones((n, 3, 3)),
        "stress": np.ones((n, 6)),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    import os

    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _loading(path: Path) -> list[dict[str, Any]]:
    snapshot = load(path)
    rng = np.random.default_rng(0)
    choices = rng.integers(0, len(snapshot), (200, BATCH))
    mapped = np.memmap(path, mode="r", dtype="u1")
    per_batch = f"{BATCH} random structures"
    with h5py.File(path) as file:
        timings = [
            _milliseconds(f"{per_batch}: bare memory map", choices, _bare(mapped, snapshot)),
            _milliseconds(f"{per_batch}: views of .arrays", choices, _views(snapshot)),
            _milliseconds(f"{per_batch}: .batch, collated", choices, snapshot.batch),
            _milliseconds(f"{per_batch}: h5py calls", choices, _h5py(file, snapshot)),
            _milliseconds(f"{per_batch}: ASE Atoms", choices, _atoms(snapshot)),
            _milliseconds("open a file", choices[:20], lambda _: load(path)),
        ]
    views = _views(snapshot)
    epoch = _row("sequential epoch, views", len(snapshot), lambda: views(range(len(snapshot))))
    return [*timings, epoch]


Reader = Callable[[Any], Any]


def _views(snapshot: Snapshot) -> Reader:
    arrays = snapshot.arrays
    positions, forces, numbers = arrays["positions"], arrays["forces"], arrays["numbers"]
    energy, offsets = arrays["energy"], arrays["offsets"]

    def read(indices: Any) -> None:
        for i in indices:
            start, stop = offsets[i], offsets[i + 1]
            numbers[start:stop], positions[start:stop], forces[start:stop], energy[i]

    return read


def _bare(mapped: Any, snapshot: Snapshot) -> Reader:
    data, offsets = np.asarray(mapped), np.array(snapshot.arrays["offsets"])

    def read(indices: Any) -> None:
        for i in indices:
            start, stop = offsets[i], offsets[i + 1]
            data[start:stop], data[start:stop], data[start:stop], data[i]

    return read


def _h5py(file: h5py.File, snapshot: Snapshot) -> Reader:
    offsets = np.array(snapshot.arrays["offsets"])
    flat = [file[name] for name in ("structures/numbers", "structures/positions", "labels/forces")]
    energy = file["labels/energy"]

    def read(indices: Any) -> None:
        for i in indices:
            start, stop = offsets[i], offsets[i + 1]
            for dataset in flat:
                dataset[start:stop]
            energy[i]

    return read


def _atoms(snapshot: Snapshot) -> Reader:
    return lambda indices: [snapshot[int(i)] for i in indices]


def _splitting(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ids = np.frombuffer(rng.bytes(16 * n), dtype=ID)
    keys = np.frombuffer(rng.bytes(16 * (n // 5)), dtype=ID)
    links = np.stack([ids, ids[np.arange(n) // 10 * 10]], axis=1)
    keyed = np.stack([ids, keys[np.arange(n) // 20]], axis=1)
    nothing = Placed(np.zeros(0, ID), np.zeros(0, ID), np.zeros(0, np.int8))

    def group_and_split() -> None:
        assign(
            ids,
            find_components(ids, links, keyed),
            domains=(np.arange(n) // 20 % 3).astype(np.int32),
            domain_names=["a", "b", "c"],
            request=parse_split("0.8/0.1/0.1"),
            seed=0,
            placed=nothing,
        )

    return _row("grouping and splitting alone", n, group_and_split)


def _row(what: str, n: int, action: Callable[[], object]) -> dict[str, Any]:
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    return {
        "what": what,
        "structures": n,
        "seconds": round(seconds, 3),
        "structures_per_s": round(n / seconds),
    }


def _milliseconds(what: str, batches: Any, action: Reader) -> dict[str, Any]:
    times = []
    for batch in batches:
        start = time.perf_counter()
        action(batch)
        times.append(time.perf_counter() - start)
    return {"what": what, "median_ms": round(float(np.median(times)) * 1000, 4)}
