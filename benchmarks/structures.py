"""Identities per second, and structures read per second beside ASE's own reader in the same run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import h5py
import numpy as np
from ase import Atoms
from ase.db import connect

from mlffdb.structures import Candidate, Structure, structure_id
from mlffdb.structures.readers import read_candidates

#: A capped dialanine-sized molecule, the middle of an organic data set.
N_ATOMS = 30
ELEMENTS = [1, 6, 7, 8]


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return a row for each measurement; *quick* takes a tenth of the structures."""
    frames = list(_frames(300 if quick else 3000))
    return [*_identities(frames), *_reading(frames)]


def _frames(count: int) -> Iterator[Atoms]:
    random = np.random.default_rng(0)
    numbers = random.choice(ELEMENTS, N_ATOMS)
    for _ in range(count):
        yield Atoms(numbers, random.normal(size=(N_ATOMS, 3)) * 4)


def _identities(frames: list[Atoms]) -> Iterator[dict[str, Any]]:
    cell = np.array([[11.0, 0.3, 0.0], [-0.4, 12.0, 0.7], [0.2, 0.1, 13.0]])
    kinds = {"isolated": (), "slab": (0, 1), "crystal": (0, 1, 2)}
    for name, axes in kinds.items():
        pbc = tuple(axis in axes for axis in range(3))
        make = [
            Structure(a.numbers, a.positions, cell if axes else None, pbc, multiplicity=None)
            for a in frames
        ]
        yield _row(f"identity, {name}, {N_ATOMS} atoms", lambda make=make: map(structure_id, make))
    yield _row("Structure.from_atoms", lambda: map(Structure.from_atoms, frames))


def _reading(frames: list[Atoms]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in ("xyz", "traj", "db"):
            path = folder / f"frames.{suffix}"
            _write(path, frames)
            bare = _row(f"{suffix}, bare ASE", lambda path=path: _bare(path))
            yield bare
            ours = _row(f"{suffix}, candidates", lambda path=path: read_candidates(path))
            yield {**ours, "of_bare": round(ours["per_second"] / bare["per_second"], 2)}
            yield _row(
                f"{suffix}, candidates and identities",
                lambda path=path: _with_identities(path),
            )
        path = folder / "spice.h5"
        _write_spice(path, len(frames))
        yield _row("SPICE HDF5, bare h5py", lambda: _bare_spice(path))
        yield _row("SPICE HDF5, candidates", lambda: read_candidates(path))
        yield _row("SPICE HDF5, candidates and identities", lambda: _with_identities(path))


def _row(name: str, make: Callable[[], Iterable[Any]]) -> dict[str, Any]:
    """Time going through what *make* gives: the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        count = sum(1 for _ in make())
        best = min(best, time.perf_counter() - begin)
    return {
        "what": name,
        "structures": count,
        "per_second": round(count / best, 1),
        "microseconds_each": round(1e6 * best / count, 1),
    }


def _bare(path: Path) -> Iterator[Atoms]:
    if path.suffix == ".db":
        return (row.toatoms() for row in connect(path).select())
    return ase.io.iread(path, ":")


def _with_identities(path: Path) -> Iterator[Any]:
    for item in read_candidates(path):
        assert isinstance(item, Candidate)
        yield structure_id(item.structure)


def _write(path: Path, frames: list[Atoms]) -> None:
    if path.suffix == ".db":
        with connect(path) as database:
            for atoms in frames:
                database.write(atoms)
    else:
        ase.io.write(path, frames)


def _write_spice(path: Path, count: int) -> None:
    """Write molecules of 50 conformations each, as SPICE has them."""
    from mlffdb.structures.molecules import embed, from_smiles, mapped_smiles

    random = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for index in range(max(count // 50, 1)):
            mol = from_smiles("C" * (index % 9 + 1) + "C(=O)O")
            embed(mol, 1, index)
            positions = mol.GetConformer().GetPositions()
            group = file.create_group(f"molecule {index}")
            group["smiles"] = [mapped_smiles(mol)]
            noise = random.normal(size=(50, *positions.shape)) * 0.05
            group["conformations"] = ((positions + noise) / 10).astype(np.float32)
            group["conformations"].attrs["units"] = "nanometers"


def _bare_spice(path: Path) -> Iterator[Any]:
    with h5py.File(path) as file:
        for group in file.values():
            yield from group["conformations"][()]
