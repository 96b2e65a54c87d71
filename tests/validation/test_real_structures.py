"""False alarms and misses on real structures that nobody here made."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlffdb.structures import Candidate, StructureArrays
from mlffdb.structures.readers import read_candidates
from tests.validation.making import found, skeleton


def _read(folder: Path, name: str) -> StructureArrays:
    rows = read_candidates(folder / "structures" / name)
    return StructureArrays.of([row.structure for row in rows if isinstance(row, Candidate)])


@pytest.mark.parametrize(
    ("name", "count"),
    [("des-monomers.hdf5", 18_900), ("solvated-amino-acids.hdf5", 1_300), ("water60.hdf5", 1_000)],
)
def test_clean_structures_pass(shared_folder: Path, name: str, count: int) -> None:
    arrays = _read(shared_folder, name)
    assert len(arrays) == count
    flagged = {finding.index for finding in found(arrays)}
    assert len(flagged) <= 0.001 * count


@pytest.mark.parametrize(
    ("name", "share"), [("solvated-amino-acids.hdf5", 1.0), ("des-monomers.hdf5", 0.94)]
)
def test_skeletons_are_found(shared_folder: Path, name: str, share: float) -> None:
    # the rest of des-monomers: single heavy atoms, haloforms and other species whose skeleton is
    # a sound molecule or lacks a single hydrogen
    whole = list(_read(shared_folder, name))[::10]
    bare = StructureArrays.of([skeleton(one) for one in whole if (one.numbers > 1).any()])
    rejected = {finding.index for finding in found(bare, only=["missing_hydrogens"])}
    assert len(rejected) >= share * len(bare)
