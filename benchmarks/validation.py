"""Structures per second of all structure checks and of the near-duplicate search."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ase.build import bulk, molecule

from mlffdb.structures import Structure, StructureArrays
from mlffdb.validation import (
    LabelArrays,
    check_energies,
    check_labels,
    check_structures,
    find_duplicates,
    load_thresholds,
)

REPEATS = 3


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return a row for each kind of work; the best of three runs in one process."""
    many = 1_000 if quick else 10_000
    thresholds = load_thresholds()
    isolated = _isolated(many)
    crystals = _crystals(many // 5)
    labels = _labels(isolated)
    return [
        _row("structure checks, 30 isolated atoms", isolated, check_structures, thresholds),
        _row("structure checks, 32 atoms, periodic", crystals, check_structures, thresholds),
        _row("label checks, 30 isolated atoms", isolated, check_labels, labels, thresholds),
        _row("energy fit and outliers", isolated, check_energies, labels, thresholds),
        _row("near-duplicates, 30 isolated atoms", isolated, find_duplicates),
    ]


def _row(
    name: str, structures: StructureArrays, work: Callable[..., Any], *more: Any
) -> dict[str, Any]:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = work(structures, *more)
        seconds.append(time.perf_counter() - start)
    findings = result[0] if isinstance(result, tuple) else result
    return {
        "work": name,
        "structures": len(structures),
        "findings": len(findings),
        "seconds": round(min(seconds), 3),
        "structures_per_s": round(len(structures) / min(seconds)),
    }


def _isolated(many: int) -> StructureArrays:
    """Two molecules of benzene and one of ethene on top of each other: 30 atoms."""
    parts = [molecule("C6H6"), molecule("C6H6"), molecule("C2H4")]
    numbers = np.concatenate([part.numbers for part in parts])
    layers = [part.positions + np.array([0, 0, 4.0 * i]) for i, part in enumerate(parts)]
    positions = np.concatenate(layers)
    rng = np.random.default_rng(0)
    return StructureArrays.of(
        [Structure(numbers, positions + rng.normal(0, 0.05, positions.shape)) for _ in range(many)]
    )


def _crystals(many: int) -> StructureArrays:
    perfect = Structure.from_atoms(bulk("NaCl", "rocksalt", 5.64, cubic=True) * (2, 2, 1))
    rng = np.random.default_rng(0)
    return StructureArrays.of(
        [
            perfect.moved(perfect.positions + rng.normal(0, 0.1, perfect.positions.shape))
            for _ in range(many)
        ]
    )


def _labels(structures: StructureArrays) -> LabelArrays:
    rng = np.random.default_rng(0)
    forces = rng.normal(0, 1, (len(structures.numbers), 3))
    start = structures.offsets[:-1]
    means = np.add.reduceat(forces, start) / structures.n_atoms[:, None]
    return LabelArrays(
        rng.normal(-1000.0, 0.5, len(structures)),
        forces - np.repeat(means, structures.n_atoms, axis=0),
        np.full((len(structures), 6), np.nan),
        False,
    )
