"""Which structures are computed together: one periodicity, similar size, within the budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlffdb.structures import Structure
from mlffdb.teachers.base import Teacher


def plan_batches(
    teacher: Teacher, structures: Sequence[Structure], indices: Iterable[int]
) -> list[list[int]]:
    """Return *indices* of *structures* in batches that *teacher* can compute in one call.

    Largest first, so that what a teacher grows to fit its input is grown once. A structure that
    alone exceeds the budget is a batch of its own.
    """
    ordered = sorted(
        indices,
        key=lambda i: (
            structures[i].n_periodic,
            teacher.cost(structures[i]),
            structures[i].n_atoms,
        ),
        reverse=True,
    )
    batches: list[list[int]] = []
    room = 0.0
    periodicity = -1
    for index in ordered:
        structure = structures[index]
        cost = teacher.cost(structure)
        if not batches or structure.n_periodic != periodicity or cost > room:
            batches.append([])
            room = teacher.budget
            periodicity = structure.n_periodic
        batches[-1].append(index)
        room -= cost
    return batches
