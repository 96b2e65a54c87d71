"""What must not change a label: order, company, repetition, atom order, place and orientation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.contract.comparing import Deviation, compare, predictions


def check_order(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """Results come in the order of the structures, whatever that is."""
    forward = predictions(teacher, structures)
    backward = predictions(teacher, structures[::-1])[::-1]
    return compare(teacher, structures, forward, backward, "order of structures")


def check_batch(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """A structure alone gives what it gives among others."""
    together = predictions(teacher, structures)
    alone = [predictions(teacher, [structure])[0] for structure in structures]
    return compare(teacher, structures, together, alone, "batch of one")


def check_repeatable(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """The same call gives the same labels."""
    first, second = predictions(teacher, structures), predictions(teacher, structures)
    return compare(teacher, structures, first, second, "repetition")


def check_permutation(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """Forces follow their atoms."""
    rng = np.random.default_rng(1)
    orders = [rng.permutation(structure.n_atoms) for structure in structures]
    permuted = [s.take(order) for s, order in zip(structures, orders, strict=True)]
    restored = [
        replace(p, forces=p.forces[np.argsort(order)])
        for p, order in zip(predictions(teacher, permuted), orders, strict=True)
    ]
    return compare(teacher, structures, predictions(teacher, structures), restored, "atom order")


def check_translation(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """A structure moved as a whole keeps its label."""
    shift = np.array([103.7, -58.1, 21.3])
    moved = [structure.moved(structure.positions + shift) for structure in structures]
    before, after = predictions(teacher, structures), predictions(teacher, moved)
    return compare(teacher, structures, before, after, "translation")


def check_rotation(teacher: Teacher, structures: Sequence[Structure]) -> Deviation:
    """Forces and stress turn with the structure; only measured unless declared equivariant."""
    turn = _rotation()
    turned = [
        s.moved(s.positions @ turn.T, None if s.cell is None else s.cell @ turn.T)
        for s in structures
    ]
    restored = []
    for result in predictions(teacher, turned):
        stress = None
        if result.stress is not None:
            stress = voigt(turn.T @ tensor(result.stress) @ turn)
        restored.append(replace(result, forces=result.forces @ turn, stress=stress))
    return compare(
        teacher,
        structures,
        predictions(teacher, structures),
        restored,
        "rotation",
        held=teacher.capabilities.equivariant,
    )


def tensor(stress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (3, 3) tensor of a Voigt vector xx yy zz yz xz xy."""
    xx, yy, zz, yz, xz, xy = stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def voigt(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Voigt vector xx yy zz yz xz xy of a symmetric (3, 3) tensor."""
    return np.asarray(matrix[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])


def _rotation() -> NDArray[np.float64]:
    matrix = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    return np.asarray(matrix * np.sign(np.linalg.det(matrix)))
