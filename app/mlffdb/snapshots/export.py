"""Exporting: choose, group, split, freeze, write, publish.

A version exists for others once it is published, which happens after its files are in place. A
process killed at any moment leaves either nothing under the final name or all of it, and the
next export of the name cleans up or finishes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mlffdb.errors import ExportError
from mlffdb.snapshots import files, freeze, manifest
from mlffdb.snapshots.copying import copy_out
from mlffdb.snapshots.files import Progress
from mlffdb.snapshots.freeze import Members, Version
from mlffdb.snapshots.grouping import Ids, find_components
from mlffdb.snapshots.selection import (
    HEAVY,
    Selection,
    TeacherInfo,
    find_teacher,
    look_up,
    read_graph,
    select,
    store_components,
    teacher_by_id,
)
from mlffdb.snapshots.splits import (
    BRIDGE,
    SPLITS,
    SURPLUS,
    Placed,
    SplitRequest,
    assign,
    parse_split,
)
from mlffdb.store.database import Database

DEFAULT_SPLIT = "0.8/0.1/0.1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_BRIDGE = "ties two splits of earlier versions together (quarantined)"
_SURPLUS = "beyond the numbers asked for"


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """What an export did."""

    name: str
    version: int
    #: Folder with the files.
    path: Path
    #: Split name → structures.
    counts: dict[str, int]
    #: Reason → structures that are not in the snapshot.
    left_out: dict[str, int]
    root_hash: str
    warnings: tuple[str, ...]
    #: Whether this is a new version; False: the newest one already holds exactly this.
    created: bool
    #: Whether files were written.
    written: bool

    @property
    def structures(self) -> int:
        """Number of structures in all splits."""
        return sum(self.counts.values())


@dataclass(frozen=True, eq=False, slots=True)
class _Plan:
    """A version as it would be."""

    teacher: TeacherInfo
    members: Members
    structures: Ids
    components: Ids
    left_out: dict[str, int]
    warnings: tuple[str, ...]
    rule_versions: tuple[str, ...]
    #: The newest published version of the name.
    newest: Version | None


def export_snapshot(
    database: Database,
    name: str,
    *,
    run_id: int,
    teacher: str,
    out: Path,
    structure_ids: Iterable[UUID] | None = None,
    condition: str | None = None,
    split: str = DEFAULT_SPLIT,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> SnapshotReport:
    """Freeze the valid labels by *teacher* as the next version of *name*; write its files.

    teacher: name, or ``NAME@FINGERPRINT`` (its first digits) where several versions have labels
    out: folder of exports; files go to ``out/NAME/vN``
    structure_ids, condition: choose among these structures; the condition that chose them, for
        the record
    split: train/val/test as shares or numbers
    progress: called with (structures written, structures in all)

    Where the newest version holds the same labels in the same splits, that one is returned; its
    files are written again if they are missing. Raises ExportError.
    """
    request = parse_split(split)
    _check_name(name)
    folder = out / name
    with (
        files.file_errors(folder),
        freeze.export_lock(database, name),
        files.folder_lock(folder),
    ):
        _clean_up(database, name, folder)
        with database.begin() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            plan = _plan(
                connection, name, teacher, structure_ids=structure_ids, request=request, seed=seed
            )
        with database.begin() as connection:
            store_components(connection, run_id, plan.structures, plan.components)
        if plan.newest is not None and plan.newest.root_hash == plan.members.root_hash():
            return _unchanged(database, plan.newest, plan, folder, progress)
        number = _free_number(folder, plan.newest, plan.members.root_hash())
        with database.begin() as connection:
            version = freeze.insert(
                connection,
                plan.members,
                run_id=run_id,
                name=name,
                version=number,
                teacher_id=plan.teacher.teacher_id,
                condition=condition,
                split=request.as_json(),
                seed=seed,
            )
            connection.execute(text("ANALYZE snapshot_member"))
        described = _describe(version, plan)
        path = _write_and_publish(database, version, described, folder, progress)
        return _report(version, path, described, created=True, written=True)


def rewrite_snapshot(
    database: Database,
    name: str,
    version: int,
    *,
    out: Path,
    progress: Progress = lambda _done, _total: None,
) -> SnapshotReport:
    """Write the files of a published version again, to ``out/NAME/vN``; raises ExportError.

    Their bytes are those of the first time, if the packages named in the manifest are the same.
    """
    _check_name(name)
    folder = out / name
    with (
        files.file_errors(folder),
        freeze.export_lock(database, name),
        files.folder_lock(folder),
    ):
        files.remove_leftovers(folder)
        with database.begin() as connection:
            published = {v.version: v for v in freeze.versions(connection, name, "published")}
        if version not in published:
            known = ", ".join(f"v{number}" for number in published) or "none"
            raise ExportError(f"snapshot {name} has no version {version}; there are: {known}")
        return _rewrite(database, published[version], folder, progress)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"snapshot name {name!r} must begin with a letter or digit and hold only letters, "
            "digits, '.', '_' and '-'"
        )


def _clean_up(database: Database, name: str, folder: Path) -> None:
    """Finish or remove what a killed export left behind; its lock is ours now."""
    files.remove_leftovers(folder)
    with database.begin() as connection:
        for version in freeze.versions(connection, name, "building"):
            path = files.version_folder(folder, version.version)
            content = manifest.read(path)
            if content and manifest.is_complete(path, version.root_hash, thorough=True):
                freeze.publish(connection, version.snapshot_id, content)
            else:
                freeze.discard(connection, version.snapshot_id)


def _plan(
    connection: Connection,
    name: str,
    teacher_name: str,
    *,
    structure_ids: Iterable[UUID] | None,
    request: SplitRequest,
    seed: int,
) -> _Plan:
    teacher = find_teacher(connection, teacher_name)
    selection = select(connection, teacher, structure_ids)
    graph = read_graph(connection)
    components = find_components(graph.structures, graph.links, graph.keys)
    chosen = look_up(selection.structures, graph.structures, components)
    placed = _placed(connection, name, graph.structures, components)
    newest = next(reversed(freeze.versions(connection, name, "published")), None)
    assignment = assign(
        selection.structures,
        chosen,
        domains=selection.domains,
        domain_names=selection.domain_names,
        request=request,
        seed=seed,
        placed=placed,
    )
    taken = assignment.split >= 0
    members = Members(
        selection.structures[taken],
        chosen[taken],
        selection.label_hashes[taken],
        assignment.split[taken],
    )
    if not taken.any():
        raise ExportError(f"nothing left to export: {'; '.join(assignment.warnings)}")
    return _Plan(
        teacher,
        members,
        graph.structures,
        components,
        _all_left_out(selection, assignment.split),
        assignment.warnings + _unseen(selection, assignment.split) + _kept(newest, request, seed),
        selection.rule_versions,
        newest,
    )


def _unseen(selection: Selection, split: NDArray[np.int8]) -> tuple[str, ...]:
    """Say which elements a student meets only when it is tested."""
    masks = [
        np.bitwise_or.reduce(selection.elements[taken], axis=0) for taken in (split == 0, split > 0)
    ]
    missing = masks[1] & ~masks[0]
    symbols = [
        chemical_symbols[number]
        for number in range(1, 2 * HEAVY - 1)
        if missing[number // HEAVY] >> np.int64(number % HEAVY) & 1
    ]
    if not symbols:
        return ()
    return (f"{', '.join(symbols)} in val or test but not in train",)


def _all_left_out(selection: Selection, split: NDArray[np.int8]) -> dict[str, int]:
    counts = {
        **selection.left_out,
        _BRIDGE: int((split == BRIDGE).sum()),
        _SURPLUS: int((split == SURPLUS).sum()),
    }
    return {reason: count for reason, count in counts.items() if count}


def _placed(connection: Connection, name: str, structures: Ids, components: Ids) -> Placed:
    """Return the structures of all published versions of *name*."""
    rows = copy_out(
        connection,
        "SELECT DISTINCT structure_id, array_position(%(splits)s::text[], m.split) - 1"
        " FROM snapshot_member m JOIN snapshot s USING (snapshot_id)"
        " WHERE s.name = %(name)s AND s.status = 'published'",
        {"structure_id": "S16", "split": ">i4"},
        {"name": name, "splits": list(SPLITS)},
    )
    ids = np.ascontiguousarray(rows["structure_id"])
    return Placed(ids, look_up(ids, structures, components), rows["split"].astype(np.int8))


def _kept(newest: Version | None, request: SplitRequest, seed: int) -> tuple[str, ...]:
    """Say that what earlier versions placed stays, where seed or split are other ones now."""
    if newest is None or (newest.seed, newest.split) == (seed, request.as_json()):
        return ()
    return (
        f"structures of earlier versions of {newest.name} stay in their splits (seed "
        f"{newest.seed}, split {newest.split}); for another split of all, export under another "
        "name",
    )


def _free_number(folder: Path, newest: Version | None, root_hash: str) -> int:
    """Return the next version; a number whose folder holds something else is passed over."""
    number = newest.version + 1 if newest else 1
    while files.version_folder(folder, number).exists() and not _is_ours(folder, number, root_hash):
        number += 1
    return number


def _is_ours(folder: Path, number: int, root_hash: str) -> bool:
    content = manifest.read(files.version_folder(folder, number))
    return content is not None and content.get("root_hash") == root_hash


def _describe(version: Version, plan: _Plan) -> dict[str, Any]:
    return manifest.describe(
        version,
        plan.teacher,
        counts=plan.members.counts(),
        left_out=plan.left_out,
        warnings=plan.warnings,
        rule_versions=plan.rule_versions,
    )


def _unchanged(
    database: Database, version: Version, plan: _Plan, folder: Path, progress: Progress
) -> SnapshotReport:
    path = files.version_folder(folder, version.version)
    if not manifest.is_complete(path, version.root_hash):
        return _rewrite(database, version, folder, progress)
    return _report(version, path, _describe(version, plan), created=False, written=False)


def _rewrite(
    database: Database, version: Version, folder: Path, progress: Progress
) -> SnapshotReport:
    path = files.version_folder(folder, version.version)
    if path.exists() and not _is_ours(folder, version.version, version.root_hash):
        raise ExportError(f"{path} holds something else; move it away or choose another --out")
    assert version.manifest is not None
    described = {
        key: value for key, value in version.manifest.items() if key not in ("files", "software")
    }
    with database.begin() as connection:
        teacher = teacher_by_id(connection, version.teacher_ids[0])
    if teacher.fingerprint != described["teachers"][0]["fingerprint"]:
        raise ExportError(f"the teacher of {version.name} v{version.version} is another one now")
    content, partial = files.write_version(database, version, described, folder, progress)
    warnings = _compare(version, content)
    files.move_into_place(partial, path)
    report = {**described, "warnings": [*described["warnings"], *warnings]}
    return _report(version, path, report, created=False, written=True)


def _compare(version: Version, content: dict[str, Any]) -> list[str]:
    """Raise ExportError if the numbers differ from those frozen; say so if only bytes do."""
    assert version.manifest is not None
    frozen, written = version.manifest["files"], content["files"]
    for name, known in frozen.items():
        if known.get("datasets") != written[name].get("datasets"):
            raise ExportError(
                f"the database no longer holds what was frozen in {version.name} "
                f"v{version.version} ({name} differs); restore it from a backup"
            )
    if frozen == written:
        return []
    before = version.manifest["software"]
    return [f"same numbers, but other bytes than the first time, which was written by {before}"]


def _write_and_publish(
    database: Database,
    version: Version,
    described: dict[str, Any],
    folder: Path,
    progress: Progress,
) -> Path:
    path = files.version_folder(folder, version.version)
    try:
        content, partial = files.write_version(database, version, described, folder, progress)
        files.move_into_place(partial, path)
    except BaseException:
        with suppress(Exception), database.begin() as connection:  # else the next export does it
            freeze.discard(connection, version.snapshot_id)
        raise
    with database.begin() as connection:
        freeze.publish(connection, version.snapshot_id, content)
    return path


def _report(
    version: Version, path: Path, described: dict[str, Any], *, created: bool, written: bool
) -> SnapshotReport:
    counts = described["counts"]
    return SnapshotReport(
        name=version.name,
        version=version.version,
        path=path,
        counts={name: int(counts.get(name, 0)) for name in SPLITS},
        left_out=dict(described["left_out"]),
        root_hash=version.root_hash,
        warnings=tuple(described["warnings"]),
        created=created,
        written=written,
    )
