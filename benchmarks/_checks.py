"""What the checks around a teacher cost for each structure, isolated and crystals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlffdb.structures import Structure
from mlffdb.teachers.base import Identity, Prediction, Result, Teacher
from mlffdb.teachers.label import label
from mlffdb.teachers.screening import screen
from mlffdb.teachers.xtb import CAPABILITIES

COUNT = 256
EDGE = 9.0  # Å


class Nothing(Teacher):
    """Computes nothing, so that all time is that of the code around it."""

    name, device, budget = "nothing", "cpu", 1e9
    capabilities = replace(CAPABILITIES, periodicity=frozenset({0, 3}))
    identity = Identity("nothing", {}, None, "float64")

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        return [Prediction(0.0, np.zeros((len(s.numbers), 3)), multiplicity=1) for s in batch]


def rows(quick: bool) -> list[dict[str, Any]]:
    """Return a row for molecules and one for crystals, 24 to 36 atoms."""
    teacher = Nothing()
    found = []
    for what, periodic in (("molecules", False), ("crystals", True)):
        structures = _structures(periodic)
        times = 5 if quick else 30
        found.append(
            {
                "teacher": f"checks alone, {what} of 24–36 atoms",
                "structures": COUNT,
                "screen_us": _best(lambda s=structures: screen(teacher, s), times),
                "label_us": _best(lambda s=structures: label(teacher, s), times),
                "compute_us": _best(lambda s=structures: teacher.compute(s), times),
            }
        )
    return found


def _structures(periodic: bool) -> list[Structure]:
    rng = np.random.default_rng(0)
    grid = np.array(np.unravel_index(np.arange(64), (4, 4, 4))).T * 1.4
    found = []
    for _ in range(COUNT):
        n_atoms = int(rng.integers(24, 37))
        positions = grid[:n_atoms] + rng.normal(0, 0.05, (n_atoms, 3))
        cell = np.eye(3) * EDGE if periodic else None
        found.append(Structure(np.full(n_atoms, 6), positions, cell, (periodic,) * 3))
    return found


def _best(call: Callable[[], object], times: int) -> float:
    """Return the best time for each structure, µs."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return round(min(seconds) / COUNT * 1e6, 1)
