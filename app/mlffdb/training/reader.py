"""A snapshot's file as a read-only sequence of ASE Atoms, and as memory-mapped arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlffdb.errors import SnapshotFileError
from mlffdb.snapshots.arrays import open_arrays
from mlffdb.snapshots.layout import FIELDS, PER_ATOM, PER_STRUCTURE

if TYPE_CHECKING:
    from ase import Atoms

_PER_ATOM = tuple(field.name for field in FIELDS if field.per == PER_ATOM)
_PER_STRUCTURE = tuple(field.name for field in FIELDS if field.per == PER_STRUCTURE)


class Snapshot:
    """One file of a snapshot: ``len``, ``[i]`` and slices give ASE Atoms; nothing can be changed.

    Numbers stay in the file until they are used, so opening costs little at any size. Copies in
    worker processes (fork or pickle) share the file's pages.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        content = open_arrays(self.path)
        #: Attributes of the file: name, version, split, teacher, teacher_fingerprint, root_hash …
        self.attributes: Mapping[str, Any] = MappingProxyType(content.attributes)
        #: Domains that ``arrays["domains"]`` points into.
        self.domain_names: tuple[str, ...] = content.domain_names
        #: The datasets by name, flat and read-only; docs/format.md lists shapes and units. Atoms
        #: of structure i are rows ``offsets[i]:offsets[i + 1]`` of numbers, positions and forces.
        self.arrays: Mapping[str, NDArray[Any]] = MappingProxyType(content.arrays)

    def __len__(self) -> int:
        return len(self.arrays["energy"])

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...

    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        if isinstance(index, slice):
            return [self._atoms(i) for i in range(*index.indices(len(self)))]
        position = int(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"{self.path} has {len(self)} structures; there is no {index}")
        return self._atoms(position % len(self))

    def __iter__(self) -> Iterator[Atoms]:
        return (self._atoms(i) for i in range(len(self)))

    def __repr__(self) -> str:
        name, version = self.attributes.get("name"), self.attributes.get("version")
        split = self.attributes.get("split")
        return f"<Snapshot {name} v{version} {split}: {len(self)} structures>"

    def __reduce__(self) -> tuple[type[Snapshot], tuple[Path]]:
        return Snapshot, (self.path,)

    def structure_id(self, index: int) -> UUID:
        """Return the id of structure *index* in the database."""
        return UUID(bytes=self.arrays["ids"][index].tobytes())

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> dict[str, NDArray[Any]]:
        """Return structures *indices* concatenated: every dataset, with offsets of their own.

        Names, shapes and units are those of ``arrays``; the result is a copy.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        offsets = self.arrays["offsets"]
        starts = offsets[chosen]
        sizes = offsets[chosen + 1] - starts
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        rows = np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
        result = {"offsets": np.concatenate([[0], ends]).astype(np.int64)}
        result |= {name: self.arrays[name][chosen] for name in _PER_STRUCTURE}
        result |= {name: self.arrays[name][rows] for name in _PER_ATOM}
        return result

    def _atoms(self, index: int) -> Atoms:
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        arrays = self.arrays
        start, stop = arrays["offsets"][index : index + 2]
        pbc = arrays["pbc"][index]
        atoms = Atoms(
            numbers=arrays["numbers"][start:stop],
            positions=arrays["positions"][start:stop],
            cell=arrays["cells"][index] if pbc.any() else None,
            pbc=pbc,
        )
        atoms.info["charge"] = int(arrays["charges"][index])
        if arrays["multiplicities"][index]:
            atoms.info["multiplicity"] = int(arrays["multiplicities"][index])
        atoms.info["structure_id"] = str(self.structure_id(index))
        atoms.info["domain"] = self.domain_names[arrays["domains"][index]]
        results: dict[str, float | ArrayLike] = {
            "energy": float(arrays["energy"][index]),
            "forces": arrays["forces"][start:stop].astype(np.float64),
        }
        if arrays["stress_mask"][index]:
            results["stress"] = np.array(arrays["stress"][index])
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms


def load(path: str | PathLike[str], *, verify: bool = False) -> Snapshot:
    """Open a snapshot's file, such as ``exports/NAME/v1/train.h5``, for reading.

    verify: compare the file's SHA-256 with manifest.json beside it first

    Raises SnapshotFileError where the file is missing, damaged, of another kind, or written by a
    newer version.
    """
    snapshot = Snapshot(path)
    if verify:
        _verify(Path(path))
    return snapshot


def _verify(path: Path) -> None:
    manifest = path.parent / "manifest.json"
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))["files"][path.name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SnapshotFileError(
            f"{manifest} is missing or does not know {path.name}, so that the file cannot be "
            "verified; load it without verify"
        ) from None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != known:
        raise SnapshotFileError(f"{path} is damaged: its SHA-256 is not the one in {manifest.name}")
