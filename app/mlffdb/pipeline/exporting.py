"""Freezing valid labels into a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlffdb.snapshots.export import DEFAULT_SPLIT, SnapshotReport, export_snapshot
from mlffdb.snapshots.selection import find_teacher
from mlffdb.store import reader, runs
from mlffdb.store.database import Database


def export(
    database: Database,
    name: str,
    *,
    teacher: str,
    out: Path,
    where: str | None = None,
    split: str = DEFAULT_SPLIT,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SnapshotReport:
    """Freeze the valid labels by *teacher* as the next version of *name*; write its files.

    where: SQL condition over the view ``dataset``, run as the reader
    Raises ExportError, and QueryError for the condition.
    """
    with database.begin() as connection:
        teacher_id = find_teacher(connection, teacher).teacher_id
    chosen = None
    if where is not None:
        chosen = reader.select_labelled(database, where, teacher_id=teacher_id)
    config = {"teacher": teacher, "where": where, "split": split, "out": out}
    with runs.recorded(database, "export", name=name, config=config, seed=seed) as run:
        report = export_snapshot(
            database,
            name,
            run_id=run.run_id,
            teacher=teacher,
            out=out,
            structure_ids=chosen,
            condition=where,
            split=split,
            seed=seed,
            progress=on_progress,
        )
        run.counts.update(version=report.version, **report.counts, left_out=report.left_out)
    return report
