"""Everything else that ASE reads: trajectories, ASE databases, POSCAR, PDB and so on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mlffdb.structures.provenance import Candidate, Rejection
from mlffdb.structures.readers.source import Source, quiet
from mlffdb.structures.structure import CHARGE_KEYS, MULTIPLICITY_KEYS

if TYPE_CHECKING:
    from ase import Atoms
    from ase.db.row import AtomsRow

UNIT_CUBE = np.eye(3)  # Å


def read_with_ase(source: Source, file_format: str | None) -> Iterator[Candidate | Rejection]:
    """Yield what each image becomes, as lazily as ASE reads *file_format*.

    Raises ReadError where not even the first image can be read; what stops the reading later is
    the last rejection.
    """
    from ase.io import iread

    index = 0
    images = iread(str(source.path), index=":", format=file_format)
    while True:
        try:
            with quiet():
                atoms = next(images, None)
        except Exception as error:  # a parser may raise anything
            reason = f"cannot be read as {file_format}: {type(error).__name__}: {error}"
            if index == 0:
                raise source.fail(reason) from None
            yield source.reject(index, "unreadable", f"reading stopped at image {index}; {reason}")
            return
        if atoms is None:
            break
        yield source.from_atoms(partial(_without_dummy_cell, atoms), index)
        index += 1
    if index == 0:
        raise source.fail("no structure found")


def _without_dummy_cell(atoms: Atoms) -> Atoms:
    """Isolate *atoms* whose cell is the unit cube: PDB entries that are no crystals carry it.

    wwPDB format 3.3, CRYST1: a = b = c = 1.0 Å where no crystal was measured.
    """
    if atoms.pbc.all() and (atoms.cell.array == UNIT_CUBE).all():
        atoms.pbc = False
    return atoms


def read_trajectory(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each image of an ASE trajectory becomes; a broken one does not end it."""
    from ase.io.trajectory import TrajectoryReader

    try:
        reader = TrajectoryReader(str(source.path))
    except Exception as error:  # any, on a damaged file
        raise source.fail(f"cannot be read as an ASE trajectory: {error}") from None
    with reader:
        if len(reader) == 0:
            raise source.fail("no structure found")
        for index in range(len(reader)):
            yield source.from_atoms(partial(reader.__getitem__, index), index)


def read_database(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each row of an ASE database (SQLite) becomes; a broken one does not end it.

    Charge and multiplicity come from key-value pairs named as CHARGE_KEYS and MULTIPLICITY_KEYS
    say, else from initial charges and moments.
    """
    from ase.db import connect

    count = 0
    try:
        # read only, and first: ASE would write its tables into a database that has none
        with closing(sqlite3.connect(f"{source.path.resolve().as_uri()}?mode=ro", uri=True)) as ids:
            rows = ids.execute("SELECT id FROM systems ORDER BY id")
            with connect(str(source.path), type="db", use_lock_file=False) as database:
                for index, (row_id,) in enumerate(rows):
                    read = partial(_row_atoms, database.get, row_id)
                    yield source.from_atoms(read, index, {"id": row_id})
                    count += 1
    except sqlite3.Error as error:
        raise source.fail(f"cannot be read as an ASE database: {error}") from None
    if count == 0:
        raise source.fail("no structure found")


def _row_atoms(get: Callable[..., AtomsRow], row_id: int) -> Atoms:
    row = get(id=row_id)
    atoms = row.toatoms()
    for key in (*CHARGE_KEYS, *MULTIPLICITY_KEYS):
        if key in row.key_value_pairs:
            atoms.info[key] = row.key_value_pairs[key]
    return atoms
