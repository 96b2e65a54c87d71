"""Missing hydrogens, by geometry alone: files without bonds are where they get lost.

A bond is a distance below 1.25 × the sum of covalent radii. Its order follows Pauling's relation
n = exp((R − d) / 0.3 Å), with R the sum of radii (Cordero), between 1 and 3: C–C 1.54 Å → 1.0,
benzene 1.39 → 1.5, C=C 1.34 → 1.8, C≡C 1.20 → 2.9. What an atom of C, N or O then lacks to its
valence of 4, 3 or 2 was a hydrogen, except:

- next to a metal, whose bonds have no fixed order: carbides, oxides, carbonyls, carbonates;
- carbon with two neighbours in line (CO₂, nitriles, alkynes), with three in a plane or four, or
  with nothing but a double or triple bond to O or S (carbon monoxide, and so formaldehyde);
- nitrogen with three neighbours, oxygen with two, or with one oxygen (ozone, O₂);
- what a negative or positive charge and unpaired electrons account for;
- clusters and surfaces of pure carbon, unless half of the atoms are open;
- structures with neither carbon nor lone atoms of N or O, and fewer than two heavy atoms, or two
  without carbon.

Hydrogens on atoms that a metal touches (ferrocene) and a single missing hydrogen are not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlffdb.validation.batch import StructureBatch, finding, value_of
from mlffdb.validation.finding import Finding
from mlffdb.validation.pairs import RADII
from mlffdb.validation.registry import structure_check

DECAY = 0.3  # Å, of the bond order with length: C–C, C=C and C≡C agree within 0.2
FEW_MISSING = 2  # one open valence may be a radical or an ion
OPEN_SHARE = 0.2  # missing hydrogens per atom of C, N, O: fewer may be defects of a solid
OPEN_CARBON = 0.5  # open share of pure carbon: graphene flakes and surfaces stay below
BENT = 0.5  # |sum of unit vectors| of two bonds at 151°: straighter is sp carbon
CARBONYL = 1.6  # bond order of C to its only neighbour, O or S; methanol's is 1.0, CO's 2.6
PYRAMIDAL = 0.7  # the same of three bonds; C₆₀ has 0.6, a tetrahedron 1.0

_VALENCE = np.zeros(256)
_VALENCE[[6, 7, 8]] = 4, 3, 2
_MAX_NEIGHBOURS = np.zeros(256)  # with more, the valence is taken as closed
_MAX_NEIGHBOURS[[6, 7, 8]] = 3, 2, 1
_NONMETALS = (1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 32, 33, 34, 35, 36, 52, 53, 54, 85, 86)
_METAL = np.ones(256, dtype=bool)
_METAL[list(_NONMETALS)] = False
_CHALCOGEN = np.zeros(256, dtype=bool)
_CHALCOGEN[[8, 16, 34, 52]] = True


@structure_check("missing_hydrogens", "Open valences of C, N and O, with no or too few hydrogens")
def missing_hydrogens(batch: StructureBatch) -> Iterator[Finding]:
    """Find structures whose C, N and O ask for more hydrogens than there are.

    The value is the share of hydrogens that is missing, of those present and missing together.
    """
    limit = batch.thresholds.active("missing_hydrogens")
    if limit is None:
        return
    numbers = batch.structures.numbers
    around = _surroundings(batch)
    missing = _missing_per_atom(numbers, around)
    lone = (missing > 0) & (around.neighbours == 0)
    lacking = np.bincount(batch.owner, missing, minlength=len(batch)) - _excused(batch)
    present = batch.count(numbers == 1)
    frame = batch.count(_VALENCE[numbers] > 0)
    share = lacking / np.maximum(present + lacking, 1.0)
    flagged = (
        (lacking >= FEW_MISSING)
        & (share > value_of(limit))
        & (lacking >= OPEN_SHARE * frame)
        & (batch.count((numbers == 6) | lone) > 0)
        & ~_may_be_carbon(batch, missing)
        & ~_too_small(batch)
    )
    for index in np.flatnonzero(flagged & batch.finite & batch.judged(limit)).tolist():
        start, stop = batch.structures.offsets[index : index + 2]
        atoms = start + np.flatnonzero(missing[start:stop])
        message = (
            f"{present[index] or 'no'} hydrogens, and about {lacking[index]:.0f} more expected "
            f"on {len(atoms)} atoms of C, N and O with open valences"
        )
        where = batch.local(index, atoms)
        yield finding("missing_hydrogens", limit, index, float(share[index]), message, where)


@dataclass(frozen=True, eq=False, slots=True)
class _Surroundings:
    """Of each atom: its bonds, the sums of their orders and unit vectors, and what they touch."""

    neighbours: NDArray[np.intp]
    orders: NDArray[np.float64]
    lean: NDArray[np.float64]
    on_metal: NDArray[np.bool_]
    on_chalcogen: NDArray[np.bool_]


def _missing_per_atom(numbers: NDArray[np.uint8], around: _Surroundings) -> NDArray[np.float64]:
    """(N,) whole number of hydrogens that each atom of C, N and O seems to lack."""
    carbon, single = numbers == 6, (around.neighbours == 1) & around.on_chalcogen
    closed = (
        (around.neighbours > _MAX_NEIGHBOURS[numbers])
        | around.on_metal
        | carbon & (around.neighbours == 2) & (around.lean < BENT)
        | (around.neighbours == 3) & (around.lean < PYRAMIDAL)
        | carbon & single & (around.orders > CARBONYL)
        | (numbers == 8) & single
    )
    open_valence = np.rint(_VALENCE[numbers] - around.orders)
    return np.where(closed, 0.0, np.maximum(open_valence, 0.0))


def _surroundings(batch: StructureBatch) -> _Surroundings:
    """Add up the bonds of atoms of C, N and O; all zero for other atoms."""
    numbers, pairs, total = batch.structures.numbers, batch.pairs, len(batch.owner)
    lengths = np.maximum(pairs.distances, 1e-6)
    reference = RADII[numbers[pairs.first]] + RADII[numbers[pairs.second]]
    order: NDArray[np.float64] = np.clip(np.exp((reference - lengths) / DECAY), 1.0, 3.0)
    unit = pairs.vectors / lengths[:, None]
    centre = np.concatenate([pairs.first, pairs.second])
    other = np.concatenate([pairs.second, pairs.first])
    kept = np.flatnonzero(_VALENCE[numbers[centre]] > 0)
    centre, other = centre[kept], other[kept]
    vectors = np.concatenate([unit, -unit])[kept]
    sums = [np.bincount(centre, column, minlength=total) for column in vectors.T]
    on_metal, on_chalcogen = np.zeros(total, dtype=bool), np.zeros(total, dtype=bool)
    on_metal[centre[_METAL[numbers[other]]]] = True
    on_chalcogen[centre[_CHALCOGEN[numbers[other]]]] = True
    return _Surroundings(
        np.bincount(centre, minlength=total),
        np.bincount(centre, np.concatenate([order, order])[kept], minlength=total).astype(float),
        np.sqrt(sums[0] ** 2 + sums[1] ** 2 + sums[2] ** 2),
        on_metal,
        on_chalcogen,
    )


def _excused(batch: StructureBatch) -> NDArray[np.int64]:
    """(B,) open valences that the charge and unpaired electrons account for."""
    charges = np.abs(batch.structures.charges.astype(np.int64))
    return charges + np.maximum(batch.structures.multiplicities.astype(np.int64) - 1, 0)


def _may_be_carbon(batch: StructureBatch, missing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(B,) whether this is pure carbon with most atoms closed: a cluster, a flake, a surface."""
    sizes = batch.structures.n_atoms
    pure = batch.count(batch.structures.numbers == 6) == sizes
    mostly_closed: NDArray[np.bool_] = batch.count(missing > 0) < OPEN_CARBON * sizes
    result: NDArray[np.bool_] = pure & mostly_closed
    return result


def _too_small(batch: StructureBatch) -> NDArray[np.bool_]:
    """(B,) whether there are too few heavy atoms to tell: one, or two without carbon."""
    numbers = batch.structures.numbers
    heavy = batch.count(numbers > 1)
    without_carbon = batch.count(numbers == 6) == 0
    small: NDArray[np.bool_] = (heavy < 2) | (heavy == 2) & without_carbon
    return small
