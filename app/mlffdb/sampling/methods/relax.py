"""Minima of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from mlffdb.sampling.engine_spec import EngineField
from mlffdb.sampling.items import Context, Item
from mlffdb.sampling.method import Method, Pool
from mlffdb.sampling.relaxation import minimum_label, relax
from mlffdb.structures import Candidate, Rejection


class Relax(Method):
    """The minimum next to each parent (ASE's BFGS, fixed cell); it takes the parent's place."""

    type: Literal["relax"] = "relax"
    engine: EngineField
    fmax: float = Field(
        default=0.01, gt=0, description="largest force on an atom of the minimum, eV/Å"
    )
    max_steps: int = Field(default=500, ge=1, description="steps after which it is given up")

    def expected(self, pool: Pool) -> tuple[int, Pool]:
        label = minimum_label(self.engine, self.fmax)
        started = pool[: self.parents]
        made = sum(minimum_of != label for minimum_of in started)
        return made, (label,) * len(started) + pool[self.parents :]

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        for place, parent in enumerate(item.parents[: self.parents]):
            if parent.minimum_of == minimum_label(self.engine, self.fmax):
                continue
            minimum, steps = relax(
                item,
                parent,
                context.engines,
                engine=self.engine,
                fmax=self.fmax,
                max_steps=self.max_steps,
            )
            item.parents[place] = minimum
            yield item.candidate(
                minimum.structure,
                self.type,
                parameters={"engine": self.engine.label, "fmax": self.fmax, "steps": steps},
                parent=parent,
            )
