"""Checks of structures before they are labelled; missing hydrogens have their own file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mlffdb.validation.batch import StructureBatch, finding, value_of
from mlffdb.validation.finding import Finding
from mlffdb.validation.registry import structure_check

#: An empty layer this thick makes a cell a slab, wire or molecule in a box, Å.
VACUUM = 8.0


@structure_check("structure_not_finite", "NaN or infinity among coordinates or cell vectors")
def structure_not_finite(batch: StructureBatch) -> Iterator[Finding]:
    """Find coordinates and periodic cell vectors that are no finite numbers."""
    limit = batch.thresholds.active("structure_not_finite")
    if limit is None:
        return
    broken = ~np.isfinite(batch.structures.positions)
    for index in np.flatnonzero(~batch.finite & batch.judged(limit)).tolist():
        start, stop = batch.structures.offsets[index : index + 2]
        cell = batch.structures.cells[index][batch.structures.pbc[index]]
        count = int(broken[start:stop].sum() + (~np.isfinite(cell)).sum())
        message = f"{count} coordinates or cell components are NaN or infinite"
        yield finding("structure_not_finite", limit, index, float(count), message)


@structure_check(
    "min_distance",
    "Two atoms, or an atom and a periodic image, are too close for their covalent radii",
    "min_distance",
    "min_distance_suspect",
)
def min_distance(batch: StructureBatch) -> Iterator[Finding]:
    """Find the closest pair of each structure by distance over the sum of covalent radii.

    Periodic images count, an atom's own too. Limits above `pairs.MAX_RATIO` find nothing more.
    """
    names = ("min_distance", "min_distance_suspect")
    limits = [limit for name in names if (limit := batch.thresholds.active(name)) is not None]
    if not limits:
        return
    pairs = batch.pairs
    near = np.flatnonzero(pairs.ratios < max(value_of(limit) for limit in limits))
    judged = [batch.judged(limit) for limit in limits]
    for pair in _lowest(batch.owner[pairs.first[near]], pairs.ratios[near], near):
        index = batch.owner[pairs.first[pair]]
        ratio = float(pairs.ratios[pair])
        crossed = [
            limit
            for limit, mask in zip(limits, judged, strict=True)
            if mask[index] and ratio < value_of(limit)
        ]
        if crossed:
            first, second = pairs.first[pair], pairs.second[pair]
            other = "its own image" if first == second else batch.atom_name(second)
            message = (
                f"{batch.atom_name(first)} and {other} are {pairs.distances[pair]:.3f} Å apart, "
                f"{ratio:.2f} × the sum of their covalent radii"
            )
            atoms = np.unique([first, second])
            yield finding(
                "min_distance", crossed[0], index, ratio, message, batch.local(index, atoms)
            )


def _lowest(
    owners: NDArray[np.int64], values: NDArray[np.float64], items: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the item of lowest value of each owner."""
    order = np.lexsort((values, owners))
    _, first = np.unique(owners[order], return_index=True)
    return items[order[first]]


@structure_check(
    "multiplicity_unknown",
    "An isolated structure has an odd number of electrons and no stated multiplicity",
)
def multiplicity_unknown(batch: StructureBatch) -> Iterator[Finding]:
    """Find isolated structures whose spin state would have to be guessed."""
    limit = batch.thresholds.active("multiplicity_unknown")
    if limit is None:
        return
    unknown = (batch.n_periodic == 0) & (batch.structures.multiplicities == 0)
    odd = batch.n_electrons % 2 == 1
    for index in np.flatnonzero(unknown & odd & batch.judged(limit)).tolist():
        message = (
            f"{batch.n_electrons[index]} electrons (charge {batch.structures.charges[index]}) are "
            "an odd number and no multiplicity is stated; state charge and multiplicity"
        )
        yield finding("multiplicity_unknown", limit, index, None, message)


@structure_check(
    "multiplicity_parity",
    "Charge and multiplicity of an isolated structure contradict its number of electrons",
)
def multiplicity_parity(batch: StructureBatch) -> Iterator[Finding]:
    """Find isolated structures with an impossible multiplicity, or more charge than electrons.

    N electrons have a multiplicity 2S+1 of N+1 at most, and odd where N is even.
    """
    limit = batch.thresholds.active("multiplicity_parity")
    if limit is None:
        return
    electrons = batch.n_electrons
    multiplicities = batch.structures.multiplicities.astype(np.int64)
    stated = multiplicities > 0
    odd_sum = (electrons + multiplicities) % 2 == 0
    wrong = stated & (odd_sum | (multiplicities > electrons + 1)) | (electrons < 0)
    for index in np.flatnonzero(wrong & (batch.n_periodic == 0) & batch.judged(limit)).tolist():
        message = (
            f"multiplicity {multiplicities[index] or 'unstated'} is impossible with "
            f"{electrons[index]} electrons (charge {batch.structures.charges[index]})"
        )
        yield finding("multiplicity_parity", limit, index, None, message)


@structure_check(
    "volume_per_atom",
    "A crystal is denser or thinner than any solid; cells with a vacuum layer are left out",
    "volume_per_atom_min",
    "volume_per_atom_max",
)
def volume_per_atom(batch: StructureBatch) -> Iterator[Finding]:
    """Find structures periodic in three dimensions with an impossible volume per atom."""
    bulk = (batch.n_periodic == 3) & batch.finite
    if not bulk.any():
        return
    determinants = np.zeros(len(batch))
    determinants[bulk] = np.abs(np.linalg.det(batch.structures.cells[bulk]))
    volumes = determinants / batch.structures.n_atoms
    low = batch.thresholds.active("volume_per_atom_min")
    if low is not None:
        for index in np.flatnonzero(bulk & (volumes < value_of(low)) & batch.judged(low)).tolist():
            message = f"{volumes[index]:.2f} Å³ per atom is denser than any solid"
            yield finding("volume_per_atom", low, index, float(volumes[index]), message)
    high = batch.thresholds.active("volume_per_atom_max")
    if high is not None:
        for index in np.flatnonzero(
            bulk & (volumes > value_of(high)) & batch.judged(high)
        ).tolist():
            if not _has_vacuum(batch, int(index)):
                message = f"{volumes[index]:.1f} Å³ per atom is thinner than any solid"
                yield finding("volume_per_atom", high, index, float(volumes[index]), message)


def _has_vacuum(batch: StructureBatch, index: int) -> bool:
    """Whether an empty layer of at least VACUUM cuts the cell between two lattice planes."""
    start, stop = batch.structures.offsets[index : index + 2]
    inverse = np.linalg.inv(batch.structures.cells[index])
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    layers = np.sort((batch.structures.positions[start:stop] @ inverse) % 1.0, axis=0)
    gaps = np.diff(layers, axis=0, append=layers[:1] + 1.0)
    return bool((gaps.max(axis=0) * heights > VACUUM).any())
