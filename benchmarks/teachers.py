"""Teachers: the adapter against the bare teacher, on the same structures in the same run.

Each row says what both reach in structures per second, their ratio, and how long loading and the
first call took. Both take turns batch by batch over several passes, and the best time of each batch
counts, since other programs on the machine slow single passes down. Teachers whose packages or
weights are missing are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import _checks, _xtb
from mlffdb.config import Settings, load_settings
from mlffdb.structures import Structure
from mlffdb.teachers import registry
from mlffdb.teachers.base import Failure, Result, Teacher
from mlffdb.teachers.label import label
from mlffdb.teachers.registry import packages_ready
from mlffdb.teachers.units import BOHR, HARTREE

SMILES = "CC(=O)NCC(O)C"  # 19 atoms
BATCH = 53  # structures: what fits into 1,024 atoms
ORB_MODELS = ("orb-v2", "orb-v3-conservative-inf-omat")
TEACHERS = {"gfn2-xtb": 106, "fennol:ani1x_model0": 530}


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return one row per teacher; *quick* takes fewer structures and passes.

    Every teacher runs in a process of its own, as in labelling.
    """
    settings = load_settings()
    rows = []
    for name in TEACHERS:
        if not registry.readiness(name, settings).ready:
            continue
        command = [sys.executable, "-m", __name__, name, str(int(quick))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    if registry.readiness("gfn2-xtb", settings).ready:
        rows += _xtb.rows(quick)
    return rows + _orb_rows(quick) + _checks.rows(quick)


def _orb_rows(quick: bool) -> list[dict[str, Any]]:
    """Return the rows of Orb, whose random weights need no fetching."""
    if not packages_ready("orb", "orb_models", "torch").ready:
        return []
    rows = []
    for name in ORB_MODELS[:1] if quick else ORB_MODELS:
        command = [sys.executable, "-m", "benchmarks._orb", name, str(int(quick))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.extend(json.loads(done.stdout.splitlines()[-1]))
    return rows


def measure(name: str, settings: Settings, quick: bool) -> dict[str, Any]:
    """Return the row of one teacher."""
    count = TEACHERS[name] // 5 if quick else TEACHERS[name]
    structures = make_structures(count)
    started = time.perf_counter()
    teacher = registry.load(name, settings=settings)
    loaded = time.perf_counter()
    label(teacher, structures)
    first = time.perf_counter()
    bare = _bare(name, teacher, settings)
    batches = [structures[i : i + BATCH] for i in range(0, count, BATCH)]
    seconds = alternate(lambda batch: _label(teacher, batch), bare, batches, quick)
    return {
        "teacher": name,
        "structures": count,
        "adapter_per_s": round(count / seconds[0], 1),
        "bare_per_s": round(count / seconds[1], 1),
        "ratio": round(seconds[1] / seconds[0], 3),
        "load_s": round(loaded - started, 2),
        "first_call_s": round(first - loaded, 2),
        "compiles": getattr(teacher, "compiles", 0),
        "checks_share": share_around(teacher, structures),
    }


def share_around(teacher: Teacher, structures: Sequence[Structure]) -> float:
    """Return the share of labelling that is not spent in the teacher but in checks and batches."""
    inside = 0.0
    compute = teacher.compute

    def timed(batch: Sequence[Structure]) -> list[Result]:
        nonlocal inside
        started = time.perf_counter()
        results = compute(batch)
        inside += time.perf_counter() - started
        return results

    teacher.compute = timed  # type: ignore[method-assign]
    started = time.perf_counter()
    label(teacher, structures)
    whole = time.perf_counter() - started
    teacher.compute = compute  # type: ignore[method-assign]
    return round(1 - inside / whole, 4)


def make_structures(count: int, seed: int = 0) -> list[Structure]:
    """Return *count* shaken conformations of one molecule of 19 atoms."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    positions = molecule.GetConformer().GetPositions()
    rng = np.random.default_rng(seed)
    return [
        Structure(numbers, positions + rng.normal(0, 0.05, positions.shape), multiplicity=1)
        for _ in range(count)
    ]


def alternate(
    one: Callable[[Sequence[Structure]], object],
    other: Callable[[Sequence[Structure]], object],
    batches: Sequence[Sequence[Structure]],
    quick: bool,
) -> tuple[float, float]:
    """Return the seconds that each takes for all *batches*, from the best time of each batch."""
    times = np.empty((4 if quick else 12, len(batches), 2))
    for turn in times:
        for seconds, batch in zip(turn, batches, strict=True):
            started = time.perf_counter()
            one(batch)
            middle = time.perf_counter()
            other(batch)
            seconds[:] = middle - started, time.perf_counter() - middle
    best = times[1:].min(axis=0).sum(axis=0)  # the first pass warms both up
    return float(best[0]), float(best[1])


def _label(teacher: Teacher, structures: Sequence[Structure]) -> None:
    failed = [result for result in label(teacher, structures) if isinstance(result, Failure)]
    if failed:
        raise RuntimeError(f"{len(failed)} structures failed: {failed[0].message}")


def _bare(
    name: str, teacher: Teacher, settings: Settings
) -> Callable[[Sequence[Structure]], object]:
    if name.endswith("xtb"):
        return bare_xtb
    path = settings.weights_dir or settings.cache_dir / "weights"
    return BareFennol(str(path / f"{name.removeprefix('fennol:')}.fnx"), int(teacher.budget))


def bare_xtb(structures: Sequence[Structure]) -> list[Any]:
    """One call of tblite after the other, as its documentation shows."""
    from tblite.interface import Calculator

    results = []
    for structure in structures:
        calculator = Calculator("GFN2-xTB", structure.numbers, structure.positions / BOHR)
        calculator.set("verbosity", 0)
        outcome = calculator.singlepoint()
        energy = outcome.get("energy") * HARTREE
        results.append((energy, outcome.get("gradient") * (-HARTREE / BOHR)))
    return results


class BareFennol:
    """A hand-written loop over batches of one fixed shape, with FeNNol's own padding."""

    def __init__(self, path: str, n_atoms: int) -> None:
        from fennol import FENNIX

        self.model = FENNIX.load(path, use_atom_padding=True, graph_config={"mult_size": 1.3})
        self.n_atoms = n_atoms

    def __call__(self, structures: Sequence[Structure]) -> list[Any]:
        size = self.n_atoms // structures[0].n_atoms
        results = []
        for start in range(0, len(structures), size):
            batch = structures[start : start + size]
            natoms = np.array([structure.n_atoms for structure in batch], dtype=np.int32)
            energies, forces, _ = self.model.energy_and_forces(
                unit="eV",
                species=np.concatenate([s.numbers for s in batch]).astype(np.int32),
                coordinates=np.concatenate([s.positions for s in batch]).astype(np.float32),
                natoms=natoms,
                batch_index=np.repeat(np.arange(len(batch), dtype=np.int32), natoms),
            )
            results.append((np.asarray(energies), np.asarray(forces)))
        return results


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], load_settings(), sys.argv[2] == "1")))
