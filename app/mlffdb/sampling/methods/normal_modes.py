"""Random displacements along normal modes at a temperature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlffdb.sampling.engine_spec import EngineField
from mlffdb.sampling.geometry import pairs_within
from mlffdb.sampling.items import Context, Item, Parent
from mlffdb.sampling.method import Method, Pool
from mlffdb.sampling.relaxation import minimum_label, relax
from mlffdb.structures import Candidate, Rejection, Structure

if TYPE_CHECKING:
    from mlffdb.sampling.modes import Modes

#: Draws for one structure before it is given up.
MAX_DRAWS = 20
#: Atoms of the minimum closer than this, in sums of covalent radii, are bonded.
BOND = 1.2


class NormalModes(Method):
    """Structures of the harmonic canonical ensemble around a minimum (`mlffdb.sampling.modes`).

    Each parent is relaxed first with the same engine; the minimum is stored and takes its place.
    The Hessian comes from central differences of forces. Soft modes are narrowed to
    ``max_amplitude``, imaginary ones stand still, and the origin says how many of each there
    were. A draw with atoms closer than ``min_contact``
    or a bond stretched beyond ``max_stretch`` is drawn again.
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
    max_amplitude: float = Field(
        default=0.2, gt=0, description="how far one mode may move an atom, standard deviation, Å"
    )
    min_contact: float = Field(
        default=0.6, ge=0, description="smallest distance allowed, in sums of covalent radii"
    )
    max_stretch: float = Field(
        default=1.4, gt=1, description="longest bond allowed, in lengths of it at the minimum"
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

    def _drawn(
        self, item: Item, minimum: Parent, context: Context
    ) -> Iterator[Candidate | Rejection]:
        from mlffdb.sampling.modes import force_constants, normal_modes

        atoms = minimum.structure.to_atoms()
        atoms.calc = context.engines.engine(self.engine, item)
        hessian = force_constants(atoms, self.step)
        modes = normal_modes(minimum.structure.numbers, minimum.structure.positions, hessian)
        facts = {
            "engine": self.engine.label,
            "modes": len(modes.eigenvalues),
            "imaginary_modes": int((modes.eigenvalues <= 0).sum()),
            "max_amplitude_A": self.max_amplitude,
        }
        guard = _Guard(minimum.structure, self.min_contact, self.max_stretch)
        for temperature in self.temperatures:
            widths, narrowed = modes.widths(temperature, self.max_amplitude)
            here = {"temperature_K": temperature, "narrowed_modes": int(narrowed.sum())}
            for index in range(self.count):
                structure, draws = _draw(modes, guard, widths, context.rng)
                if structure is None:
                    yield item.rejection(
                        "too_distorted",
                        f"{MAX_DRAWS} draws at {temperature:g} K all bring atoms closer than "
                        f"{self.min_contact:g} of their covalent radii or stretch a bond beyond "
                        f"{self.max_stretch:g} of its length",
                    )
                    continue
                yield item.candidate(
                    structure,
                    self.type,
                    parameters=facts | here | {"index": index, "draws": draws},
                    seed=context.seed,
                    parent=minimum,
                )


class _Guard:
    """Limits on the distances of structures drawn around a minimum."""

    def __init__(self, minimum: Structure, min_contact: float, max_stretch: float) -> None:
        self.minimum = minimum
        self._pairs = pairs_within(minimum, 3.0)
        distances = self._pairs.distances(minimum.positions)
        self._shortest = min_contact * self._pairs.radii
        bonded = distances < BOND * self._pairs.radii
        self._longest = np.where(bonded, max_stretch * distances, np.inf)

    def allows(self, positions: NDArray[np.float64]) -> bool:
        """Whether (n_atoms, 3) *positions*, Å, are within the limits."""
        distances = self._pairs.distances(positions)
        return bool((distances >= self._shortest).all() and (distances <= self._longest).all())


def _draw(
    modes: Modes, guard: _Guard, widths: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Structure | None, int]:
    """Return a structure within the limits, or None, and how many were drawn."""
    for draw in range(1, MAX_DRAWS + 1):
        positions = guard.minimum.positions + modes.displacements(rng, widths, 1)[0]
        if guard.allows(positions):
            return guard.minimum.moved(positions), draw
    return None, MAX_DRAWS
