"""The folder of a version: written beside its place, checked, then moved there in one step."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mlffdb.errors import ExportError
from mlffdb.snapshots import manifest as manifests
from mlffdb.snapshots.arrays import open_arrays
from mlffdb.snapshots.batches import domain_names, read_batches, split_shape
from mlffdb.snapshots.freeze import Version
from mlffdb.snapshots.layout import fields
from mlffdb.snapshots.splits import SPLITS
from mlffdb.snapshots.statistics import composition, training_statistics
from mlffdb.snapshots.writer import SnapshotWriter, read_back
from mlffdb.store.database import Database

#: Called with (structures written, structures in all).
Progress = Callable[[int, int], None]

_OVERHEAD = 1 << 14  # bytes of a file beside its numbers, and the small files
_PARTIAL = ".partial"
_REPLACED = ".replaced"


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a missing right and the like into one clear line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise ExportError(
            f"cannot write {path}: {reason}; nothing was published. Mend it or choose another "
            "--out, then export again"
        ) from None


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Make *folder* and keep other exports out of it; raises ExportError if one is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(
                f"another export is writing to {folder}; wait until it is done"
            ) from None
        except OSError:
            pass  # a file system without locks; the lock in the database still holds
        yield
    finally:
        os.close(descriptor)
        with suppress(OSError):
            folder.rmdir()  # if nothing came of it


def version_folder(folder: Path, version: int) -> Path:
    """Return where a version's files are."""
    return folder / f"v{version}"


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed export left in *folder*, whose lock is held."""
    for suffix in (_PARTIAL, _REPLACED):
        for path in folder.glob(f".v*{suffix}"):
            shutil.rmtree(path)


def write_version(
    database: Database,
    version: Version,
    described: Mapping[str, Any],
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], Path]:
    """Write all files of *version* to a hidden folder in *folder*; return manifest and path.

    All data are synced to the disk and read back from there. On any failure the hidden folder is
    removed.
    """
    partial = folder / f".v{version.version}{_PARTIAL}"
    if partial.exists():
        shutil.rmtree(partial)
    try:
        partial.mkdir()
        content = _write(database, version, described, partial, progress)
        _sync(partial)
        return content, partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def move_into_place(partial: Path, target: Path) -> None:
    """Move a finished folder to its name; what was there under the name is replaced."""
    replaced = target.with_name(f".{target.name}{_REPLACED}")
    if target.exists():
        os.rename(target, replaced)  # noqa: PTH104 - tests stop the process here
    os.rename(partial, target)  # noqa: PTH104
    _sync(target.parent)
    if replaced.exists():
        with suppress(OSError):  # the next export tries again
            shutil.rmtree(replaced)


def _write(
    database: Database,
    version: Version,
    described: Mapping[str, Any],
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    files, arrays = {}, {}
    with database.begin() as connection:
        domains = domain_names(connection, version.snapshot_id)
        shapes = {s: split_shape(connection, version.snapshot_id, s) for s in SPLITS}
    shapes = {s: shape for s, shape in shapes.items() if len(shape.sizes) or s in version.split}
    wide = "<f8" if any(shape.forces_dtype == "<f8" for shape in shapes.values()) else "<f4"
    _check_space(folder, {s: (len(h.sizes), int(h.sizes.sum())) for s, h in shapes.items()}, wide)
    total, done = sum(len(shape.sizes) for shape in shapes.values()), 0
    for split, shape in shapes.items():
        path = folder / f"{split}.h5"
        writer = SnapshotWriter(
            path,
            len(shape.sizes),
            int(shape.sizes.sum()),
            forces_dtype=wide,
            attributes=_attributes(described, split),
            domain_names=domains,
        )
        with writer:
            batches = read_batches(database, version.snapshot_id, split, shape.sizes, domains)
            for batch in batches:
                writer.append(batch)
                done += len(batch["energy"])
                progress(done, total)
            digests = writer.close()
        whole, found = read_back(path)
        if found != digests:
            raise ExportError(f"{path} does not read back as it was written; check the disk")
        files[path.name] = {
            "bytes": path.stat().st_size,
            "sha256": whole,
            "structures": len(shape.sizes),
            "datasets": digests,
        }
        arrays[split] = open_arrays(path).arrays
    statistics = {
        "train": training_statistics(arrays["train"]),
        "composition": {split: composition(arrays[split], domains) for split in arrays},
    }
    manifests.dump(folder / manifests.STATISTICS, statistics)
    (folder / manifests.CARD).write_text(manifests.card(described, statistics), encoding="utf-8")
    for name in (manifests.STATISTICS, manifests.CARD):
        files[name] = manifests.entry(folder / name)
    content = {**described, "software": manifests.software(), "files": files}
    manifests.dump(folder / manifests.MANIFEST, content)
    return content


def _attributes(described: Mapping[str, Any], split: str) -> dict[str, Any]:
    teacher = described["teachers"][0]
    return {
        "name": described["name"],
        "version": described["version"],
        "split": split,
        "root_hash": described["root_hash"],
        "teacher": teacher["name"],
        "teacher_fingerprint": teacher["fingerprint"],
        "teacher_licence": teacher["licence"],
        "atom_order": "source",
    }


def _check_space(folder: Path, shapes: Mapping[str, tuple[int, int]], forces_dtype: str) -> None:
    """Raise ExportError before anything is computed if the files cannot fit."""
    need = _OVERHEAD * len(shapes) + sum(
        prod(field.shape(*shape)) * np.dtype(field.dtype).itemsize
        for shape in shapes.values()
        for field in fields(forces_dtype)
    )
    free = shutil.disk_usage(folder).free
    if need > free:
        raise ExportError(
            f"the files need {need / 1e6:,.1f} MB, but {folder.parent} has {free / 1e6:,.1f} MB "
            "free; nothing was published. Free space or choose another --out, then export again"
        )


def _sync(folder: Path) -> None:
    """Flush a folder and the small files in it to the disk."""
    paths = [path for path in folder.iterdir() if path.is_file()]
    for path in (*paths, folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
