"""Harmonic vibrations of an isolated structure, and random displacements along them.

With the mass-weighted Hessian H' = M^-½ H M^-½ and its eigenvectors L (H' L = L ω²), a structure in
the canonical ensemble of the harmonic, classical oscillators has

    Q_k ~ N(0, k_B T / ω_k²),    Δx = M^-½ L Q,

so that each mode holds ½ k_B T of potential energy on average (Wilson, Decius, Cross, *Molecular
Vibrations*, 1955, for the normal coordinates; equipartition for the variance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

#: Singular values below this, relative to the largest, are no rotation (linear molecules).
ROTATION_RANK = 1e-4
#: Wavenumber in cm⁻¹ of an eigenvalue of 1 eV/(Å² amu).
WAVENUMBER = float(
    units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm  # ħω in eV over 1 cm⁻¹
)


@dataclass(frozen=True, eq=False, slots=True)
class Modes:
    """M modes of n atoms, translations and rotations taken out exactly.

    eigenvalues: (M,) ω² in eV/(Å² amu), ascending; negative where imaginary
    vectors: (3n, M) mass-weighted, orthonormal
    masses: (n,) amu
    """

    eigenvalues: Array
    vectors: Array
    masses: Array

    @property
    def wavenumbers(self) -> Array:
        """(M,) cm⁻¹; negative where imaginary."""
        root = np.sqrt(np.abs(self.eigenvalues))
        return np.asarray(np.sign(self.eigenvalues) * root * WAVENUMBER)

    @property
    def reach(self) -> Array:
        """(M,) Å/(Å amu^½): how far the atom that moves most goes per unit of each Q."""
        moves = (self.vectors / np.repeat(np.sqrt(self.masses), 3)[:, None]).reshape(
            len(self.masses), 3, -1
        )
        return np.asarray(np.linalg.norm(moves, axis=1).max(axis=0))

    def widths(self, temperature: float, max_amplitude: float) -> tuple[Array, NDArray[np.bool_]]:
        """Return (M,) standard deviations of Q at *temperature* (K), and which are narrowed.

        A straight line along a soft torsion soon stretches bonds that the real motion leaves alone
        (a methyl group at 200 cm⁻¹ and 300 K: C–H by half its length). So no mode moves an atom
        by more than *max_amplitude* (Å) at one standard deviation; softer ones are narrowed to
        it, as quasi-harmonic thermochemistry raises their frequencies (Ribeiro, Marenich, Cramer,
        Truhlar, J. Phys. Chem. B 115, 14556 (2011)). Imaginary modes stand still: width 0.
        """
        real = self.eigenvalues > 0
        free = np.sqrt(units.kB * temperature / np.where(real, self.eigenvalues, 1.0))
        limit = max_amplitude / self.reach
        return np.where(real, np.minimum(free, limit), 0.0), real & (free > limit)

    def displacements(self, rng: np.random.Generator, widths: Array, count: int) -> Array:
        """Return (count, n, 3) random displacements in Å for *widths* of Q."""
        Q = rng.standard_normal((count, len(widths))) * widths
        weighted = (Q @ self.vectors.T).reshape(count, -1, 3)
        return np.asarray(weighted / np.sqrt(self.masses)[:, None])


def force_constants(atoms: Atoms, step: float) -> Array:
    """Return the (3n, 3n) Hessian in eV/Å² by central differences of the forces, symmetrised.

    *step* in Å; 6n calls of the calculator of *atoms*, whose positions are restored.
    """
    start = atoms.positions.copy()
    size = start.size
    hessian = np.empty((size, size))
    for k in range(size):
        forces = []
        for sign in (1.0, -1.0):
            moved = start.copy()
            moved.flat[k] += sign * step
            atoms.positions = moved
            forces.append(atoms.get_forces().ravel())
        hessian[k] = (forces[1] - forces[0]) / (2 * step)
    atoms.positions = start
    return (hessian + hessian.T) / 2


def normal_modes(numbers: NDArray[np.uint8], positions: Array, hessian: Array) -> Modes:
    """Return the vibrations of a structure with *positions* (n, 3) in Å and its Hessian."""
    masses = np.asarray(atomic_masses[numbers], dtype=np.float64)
    weight = np.repeat(1 / np.sqrt(masses), 3)
    vibrations = _complement(_rigid_motions(positions, masses))
    weighted = hessian * weight[:, None] * weight[None, :]
    eigenvalues, inner = np.linalg.eigh(vibrations.T @ weighted @ vibrations)
    return Modes(eigenvalues, vibrations @ inner, masses)


def _rigid_motions(positions: Array, masses: Array) -> Array:
    """(3n, 3, 5 or 6) orthonormal mass-weighted translations and rotations."""
    root = np.sqrt(masses)[:, None]
    centred = positions - masses @ positions / masses.sum()
    motions = [np.broadcast_to(axis, centred.shape) * root for axis in np.eye(3)]
    motions += [np.cross(axis, centred) * root for axis in np.eye(3)]
    vectors, strength, _ = np.linalg.svd(
        np.array([_unit_scaled(motion) for motion in motions]).reshape(6, -1).T, full_matrices=False
    )
    return np.asarray(vectors[:, strength > ROTATION_RANK * strength[0]])


def _unit_scaled(motion: Array) -> Array:
    """Scale by a length typical of molecules, so that ranks do not depend on their size."""
    return motion / max(float(np.linalg.norm(motion)), 1e-2)


def _complement(motions: Array) -> Array:
    """Orthonormal basis of what is orthogonal to the (3n, r) columns of *motions*."""
    size, rank = motions.shape
    return np.asarray(np.linalg.qr(motions, mode="complete")[0][:, rank:]).reshape(size, -1)
