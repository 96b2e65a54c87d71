"""Removal of the net torque from directly predicted forces of a molecule.

Orb solves the same 3×3 equations in the model's precision. For a linear molecule they are singular
(it has no moment of inertia about its axis), and rounding then decides the forces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Smallest moment of inertia that counts, as a share of the largest; 1e-8 is a bend that moves an
#: atom by 1e-4 of the molecule's size. Own choice.
LINEAR = 1e-8


def without_net_torque(
    positions: NDArray[np.float64], forces: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return (n_atoms, 3) *forces* after the smallest change that leaves no net torque.

    positions: (n_atoms, 3) Å; all atoms weigh the same, as in Orb. The axis of a linear molecule,
    and an atom alone, need no change and get none.
    """
    arms = positions - positions.mean(axis=0)
    pull = forces.astype(np.float64)
    inertia = np.eye(3) * (arms**2).sum() - arms.T @ arms
    moments, axes = np.linalg.eigh(inertia)
    axes = axes[:, moments > LINEAR * moments[-1]]
    moments = moments[moments > LINEAR * moments[-1]]
    torque = np.cross(arms, pull).sum(axis=0)
    spin = axes @ ((axes.T @ torque) / moments)
    return np.asarray(pull - np.cross(spin, arms))
