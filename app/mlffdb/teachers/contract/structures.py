"""Structures to check a teacher on, chosen by what it says that it can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities

#: Of each kind at most so many: a check computes each structure several times.
MOST = 4
SHAKE = 0.03  # Å, so that no force is zero by symmetry
#: Closed-shell molecules of ASE's g2 set, of different elements and sizes.
MOLECULES = ("H2O", "CH3CHO", "C6H6", "HCN", "CH4", "CH3CONH2", "SO2", "PH3", "SiH4", "NaCl", "Li2")
#: Crystals by ASE's `bulk`: name, structure (None: the element's own), repeats.
CRYSTALS = (
    ("C", "diamond", 1),
    ("NaCl", "rocksalt", 1),
    ("Si", "diamond", 1),
    ("Cu", "fcc", 1),
    ("Al", "fcc", 2),
)
SHORTEST_BOND = 1.5  # Å, of clusters and crystals of one element
LATTICE = {"NaCl": 5.64, "C": 3.57, "Si": 5.43, "Cu": 3.61, "Al": 4.05}  # Å, experiment


def built_in_structures(able: Capabilities) -> list[Structure]:
    """Return shaken structures that a teacher of these capabilities supports, smallest first.

    Molecules, charged and open-shell ones where it takes them, and crystals; clusters of its own
    elements where it knows none of these. Raises TeacherError where fewer than two fit.
    """
    found: list[Structure] = []
    if 0 in able.periodicity:
        molecules = list(islice(_supported(able, _molecules()), MOST))
        found += molecules or list(islice(_supported(able, _clusters(able)), MOST))
        found += _supported(able, _charged_and_open(able))
    if 3 in able.periodicity:
        crystals = list(islice(_supported(able, _crystals()), MOST))
        found += crystals or list(islice(_supported(able, _own_crystals(able)), MOST))
    if len(found) < 2:
        raise TeacherError(
            "no built-in structure fits what this teacher declares (elements, periodicity, "
            "largest size); run mlffdb.teachers.contract.CHECKS on structures of your own"
        )
    return sorted(found, key=lambda structure: structure.n_atoms)


def _supported(able: Capabilities, structures: Iterable[Structure]) -> Iterator[Structure]:
    for structure in structures:
        fits = able.max_atoms is None or structure.n_atoms <= able.max_atoms
        if fits and set(structure.numbers.tolist()) <= able.elements:
            yield structure


def _molecules() -> Iterator[Structure]:
    from ase.build import molecule

    for seed, name in enumerate(MOLECULES):
        yield _shaken(molecule(name), seed, multiplicity=1)


def _charged_and_open(able: Capabilities) -> Iterator[Structure]:
    from ase import Atoms
    from ase.build import molecule

    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.59
    if able.charged:
        ammonium = Atoms("NH4", np.vstack([np.zeros((1, 3)), corners]))
        yield _shaken(ammonium, 20, charge=1, multiplicity=1)
        yield _shaken(Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), 21, charge=-1, multiplicity=1)
    if able.open_shell:
        yield _shaken(molecule("CH3"), 22, multiplicity=2)
        yield _shaken(molecule("O2"), 23, multiplicity=3)


def _crystals() -> Iterator[Structure]:
    from ase.build import bulk, molecule

    for seed, (name, kind, repeats) in enumerate(CRYSTALS):
        atoms = bulk(name, kind, a=LATTICE[name], cubic=True).repeat((repeats, 1, 1))
        yield _shaken(atoms, seed)
    methanol = molecule("CH3OH")
    methanol.set_cell([[5.5, 0, 0], [0.4, 6, 0], [0, -0.3, 6.5]])
    methanol.pbc = True
    yield _shaken(methanol, 30)


def _clusters(able: Capabilities) -> Iterator[Structure]:
    """Tetrahedra and octahedra, whose number of electrons is even."""
    from ase import Atoms

    tetrahedron = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(8)
    octahedron = np.vstack([np.eye(3), -np.eye(3)]) / np.sqrt(2)
    for seed, number in enumerate(sorted(able.elements)[:MOST]):
        corners = octahedron if seed % 2 else tetrahedron
        positions = corners * _bond(number)
        yield _shaken(Atoms([number] * len(corners), positions), seed, multiplicity=1)


def _own_crystals(able: Capabilities) -> Iterator[Structure]:
    from ase.build import bulk
    from ase.data import chemical_symbols

    for seed, number in enumerate(sorted(able.elements)[:MOST]):
        edge = _bond(number) * np.sqrt(2)
        atoms = bulk(chemical_symbols[number], "fcc", a=edge, cubic=True)
        yield _shaken(atoms.repeat((1 + seed % 2, 1, 1)), seed)


def _bond(number: int) -> float:
    """Return 1.1 times the distance of two touching atoms, Å; more for hydrogen, which a crystal
    of touching atoms would squeeze to 0.2 Å³ each.
    """
    from ase.data import covalent_radii

    return max(2.2 * float(covalent_radii[number]), SHORTEST_BOND)


def _shaken(atoms: Any, seed: int, **electrons: int) -> Structure:
    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(0, SHAKE, atoms.positions.shape)
    return Structure(
        atoms.numbers, atoms.positions, atoms.cell.array, tuple(atoms.pbc), **electrons
    )
