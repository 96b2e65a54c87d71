"""Random displacements along normal modes at a temperature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlffdb.sampling.engine_spec import EngineField
from mlffdb.sampling.geometry import closest_contact
from mlffdb.sampling.items import Context, Item, Parent
from mlffdb.sampling.method import Method, Pool
from mlffdb.sampling.relaxation import minimum_label, relax
from mlffdb.structures import Candidate, Rejection, Structure

#: Draws for one structure before it is given up.
MAX_DRAWS = 20


class NormalModes(Method):
    """Structures of the harmonic canonical ensemble around a minimum (`mlffdb.sampling.modes`).

    Each parent is relaxed first with the same engine; the minimum is stored and takes its place.
    The Hessian comes from central differences of forces. Soft modes are raised to
    ``min_wavenumber``, imaginary ones stand still, and the origin says how many of each there
    were. A draw with atoms closer than ``min_contact`` is drawn again.
    """

    type: Literal["normal_modes"] = "normal_modes"
    engine: EngineField
    temperatures: list[Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="temperatures, K"
    )
    count: int = Field(default=1, ge=1, description="structures of each parent at each temperature")
    fmax: float = Field(
        default=0.005, gt=0, description="largest force on an atom of the minimum, eV/Å"
    )
    max_steps: int = Field(default=500, ge=1, description="steps after which relaxing is given up")
    step: float = Field(default=0.01, gt=0, le=0.1, description="displacement for the Hessian, Å")
    min_wavenumber: float = Field(
        default=100.0, gt=0, description="softer modes are raised to this, cm⁻¹"
    )
    min_contact: float = Field(
        default=0.6, ge=0, description="smallest distance allowed, in sums of covalent radii"
    )

    needs: ClassVar[Literal["molecule", "isolated", "periodic", "any"]] = "isolated"

    def expected(self, pool: Pool) -> tuple[int, Pool]:
        label = minimum_label(self.engine, self.fmax)
        started = pool[: self.parents]
        minima = sum(minimum_of != label for minimum_of in started)
        drawn = len(started) * len(self.temperatures) * self.count
        return minima + drawn, (label,) * len(started) + pool[self.parents :]

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        for place, parent in enumerate(item.parents[: self.parents]):
            minimum = parent
            if parent.structure.n_atoms == 1:
                yield item.rejection("no_modes", "a single atom has no vibrations")
                continue
            if parent.minimum_of != minimum_label(self.engine, self.fmax):
                minimum, steps = relax(
                    item,
                    parent,
                    context.engines,
                    engine=self.engine,
                    fmax=self.fmax,
                    max_steps=self.max_steps,
                )
                item.parents[place] = minimum
                facts = {"engine": self.engine.label, "fmax": self.fmax, "steps": steps}
                yield item.candidate(minimum.structure, "relax", parameters=facts, parent=parent)
            yield from self._drawn(item, minimum, context)

    def _drawn(self, item: Item, minimum: Parent, context: Context) -> Iterator[Any]:
        from mlffdb.sampling.modes import force_constants, normal_modes

        atoms = minimum.structure.to_atoms()
        atoms.calc = context.engines.engine(self.engine, item)
        hessian = force_constants(atoms, self.step)
        modes = normal_modes(minimum.structure.numbers, minimum.structure.positions, hessian)
        facts = {
            "engine": self.engine.label,
            "modes": len(modes.eigenvalues),
            "imaginary_modes": int((modes.eigenvalues <= 0).sum()),
            "min_wavenumber_per_cm": self.min_wavenumber,
            "raised_modes": int(
                ((modes.eigenvalues > 0) & (modes.wavenumbers < self.min_wavenumber)).sum()
            ),
        }
        for temperature in self.temperatures:
            for index in range(self.count):
                structure, draws = self._draw(modes, minimum, temperature, context.rng)
                if structure is None:
                    yield item.rejection(
                        "too_close",
                        f"{MAX_DRAWS} draws at {temperature:g} K all bring atoms closer than "
                        f"{self.min_contact:g} of their covalent radii",
                    )
                    continue
                yield item.candidate(
                    structure,
                    self.type,
                    parameters=facts
                    | {"temperature_K": temperature, "index": index, "draws": draws},
                    seed=context.seed,
                    parent=minimum,
                )

    def _draw(
        self, modes: Any, minimum: Parent, temperature: float, rng: np.random.Generator
    ) -> tuple[Structure | None, int]:
        for draw in range(1, MAX_DRAWS + 1):
            shift: NDArray[np.float64] = modes.displacements(
                rng, temperature, 1, self.min_wavenumber
            )[0]
            structure = minimum.structure.moved(minimum.structure.positions + shift)
            if closest_contact(structure) >= self.min_contact:
                return structure, draw
        return None, MAX_DRAWS
