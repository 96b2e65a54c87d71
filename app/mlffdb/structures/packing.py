"""Placing molecules side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Atoms of different molecules may come as near as this fraction of the sum of their van der Waals
#: radii: 2.2 Å for O···H, between a hydrogen bond (1.9 Å) and a van der Waals contact (2.7 Å).
CONTACT = 0.8
STEP = 0.1  # Å


def spread_fragments(
    positions: NDArray[np.float64],
    fragments: Sequence[NDArray[np.intp]],
    radii: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return positions (n_atoms, 3) Å with the *fragments* turned at random and in contact.

    fragments: the atom indices of each molecule; the largest stays, around it come the others
    radii: (n_atoms,) van der Waals radii, Å
    """
    result = positions.copy()
    order = sorted(fragments, key=len, reverse=True)
    placed = order[0]
    result[placed] -= result[placed].mean(axis=0)
    for fragment in order[1:]:
        shape = (result[fragment] - result[fragment].mean(axis=0)) @ _random_rotation(random)
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        nearest = CONTACT * (radii[fragment][:, None] + radii[placed])
        result[fragment] = _outward(shape, direction, result[placed], nearest)
        placed = np.concatenate([placed, fragment])
    return result


def _outward(
    shape: NDArray[np.float64],
    direction: NDArray[np.float64],
    placed: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Move *shape* out of the centre until no pair is nearer than *nearest*."""
    shifted = shape.copy()
    while (np.linalg.norm(shifted[:, None] - placed, axis=2) < nearest).any():
        shifted += STEP * direction
    return shifted


def _random_rotation(random: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation matrix, uniform over all (from a random unit quaternion)."""
    w, x, y, z = (q := random.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
