"""Frames of molecular dynamics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlffdb.sampling.engine_spec import EngineField
from mlffdb.sampling.engines import EngineFailedError
from mlffdb.sampling.geometry import closest_contact
from mlffdb.sampling.items import Context, Item, Parent
from mlffdb.sampling.method import Method, Pool
from mlffdb.structures import Candidate, Rejection

#: Steps between two looks at distances and temperature.
CHECK_EVERY = 10


class ExplodedError(Exception):
    """A trajectory left physics; its good frames stay."""


class Md(Method):
    """Frames of a Langevin trajectory (ASE's integrator), each a stated time after the last.

    Velocities start from the Maxwell–Boltzmann distribution at the temperature, without drift.
    A trajectory ends with a rejection where a force exceeds ``max_force``, atoms come closer than
    ``min_contact`` or the temperature exceeds ten times the set one; its frames so far stay.
    All frames share the group key ``trajectory:…``.
    """

    type: Literal["md"] = "md"
    engine: EngineField
    temperature: float = Field(gt=0, description="temperature of the thermostat, K")
    frames: int = Field(ge=1, description="frames kept of each parent's trajectory")
    spacing_fs: float = Field(default=50.0, gt=0, description="time between frames, fs")
    start_fs: float = Field(default=0.0, ge=0, description="time run before the first spacing, fs")
    timestep_fs: float = Field(default=1.0, gt=0, le=10, description="time step, fs")
    friction_per_fs: float = Field(default=0.01, gt=0, description="Langevin friction, 1/fs")
    max_force: float = Field(default=100.0, gt=0, description="force on an atom that ends it, eV/Å")
    min_contact: float = Field(
        default=0.5, ge=0, description="contact that ends it, in sums of covalent radii"
    )

    @model_validator(mode="after")
    def _steps(self) -> Md:
        if self.spacing_fs < self.timestep_fs:
            raise ValueError(
                f"spacing_fs {self.spacing_fs:g} is shorter than timestep_fs {self.timestep_fs:g}"
            )
        return self

    def expected(self, pool: Pool) -> tuple[int, Pool]:
        return len(pool[: self.parents]) * self.frames, pool

    def run(self, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
        for place, parent in enumerate(item.parents[: self.parents]):
            yield from self._trajectory(item, parent, place, context)

    def _trajectory(
        self, item: Item, parent: Parent, place: int, context: Context
    ) -> Iterator[Any]:
        key = f"{parent.id}:{context.seed}:{place}:{self.model_dump_json()}"
        group = f"trajectory:{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        facts = {"engine": self.engine.label, **self.model_dump(exclude={"type", "engine"})}
        atoms = parent.structure.to_atoms()
        atoms.calc = context.engines.engine(self.engine, item)
        dynamics = self._dynamics(atoms, parent, context)
        spacing = round(self.spacing_fs / self.timestep_fs)
        for frame in range(self.frames):
            steps = spacing + (round(self.start_fs / self.timestep_fs) if frame == 0 else 0)
            try:
                dynamics.run(steps)
                self._check(atoms, parent)
            except (ExplodedError, EngineFailedError) as error:
                code = "exploded" if isinstance(error, ExplodedError) else "engine_failed"
                yield item.rejection(
                    code,
                    f"trajectory of {self.engine.name} at {self.temperature:g} K ended after "
                    f"{dynamics.nsteps} steps and {frame} of {self.frames} frames: {error}",
                )
                return
            yield item.candidate(
                parent.structure.moved(atoms.positions),
                self.type,
                parameters=facts | {"frame": frame, "step": dynamics.nsteps},
                seed=context.seed,
                parent=parent,
                group_keys=(group,),
            )

    def _dynamics(self, atoms: Any, parent: Parent, context: Context) -> Any:
        from ase import units
        from ase.md.langevin import Langevin

        atoms.set_momenta(_momenta(atoms.get_masses(), units.kB * self.temperature, context.rng))
        dynamics = Langevin(
            atoms,
            self.timestep_fs * units.fs,
            temperature_K=self.temperature,
            friction=self.friction_per_fs / units.fs,
            fixcm=False,  # holding the centre of mass distorts the ensemble of small systems
            rng=context.rng,
        )
        dynamics.attach(self._check_forces, 1, atoms)
        dynamics.attach(self._check, CHECK_EVERY, atoms, parent)
        return dynamics

    def _check_forces(self, atoms: Any) -> None:
        largest = float((atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5)
        if largest > self.max_force:
            raise ExplodedError(f"a force of {largest:.0f} eV/Å")

    def _check(self, atoms: Any, parent: Parent) -> None:
        contact = closest_contact(parent.structure.moved(atoms.positions))
        if contact < self.min_contact:
            raise ExplodedError(f"atoms at {contact:.2f} of their covalent radii")
        temperature = atoms.get_temperature()
        if temperature > 10 * self.temperature and len(atoms) > 2:
            raise ExplodedError(f"a temperature of {temperature:.0f} K")


def _momenta(
    masses: NDArray[np.float64], kT: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (n_atoms, 3) momenta of the Maxwell–Boltzmann distribution without drift.

    masses in amu, kT in eV; in ASE's units.
    """
    momenta = rng.standard_normal((len(masses), 3)) * np.sqrt(masses * kT)[:, None]
    if len(masses) > 1:
        momenta -= masses[:, None] * (momenta.sum(axis=0) / masses.sum())
    return np.asarray(momenta)
