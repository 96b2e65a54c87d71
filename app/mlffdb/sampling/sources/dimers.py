"""Pairs of atoms or molecules at a range of distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlffdb.errors import InvalidStructureError
from mlffdb.sampling.geometry import covalent_radii
from mlffdb.sampling.items import Item
from mlffdb.sampling.names import Symbol
from mlffdb.sampling.seeds import rdkit_seed
from mlffdb.sampling.source import Source, Work
from mlffdb.structures import Rejection, Structure


class Dimers(Source):
    """Two atoms or two molecules whose closest contact is given in sums of covalent radii.

    The scales are spread evenly in the logarithm from ``scale[0]`` to ``scale[1]``. Two molecules
    are embedded once each and turned at random at every distance. All are tagged ``reference``.
    """

    type: Literal["dimers"] = "dimers"
    elements: tuple[tuple[Symbol, Symbol], ...] = Field(default=(), description="pairs of elements")
    molecules: tuple[tuple[str, str], ...] = Field(default=(), description="pairs of SMILES")
    scale: tuple[float, float] = Field(default=(0.6, 3.0), description="range of contacts, Σ radii")
    count: int = Field(default=10, ge=1, description="distances of each pair")
    multiplicity: int = Field(default=1, ge=1, description="2S+1 of the pairs of elements")

    default_domain: ClassVar[str] = "dimer"

    @model_validator(mode="after")
    def _possible(self) -> Dimers:
        if not self.elements and not self.molecules:
            raise ValueError("needs 'elements' or 'molecules' (lists of pairs)")
        low, high = self.scale
        if not 0 < low <= high <= 20:
            raise ValueError(f"scale {low:g}–{high:g}: needs 0 < first ≤ second ≤ 20")
        for pair in self.elements:
            electrons = sum(atomic_numbers[symbol] for symbol in pair)
            if electrons % 2 == self.multiplicity % 2:
                raise ValueError(
                    f"{'-'.join(pair)} has {electrons} electrons, which cannot have multiplicity "
                    f"{self.multiplicity}; put it into a block with another one"
                )
        return self

    def work(self) -> Iterator[Work]:
        for pair in self.elements:
            yield Work({"elements": list(pair)}, parents=self.count)
        for first, second in self.molecules:
            yield Work({"molecules": [first, second]}, parents=self.count)

    def build(
        self, payload: Mapping[str, Any], domain: str, seed: int
    ) -> Iterator[Item | Rejection]:
        scales = np.geomspace(*self.scale, self.count)
        if "elements" in payload:
            yield self._atoms(payload["elements"], scales, domain)
        else:
            yield self._molecules(payload["molecules"], scales, domain, seed)

    def _atoms(self, pair: list[str], scales: NDArray[np.float64], domain: str) -> Item:
        numbers = np.array([atomic_numbers[symbol] for symbol in pair])
        name = "-".join(sorted(pair))
        item = Item(self.type, name, domain, (f"dimer:{name}",), ("reference",))
        radii = float(covalent_radii()[numbers].sum())
        for scale in scales:
            positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, scale * radii]])
            item.give(
                Structure(numbers, positions, multiplicity=self.multiplicity),
                {"scale": round(float(scale), 6)},
            )
        return item

    def _molecules(
        self, pair: list[str], scales: NDArray[np.float64], domain: str, seed: int
    ) -> Item:
        from rdkit.Chem import CombineMols

        from mlffdb.sampling.molecule_item import molecule_item
        from mlffdb.structures.molecules import embed, from_smiles, structure_from_mol

        molecules = [from_smiles(smiles) for smiles in pair]
        for smiles, molecule in zip(pair, molecules, strict=True):
            if not embed(molecule, 1, rdkit_seed(seed)):
                raise InvalidStructureError("not_embedded", f"{smiles}: RDKit finds no coordinates")
        parts = [structure_from_mol(molecule) for molecule in molecules]
        both = CombineMols(*molecules)
        item = molecule_item(both, self.type, ".".join(pair), domain)
        item.tags = ("reference",)
        template = structure_from_mol(both)
        rng = np.random.default_rng(seed)
        for scale in scales:
            positions = _placed(parts[0], parts[1], float(scale), rng)
            item.give(template.moved(positions), {"scale": round(float(scale), 6)}, seed)
        return item


def _placed(
    first: Structure, second: Structure, scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (n_atoms, 3) positions, Å: *second* turned and pushed away until they touch."""
    radii = covalent_radii()
    limits = scale * (radii[first.numbers][:, None] + radii[second.numbers][None, :])
    a = first.positions - first.positions.mean(axis=0)
    centred = second.positions - second.positions.mean(axis=0)
    while True:
        b, direction = centred @ _rotation(rng).T, _rotation(rng)[0]
        delta = b[None, :, :] - a[:, None, :]
        along = delta @ direction
        # |delta + t·direction| = limit for each pair; its larger root is where the pair clears
        inside = along**2 - (delta**2).sum(axis=-1) + limits**2
        clears = (-along + np.sqrt(np.maximum(inside, 0.0)))[inside >= 0]
        if len(clears) and clears.max() > 0:  # else the two pass through each other: turn again
            return np.concatenate([a, b + direction * clears.max()])


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a (3, 3) rotation drawn evenly from all (unit quaternion; Shoemake 1992)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
