"""Strained crystals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlffdb.sampling.items import Context, Item
from mlffdb.sampling.method import Method, Pool
from mlffdb.structures import Candidate, Rejection

#: Pairs of axes of the three shear components (Voigt yz, xz, xy).
SHEARED = ((1, 2), (0, 2), (0, 1))


class Strain(Method):
    """Volume and shear: the cell is deformed and the atoms keep their fractional coordinates.

    Volume factors fill [1 − volume, 1 + volume] evenly: one is drawn from each of ``count`` equal
    parts. The three shears are drawn from [−shear, shear]. Ten per cent of volume is what autoplex
    takes (0.90–1.10).
    """

    type: Literal["strain"] = "strain"
    volume: float = Field(default=0.1, ge=0, lt=1, description="largest relative change of volume")
    shear: float = Field(default=0.05, ge=0, lt=0.5, description="largest shear strain")
    count: int = Field(default=1, ge=1, description="structures of each parent")

    needs: ClassVar[Literal["molecule", "isolated", "periodic", "any"]] = "periodic"

    def expected(self, pool: Pool) -> tuple[int, Pool]:
        return len(pool[: self.parents]) * self.count, pool

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        for parent in item.parents[: self.parents]:
            structure = parent.structure
            if structure.n_periodic < 3 or structure.cell is None:
                yield item.rejection("not_periodic", "only a crystal can be strained")
                continue
            for index in range(self.count):
                part = (index + context.rng.random()) / self.count
                factor = 1 + self.volume * (2 * part - 1)
                shears = context.rng.uniform(-self.shear, self.shear, 3)
                F = deformation(factor, shears)
                yield item.candidate(
                    structure.moved(structure.positions @ F.T, structure.cell @ F.T),
                    self.type,
                    parameters={
                        "volume_factor": factor,
                        "shear_yz_xz_xy": shears.tolist(),
                        "index": index,
                    },
                    seed=context.seed,
                    parent=parent,
                )


def deformation(volume_factor: float, shears: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric (3, 3) deformation gradient with determinant *volume_factor*."""
    F = np.eye(3)
    for (row, column), shear in zip(SHEARED, shears, strict=True):
        F[row, column] = F[column, row] = shear
    return np.asarray(F * (volume_factor / np.linalg.det(F)) ** (1 / 3))
