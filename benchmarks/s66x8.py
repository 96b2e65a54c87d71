"""ANI-1x on S66x8: errors of energies and forces, and what the file's forces are.

`MLFFDB_BENCHMARK_FILES` names a folder with s66x8.h5 of COMP6 (github.com/isayev/COMP6): 66 dimers
at 8 distances each, in wB97X/6-31G*. Energies are totals, compared as they are: no shift, no fit,
no difference of two structures. What the file calls forces is the gradient of the energy in
Hartree/Å, which the rows ``gradient`` show without any teacher: the change of the file's own energy
between neighbouring distances against what its gradient says of the step, by the trapezoid rule.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.config import load_settings
from mlffdb.structures import Structure
from mlffdb.teachers import registry
from mlffdb.teachers.base import Prediction, Teacher
from mlffdb.teachers.label import label
from mlffdb.teachers.units import BOHR, HARTREE

FILE = "s66x8.h5"
TEACHERS = ("ani1x", "fennol:ani1x_model0")
KCAL = 4184 / 96485.33212  # eV
LONGEST_STEP = 0.16  # Å of any coordinate; the trapezoid rule is off for longer ones
#: Published for the ensemble over the whole of COMP6: J. S. Smith et al., J. Chem. Phys. 148,
#: 241733 (2018).
COMP6 = {
    "teacher": "ANI-1x on all of COMP6, as published",
    "energy_mae": 1.93,
    "energy_rmse": 3.37,
    "forces_mae": 3.09,
    "forces_rmse": 5.29,
}


@dataclass(frozen=True)
class Dimers:
    """Structures with the file's values: energies in eV, its ``forces`` as they are."""

    structures: list[Structure]
    energies: NDArray[np.float64]
    raw_forces: list[NDArray[np.float64]]
    dimer: NDArray[np.int64]


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return one row per teacher, in kcal/mol and kcal/mol/Å; *quick* takes every eighth dimer."""
    path = Path(os.environ.get("MLFFDB_BENCHMARK_FILES", "")) / FILE
    if not path.is_file():
        return [{"teacher": "none", "note": f"skipped: no {FILE} in MLFFDB_BENCHMARK_FILES"}]
    dimers = read_dimers(path, every=8 if quick else 1)
    units = {"Hartree/Å": 1.0, "Hartree/bohr": 1 / BOHR}
    rows = [_gradient_row(unit, scale, dimers) for unit, scale in units.items()]
    settings = load_settings()
    for name in TEACHERS:
        if registry.readiness(name, settings).ready:
            teacher = registry.load(name, settings=settings)
            rows.append({"teacher": name} | errors(teacher, dimers))
    return [*rows, COMP6]


def read_dimers(path: Path, every: int = 1) -> Dimers:
    """Return every *every*-th dimer of the file, at all eight distances."""
    import h5py
    from ase.data import atomic_numbers

    structures, energies, raw, dimer = [], [], [], []
    with h5py.File(path) as file:
        groups = file["s66x8"]
        for index, name in enumerate(sorted(groups)[::every]):
            group = groups[name]
            numbers = [atomic_numbers[symbol.decode()] for symbol in group["species"][:]]
            for positions in group["coordinates"][:]:
                structures.append(Structure(numbers, positions.astype(float), multiplicity=1))
                dimer.append(index)
            energies.extend(group["energies"][:] * HARTREE)
            raw.extend(group["forces"][:].astype(float))
    return Dimers(structures, np.array(energies), raw, np.array(dimer))


def errors(teacher: Teacher, dimers: Dimers) -> dict[str, float]:
    """Return MAE and RMSE of total energies, kcal/mol, and of force components, kcal/mol/Å."""
    found = label(teacher, dimers.structures)
    results = [result for result in found if isinstance(result, Prediction)]
    assert len(results) == len(found)
    energy = np.array([result.energy for result in results]) - dimers.energies
    forces = _flat([result.forces for result in results]) + _flat(dimers.raw_forces) * HARTREE
    row: dict[str, float] = {"structures": len(found)}
    for name, values in (("energy", energy / KCAL), ("forces", forces / KCAL)):
        row[f"{name}_mae"] = round(float(np.abs(values).mean()), 3)
        row[f"{name}_rmse"] = round(float(np.sqrt((values**2).mean())), 3)
    row["energy_mae_of_first_16"] = round(float(np.abs(energy[:16]).mean() / KCAL), 3)
    return row


def gradient_fit(dimers: Dimers, scale: float) -> tuple[float, float, int]:
    """Return slope, correlation and number of steps of the energy's change over the gradient's.

    The file's ``forces`` times *scale* are taken for a gradient in Hartree/Å; a slope of 1 says
    that they are one, of -1 that they are forces.
    """
    changes, steps = [], []
    for one in range(len(dimers.structures) - 1):
        other = one + 1
        if dimers.dimer[one] != dimers.dimer[other]:
            continue
        moved = dimers.structures[other].positions - dimers.structures[one].positions
        if np.abs(moved).max() > LONGEST_STEP:
            continue
        mean = (dimers.raw_forces[one] + dimers.raw_forces[other]) / 2
        changes.append(dimers.energies[other] - dimers.energies[one])
        steps.append(float((mean * moved).sum()) * scale * HARTREE)
    slope = float(np.dot(changes, steps) / np.dot(steps, steps))
    return slope, float(np.corrcoef(changes, steps)[0, 1]), len(steps)


def _gradient_row(unit: str, scale: float, dimers: Dimers) -> dict[str, Any]:
    slope, correlation, steps = gradient_fit(dimers, scale)
    return {
        "teacher": f"gradient in {unit}?",
        "structures": steps,
        "slope": round(slope, 3),
        "correlation": round(correlation, 4),
    }


def _flat(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float64)
