"""FeNNol in the benchmark of teachers: ensembles, its own ASE calculator, compilations, shares.

`MLFFDB_BENCHMARK_FILES` names a folder with des-monomers.hdf5 (SPICE's monomers) for the run that
counts compilations over all of its neutral molecules of H, C, N and O.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.teachers import BATCH, alternate, make_structures
from mlffdb.config import load_settings
from mlffdb.structures import Structure
from mlffdb.structures.readers import read_candidates
from mlffdb.teachers import registry
from mlffdb.teachers.base import Prediction
from mlffdb.teachers.checks import postcheck
from mlffdb.teachers.fennol.inputs import padded
from mlffdb.teachers.label import label
from mlffdb.teachers.screening import screen
from mlffdb.teachers.weights import find_weights

SINGLE, ENSEMBLE = "fennol:ani1x_model0", "ani1x"
CALL = 512  # structures that are labelled in one call, in the order of chance
MONOMERS = "des-monomers.hdf5"


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; each says what it is in ``teacher``."""
    settings = load_settings()
    single = registry.load(SINGLE, settings=settings)
    rows = [_shares(single, quick), _varied(settings, quick)]
    if registry.readiness(ENSEMBLE, settings).ready:
        rows.append(_ensemble(single, registry.load(ENSEMBLE, settings=settings), quick))
    path = Path(os.environ.get("MLFFDB_BENCHMARK_FILES", "")) / MONOMERS
    if path.is_file():
        rows.append(_compiles(settings, path, quick))
    return rows


def _shares(teacher: Any, quick: bool) -> dict[str, Any]:
    """Return what the time of one full batch goes to."""
    batch = make_structures(BATCH)
    shape = teacher._shape(batch)
    inputs = padded(batch, shape, False)
    label(teacher, batch)
    _, data = teacher._sizes.prepare(shape, inputs)
    import jax

    outputs = jax.device_get(teacher._run(data, False))
    results = teacher._split(batch, *outputs)
    able = teacher.capabilities
    parts = {
        "whole": lambda: label(teacher, batch),
        "prechecks": lambda: screen(teacher, batch),
        "postchecks": lambda: [
            postcheck(able, structure, result)
            for structure, result in zip(batch, results, strict=True)
        ],
        "conversions": lambda: (
            padded(batch, shape, False),
            teacher._split(batch, *outputs),
        ),
        "lists": lambda: teacher._sizes.prepare(shape, inputs),
    }
    best = _best(parts, 5 if quick else 20)
    whole = best.pop("whole")
    row = {"teacher": f"{SINGLE}, shares", "structures": BATCH}
    return row | {f"{name}_share": round(seconds / whole, 4) for name, seconds in best.items()}


def _varied(settings: Any, quick: bool) -> dict[str, Any]:
    """Return the rate on different molecules against FeNNol's ASE calculator, one after another.

    The calculator pads as it can, which still compiles for most molecules: the compilations are
    what it costs. The adapter is warm; ``with_compiling_per_s`` is a first call of its own.
    """
    from fennol.ase import FENNIXCalculator

    structures = varied_molecules(8 if quick else 40)
    fresh = registry.load(SINGLE, settings=settings)
    started = time.perf_counter()
    label(fresh, structures)
    first = time.perf_counter() - started
    warm = _best({"warm": lambda: label(fresh, structures)}, 5)["warm"]
    calculator = FENNIXCalculator(
        str(find_weights("ani1x_model0.fnx", settings)),
        use_atom_padding=True,
        gpu_preprocessing=False,  # with True it raises on the second molecule
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for structure in structures:
            atoms = structure.to_atoms()
            atoms.calc = calculator
            atoms.get_forces()
    seconds = time.perf_counter() - started
    count = len(structures)
    return {
        "teacher": f"{SINGLE}, different molecules, against its ASE calculator",
        "structures": count,
        "adapter_per_s": round(count / warm, 1),
        "with_compiling_per_s": round(count / first, 1),
        "bare_per_s": round(count / seconds, 2),
        "ratio": round(seconds / warm, 1),
    }


def _ensemble(single: Any, ensemble: Any, quick: bool) -> dict[str, Any]:
    """Return the rate of eight networks beside that of one, in turns."""
    count = BATCH if quick else 4 * BATCH
    structures = make_structures(count)
    batches = [structures[i : i + BATCH] for i in range(0, count, BATCH)]
    seconds = alternate(
        lambda batch: label(ensemble, batch), lambda batch: label(single, batch), batches, quick
    )
    return {
        "teacher": f"{ENSEMBLE}, eight networks, against one",
        "structures": count,
        "adapter_per_s": round(count / seconds[0], 1),
        "bare_per_s": round(count / seconds[1], 1),
        "ratio": round(seconds[1] / seconds[0], 3),
    }


def _compiles(settings: Any, path: Path, quick: bool) -> dict[str, Any]:
    """Return compilations and rate over the molecules in *path*, in calls of mixed order.

    Begins without lengths kept from earlier runs.
    """
    import tempfile

    structures = monomers(path)
    order = np.random.default_rng(0).permutation(len(structures))[: 2 * CALL if quick else None]
    with tempfile.TemporaryDirectory() as folder:
        empty = settings.model_copy(
            update={
                "cache_dir": Path(folder),
                "weights_dir": find_weights("ani1x_model0.fnx", settings).parent,  # type: ignore[union-attr]
            }
        )
        rows = {}
        for run in ("first", "second"):
            teacher = registry.load(SINGLE, settings=empty)
            started = time.perf_counter()
            for start in range(0, len(order), CALL):
                found = label(teacher, [structures[i] for i in order[start : start + CALL]])
                assert all(isinstance(result, Prediction) for result in found)
            rows[run] = (teacher.compiles, time.perf_counter() - started)
            if quick:
                break
    first = rows["first"]
    return {
        "teacher": f"{SINGLE}, {MONOMERS}",
        "structures": len(order),
        "adapter_per_s": round(len(order) / first[1], 1),
        "compiles": first[0],
        "compiles_after_restart": rows["second"][0] if "second" in rows else None,
    }


def monomers(path: Path) -> list[Structure]:
    """Return the conformations of all neutral molecules of H, C, N and O in a SPICE file."""
    found = [getattr(candidate, "structure", None) for candidate in read_candidates(path)]
    return [s for s in found if s is not None and not s.charge and set(s.numbers) <= {1, 6, 7, 8}]


def varied_molecules(count: int) -> list[Structure]:
    """Return up to *count* different molecules of H, C, N and O from ASE's g2 set."""
    from ase.build import molecule
    from ase.collections import g2

    found = []
    for name in g2.names:
        atoms = molecule(name)
        structure = Structure(atoms.numbers, atoms.positions, multiplicity=1)
        if (
            len(atoms) > 1
            and set(atoms.numbers) <= {1, 6, 7, 8}
            and structure.n_electrons % 2 == 0
            and not atoms.get_initial_magnetic_moments().any()
        ):
            found.append(structure)
    return found[:count]


def _best(parts: dict[str, Callable[[], object]], passes: int) -> dict[str, float]:
    """Return the shortest time of each part, s; all take turns."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(passes):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            times[name].append(time.perf_counter() - started)
    return {name: min(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1] == "1")))
