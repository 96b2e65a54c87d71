"""A snapshot's HDF5 file as arrays, memory-mapped where the layout allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mlffdb.errors import SnapshotFileError
from mlffdb.snapshots.layout import FIELDS, FORMAT, FORMAT_VERSION, Field, accepts


@dataclass(frozen=True, eq=False, slots=True)
class FileContent:
    """What is in a file: attributes of its root, domain names, and arrays by `Field.name`."""

    attributes: dict[str, Any]
    domain_names: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]


def open_arrays(path: Path) -> FileContent:
    """Return the content of *path*, read-only; contiguous datasets are memory-mapped.

    Raises SnapshotFileError where the file is missing, damaged, of another kind or newer.
    """
    try:
        with h5py.File(path, "r") as file:
            attributes = _attributes(path, file)
            arrays = {field.name: _array(path, file, field) for field in FIELDS}
            names = tuple(str(name) for name in file["structures/domains"].attrs.get("names", ()))
    except FileNotFoundError:
        raise SnapshotFileError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise SnapshotFileError(f"{path} is a folder; name a file in it: train.h5 …") from None
    except (OSError, RuntimeError) as error:
        raise SnapshotFileError(
            f"{path} is no readable HDF5 file, or a damaged one: {_one_line(error)}"
        ) from None
    _check(path, arrays, names)
    return FileContent(attributes, names, arrays)


def _attributes(path: Path, file: h5py.File) -> dict[str, Any]:
    kind = file.attrs.get("format")
    if not isinstance(kind, str) or kind != FORMAT:
        raise SnapshotFileError(f"{path} is an HDF5 file, but no mlffdb snapshot")
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise SnapshotFileError(
            f"{path} has format version {version}; this mlffdb reads up to {FORMAT_VERSION}: "
            "upgrade mlffdb"
        )
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in file.attrs.items()
    }


def _array(path: Path, file: h5py.File, field: Field) -> NDArray[Any]:
    dataset = file.get(field.path)
    if not isinstance(dataset, h5py.Dataset):
        raise SnapshotFileError(f"{path} is damaged: {field.path} is missing")
    if dataset.shape[1:] != field.item or not accepts(field, dataset.dtype):
        raise SnapshotFileError(
            f"{path} is damaged: {field.path} is {dataset.dtype} {dataset.shape}, "
            f"not {field.dtype} per entry {field.item}"
        )
    start = dataset.id.get_offset()
    if start is None:  # compressed, chunked or empty
        array = np.asarray(dataset[()])
        array.setflags(write=False)
        return array
    # as a plain ndarray, slices are three times as fast as of the np.memmap class
    mapped = np.memmap(path, dtype=dataset.dtype, mode="r", offset=start, shape=dataset.shape)
    return np.asarray(mapped)


def _check(path: Path, arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> None:
    """Raise SnapshotFileError unless lengths and indices agree."""
    offsets = arrays["offsets"]
    n, atoms = len(offsets) - 1, len(arrays["numbers"])
    wrong = [f.path for f in FIELDS if len(arrays[f.name]) != f.shape(n, atoms)[0]]
    if wrong:
        raise SnapshotFileError(f"{path} is damaged: lengths disagree in {', '.join(wrong)}")
    if offsets[0] != 0 or offsets[-1] != atoms or (np.diff(offsets) < 1).any():
        raise SnapshotFileError(f"{path} is damaged: structures/offsets do not ascend to {atoms}")
    if n and int(arrays["domains"].max()) >= len(names):
        raise SnapshotFileError(f"{path} is damaged: structures/domains points outside its names")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
