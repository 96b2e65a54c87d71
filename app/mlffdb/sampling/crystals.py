"""Crystal prototypes: where the sites are, and how long the bonds should be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import gcd, sqrt

import numpy as np
from ase.data import atomic_numbers, reference_states
from numpy.typing import NDArray

from mlffdb.sampling.geometry import covalent_radii

Vector = tuple[float, float, float]

FCC: tuple[Vector, ...] = ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
BCC: tuple[Vector, ...] = ((-0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5))
CUBIC: tuple[Vector, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
HEXAGONAL: tuple[Vector, ...] = ((1, 0, 0), (-0.5, sqrt(3) / 2, 0), (0, 0, sqrt(8 / 3)))
RUTILE: tuple[Vector, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 0.644))  # c/a of TiO2
U = 0.305  # x of oxygen in TiO2


@dataclass(frozen=True, slots=True)
class Prototype:
    """A primitive cell in units of the lattice constant a.

    cell: rows are lattice vectors over a
    sites: (letter, fractional coordinates)
    bond: shortest bond over a, between the letters in ``bonded``
    coordination: neighbours of the first bonded letter
    """

    cell: tuple[Vector, ...]
    sites: tuple[tuple[str, Vector], ...]
    bond: float
    bonded: str
    coordination: int

    @property
    def letters(self) -> list[str]:
        """Letters of the sites: A and B are cations or metals, X is the anion."""
        return sorted({letter for letter, _ in self.sites})

    @property
    def stoichiometry(self) -> dict[str, int]:
        """Atoms of each letter in the reduced formula."""
        counts = dict.fromkeys(self.letters, 0)
        for letter, _ in self.sites:
            counts[letter] += 1
        common = gcd(*counts.values())
        return {letter: count // common for letter, count in counts.items()}


def _of(letter: str, *places: Vector) -> tuple[tuple[str, Vector], ...]:
    return tuple((letter, place) for place in places)


_QUARTER: Vector = (0.25, 0.25, 0.25)
_THREE_QUARTERS: Vector = (0.75, 0.75, 0.75)
_CENTRE: Vector = (0.5, 0.5, 0.5)
_ORIGIN: Vector = (0, 0, 0)
_FACES: tuple[Vector, ...] = ((0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))

#: Strukturbericht A1, A2, A3, A_h, A4, B1, B2, B3, B4, C1, anti-C1, C4, E2_1.
PROTOTYPES: dict[str, Prototype] = {
    "fcc": Prototype(FCC, _of("A", _ORIGIN), sqrt(0.5), "AA", 12),
    "bcc": Prototype(BCC, _of("A", _ORIGIN), sqrt(3) / 2, "AA", 8),
    "hcp": Prototype(HEXAGONAL, _of("A", (1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)), 1, "AA", 12),
    "sc": Prototype(CUBIC, _of("A", _ORIGIN), 1, "AA", 6),
    "diamond": Prototype(FCC, _of("A", _ORIGIN, _QUARTER), sqrt(3) / 4, "AA", 4),
    "rocksalt": Prototype(FCC, _of("A", _ORIGIN) + _of("X", _CENTRE), 0.5, "AX", 6),
    "cesiumchloride": Prototype(CUBIC, _of("A", _ORIGIN) + _of("X", _CENTRE), sqrt(3) / 2, "AX", 8),
    "zincblende": Prototype(FCC, _of("A", _ORIGIN) + _of("X", _QUARTER), sqrt(3) / 4, "AX", 4),
    "wurtzite": Prototype(
        HEXAGONAL,
        _of("A", (1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0.5))
        + _of("X", (1 / 3, 2 / 3, 0.375), (2 / 3, 1 / 3, 0.875)),
        0.375 * sqrt(8 / 3),
        "AX",
        4,
    ),
    "fluorite": Prototype(
        FCC, _of("A", _ORIGIN) + _of("X", _QUARTER, _THREE_QUARTERS), sqrt(3) / 4, "AX", 8
    ),
    "antifluorite": Prototype(
        FCC, _of("A", _QUARTER, _THREE_QUARTERS) + _of("X", _ORIGIN), sqrt(3) / 4, "AX", 4
    ),
    "rutile": Prototype(
        RUTILE,
        _of("A", _ORIGIN, _CENTRE)
        + _of("X", (U, U, 0), (1 - U, 1 - U, 0), (0.5 + U, 0.5 - U, 0.5), (0.5 - U, 0.5 + U, 0.5)),
        U * sqrt(2),
        "AX",
        6,
    ),
    "perovskite": Prototype(
        CUBIC, _of("A", _ORIGIN) + _of("B", _CENTRE) + _of("X", *_FACES), 0.5, "BX", 6
    ),
}

#: Oxidation state → effective ionic radius in Å with six neighbours (R. D. Shannon, Acta Cryst.
#: A32, 751 (1976); high spin where there are two), None where he gives none.
IONS: dict[str, dict[int, float | None]] = {
    "Li": {1: 0.76}, "Na": {1: 1.02}, "K": {1: 1.38}, "Rb": {1: 1.52}, "Cs": {1: 1.67},
    "Be": {2: 0.45}, "Mg": {2: 0.72}, "Ca": {2: 1.00}, "Sr": {2: 1.18}, "Ba": {2: 1.35},
    "Sc": {3: 0.745}, "Y": {3: 0.90}, "La": {3: 1.032}, "Ce": {3: 1.01, 4: 0.87},
    "Ti": {2: 0.86, 3: 0.67, 4: 0.605}, "Zr": {4: 0.72}, "Hf": {4: 0.71},
    "V": {2: 0.79, 3: 0.64, 4: 0.58, 5: 0.54}, "Nb": {4: 0.68, 5: 0.64}, "Ta": {5: 0.64},
    "Cr": {2: 0.80, 3: 0.615, 4: 0.55}, "Mo": {4: 0.65, 6: 0.59}, "W": {4: 0.66, 6: 0.60},
    "Mn": {2: 0.83, 3: 0.645, 4: 0.53}, "Fe": {2: 0.78, 3: 0.645}, "Co": {2: 0.745, 3: 0.61},
    "Ni": {2: 0.69}, "Cu": {1: 0.77, 2: 0.73}, "Ag": {1: 1.15}, "Zn": {2: 0.74}, "Cd": {2: 0.95},
    "B": {3: 0.27}, "Al": {3: 0.535}, "Ga": {3: 0.62}, "In": {3: 0.80}, "Tl": {1: 1.50},
    "Si": {4: 0.40}, "Ge": {4: 0.53}, "Sn": {4: 0.69}, "Pb": {2: 1.19, 4: 0.775},
    "Eu": {2: 1.17, 3: 0.947}, "Yb": {2: 1.02, 3: 0.868}, "Th": {4: 0.94}, "U": {4: 0.89},
    "Ru": {4: 0.62}, "Ir": {4: 0.625},
    "O": {-2: 1.40}, "S": {-2: 1.84}, "Se": {-2: 1.98}, "Te": {-2: 2.21},
    "F": {-1: 1.33}, "Cl": {-1: 1.81}, "Br": {-1: 1.96}, "I": {-1: 2.20},
    "N": {-3: None}, "P": {-3: None}, "As": {-3: None}, "Sb": {-3: None}, "C": {-4: None},
}  # fmt: skip

#: Bond lengths with eight neighbours over those with six (Pauling 1960; rocksalt to CsCl).
EIGHT_OVER_SIX = 1.036
#: Bonds of four-coordinated compounds over the sum of Cordero's covalent radii: GaAs 1.016,
#: ZnS 1.031, AlN 1.003, CdTe 1.000, CuCl 1.002.
COVALENT_SCALE = 1.01
#: Packings among which an element keeps its volume.
CLOSE_PACKED = {"fcc": 1 / 4, "bcc": 1 / 2, "hcp": sqrt(2) / 2}


def balanced_charges(prototype: Prototype, elements: dict[str, str]) -> dict[str, int] | None:
    """Return an oxidation state of each letter so that the cell is neutral, or None."""
    amount = prototype.stoichiometry
    letters = prototype.letters
    for states in product(*(IONS.get(elements[letter], {}) for letter in letters)):
        signs_fit = all((s < 0) == (x == "X") for s, x in zip(states, letters, strict=True))
        total = sum(s * amount[x] for s, x in zip(states, letters, strict=True))
        if signs_fit and total == 0:
            return dict(zip(letters, states, strict=True))
    return None


def compound_name(prototype: Prototype, elements: dict[str, str]) -> str:
    """Return the reduced formula in the order A, B, X: ``BaTiO3``."""
    amount = prototype.stoichiometry
    return "".join(f"{elements[x]}{amount[x] if amount[x] > 1 else ''}" for x in prototype.letters)


def lattice_constant(name: str, elements: dict[str, str]) -> float:
    """Return an estimate of a in Å: measured where ASE knows it, else from radii."""
    prototype = PROTOTYPES[name]
    if prototype.letters == ["A"]:
        return _element_constant(name, elements["A"])
    return _bond_length(prototype, elements) / prototype.bond


def _element_constant(name: str, symbol: str) -> float:
    prototype, number = PROTOTYPES[name], atomic_numbers[symbol]
    known = reference_states[number] or {}
    symmetry = known.get("symmetry")
    if symmetry == name and name != "hcp":
        return float(known["a"])
    if symmetry in CLOSE_PACKED and name in CLOSE_PACKED:
        ideal = known.get("c/a", sqrt(8 / 3)) / sqrt(8 / 3) if symmetry == "hcp" else 1.0
        volume = known["a"] ** 3 * ideal * CLOSE_PACKED[symmetry]
        return float((volume / CLOSE_PACKED[name]) ** (1 / 3))
    return float(2 * covalent_radii()[number] / prototype.bond)


def _bond_length(prototype: Prototype, elements: dict[str, str]) -> float:
    """Bond in Å: ionic radii with six or eight neighbours, covalent ones otherwise."""
    charges = balanced_charges(prototype, elements)
    if charges is not None and prototype.coordination >= 6:
        radii = [IONS[elements[letter]][charges[letter]] for letter in prototype.bonded]
        known = [radius for radius in radii if radius is not None]
        if len(known) == 2:
            return sum(known) * (EIGHT_OVER_SIX if prototype.coordination == 8 else 1.0)
    covalent = sum(
        float(covalent_radii()[atomic_numbers[elements[letter]]]) for letter in prototype.bonded
    )
    return covalent * COVALENT_SCALE


def repeats(cell: NDArray[np.float64], n_atoms: int, min_atoms: int) -> tuple[int, int, int]:
    """Return how often to repeat a cell so that it has *min_atoms*: its shortest edge first."""
    times = np.ones(3, dtype=int)
    lengths = np.linalg.norm(cell, axis=1)
    while n_atoms * int(times.prod()) < min_atoms:
        times[np.argmin(lengths * times)] += 1
    return int(times[0]), int(times[1]), int(times[2])
