"""Writing a snapshot's HDF5 file: h5py lays it out, the numbers go straight to their places.

All datasets are contiguous and allocated at once, so that each has a fixed offset in the file.
Then the numbers are written there with plain writes: memory stays small at any size, a full disk
is an ordinary OSError, and the bytes depend on the content only.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mlffdb.snapshots.layout import FORMAT, FORMAT_VERSION, Field, fields

#: Formats of HDF5 objects, fixed so that newer libraries write the same.
LIBVER = ("earliest", "v110")
ALIGNMENT = 64  # bytes; every dataset starts on a multiple, as vector instructions like it
_BLOCK = 1 << 22


class SnapshotWriter:
    """One file; enter it, `append` structures in order, then `close`.

    n_structures, n_atoms: totals, which must be met exactly
    forces_dtype: ``<f4`` or ``<f8``
    attributes: of the root group, text or numbers
    domain_names: what ``structures/domains`` points into
    """

    def __init__(
        self,
        path: Path,
        n_structures: int,
        n_atoms: int,
        *,
        forces_dtype: str,
        attributes: Mapping[str, Any],
        domain_names: list[str],
    ) -> None:
        self.path = path
        self._shapes = {f.name: f.shape(n_structures, n_atoms) for f in fields(forces_dtype)}
        self._fields = {f.name: f for f in fields(forces_dtype)}
        self._offsets = _lay_out(path, self._fields, self._shapes, attributes, domain_names)
        self._rows = dict.fromkeys(self._fields, 0)
        self._digests = {name: hashlib.sha256() for name in self._fields}
        self._file = path.open("r+b", buffering=0)

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Write the next rows of some datasets (by `Field.name`), in units of the layout."""
        for name, values in columns.items():
            data = np.ascontiguousarray(values, dtype=self._fields[name].dtype)
            start = self._rows[name]
            if start + len(data) > self._shapes[name][0]:
                raise ValueError(f"{name}: more rows than the {self._shapes[name][0]} announced")
            if not data.size:
                continue
            view = data.reshape(-1).view(np.uint8).data
            self._digests[name].update(view)
            _write_all(self._file.fileno(), view, self._offsets[name] + start * _stride(data))
            self._rows[name] += len(data)

    def close(self) -> dict[str, str]:
        """Flush the file to disk and return the SHA-256 of each dataset by path."""
        missing = [name for name in self._fields if self._rows[name] != self._shapes[name][0]]
        if missing:
            raise ValueError(f"{self.path}: rows are missing in {', '.join(missing)}")
        os.fsync(self._file.fileno())
        self._file.close()
        return {f.path: self._digests[f.name].hexdigest() for f in self._fields.values()}

    def __enter__(self) -> Self:
        self.append({"offsets": np.zeros(1, dtype=np.int64)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()


def read_back(path: Path) -> tuple[str, dict[str, str]]:
    """Return the SHA-256 (hex) of the file and of each dataset by path, read from the disk."""
    digests: dict[str, str] = {}
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # not from memory
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        with h5py.File(path, "r") as layout:
            for field in fields("<f4"):
                dataset = layout[field.path]
                start = dataset.id.get_offset()
                digests[field.path] = _digest_range(file.fileno(), start or 0, dataset.nbytes)
    return whole, digests


def _digest_range(descriptor: int, start: int, length: int) -> str:
    digest = hashlib.sha256()
    end = start + length
    while start < end:
        block = os.pread(descriptor, min(_BLOCK, end - start), start)
        if not block:
            break
        digest.update(block)
        start += len(block)
    return digest.hexdigest()


def _stride(data: NDArray[Any]) -> int:
    return data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


class _Layout(io.RawIOBase):
    """A sparse file in memory, to which h5py writes the layout: a few kilobytes at any size.

    On a full disk HDF5 itself would fail in ways that leave its file open and errors unclear.
    """

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.length = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.length}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self.length = self._at if size is None else size
        return self.length

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.pieces.append((self._at, piece))
        self._at += len(piece)
        self.length = max(self.length, self._at)
        return len(piece)

    def readinto(self, buffer: Any) -> int:
        size = max(min(len(buffer), self.length - self._at), 0)
        view = memoryview(buffer)[:size]
        view[:] = bytes(size)
        for start, piece in self.pieces:  # later ones over earlier ones
            low = max(start, self._at)
            high = min(start + len(piece), self._at + size)
            if low < high:
                view[low - self._at : high - self._at] = piece[low - start : high - start]
        self._at += size
        return size


def _lay_out(
    path: Path,
    all_fields: Mapping[str, Field],
    shapes: Mapping[str, tuple[int, ...]],
    attributes: Mapping[str, Any],
    domain_names: list[str],
) -> dict[str, int]:
    """Make the file with everything but the numbers; return where each dataset's go."""
    offsets = {}
    layout = _Layout()
    with h5py.File(
        layout, "w", libver=LIBVER, alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT
    ) as file:
        root = {"format": FORMAT, "format_version": FORMAT_VERSION, **attributes}
        for key in sorted(root):
            file.attrs[key] = root[key]
        for name, field in all_fields.items():
            dataset = _create(file, field, shapes[name])
            dataset.attrs["unit"] = field.unit
            dataset.attrs["description"] = field.description
            if name == "domains":
                dataset.attrs["names"] = domain_names
            offsets[name] = dataset.id.get_offset() or 0
    with path.open("wb") as target:
        for start, piece in layout.pieces:
            target.seek(start)
            target.write(piece)
        target.truncate(layout.length)
    return offsets


def _create(file: h5py.File, field: Field, shape: tuple[int, ...]) -> h5py.Dataset:
    """Create a contiguous dataset whose place is allocated now and never filled with zeros."""
    group_path, _, name = field.path.rpartition("/")
    group = file.require_group(group_path)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(field.dtype), logical=True)
    space = h5py.h5s.create_simple(shape)
    return h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, space, dcpl=plist))
