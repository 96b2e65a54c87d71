"""Labelling: checks, batches, and the search for the one bad structure of a failed batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure, Prediction, RefusedError, Result, Teacher
from mlffdb.teachers.batches import plan_batches
from mlffdb.teachers.checks import postcheck
from mlffdb.teachers.screening import screen

log = logging.getLogger(__name__)

#: What libraries say when memory runs out: torch and CUDA, XLA, Warp, and the CPU allocator.
OUT_OF_MEMORY = (
    "out of memory",
    "resource_exhausted",
    "cuda_error_out_of_memory",
    "cublas_status_alloc_failed",
    "failed to allocate",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
)
#: What they say when the device, not the structure, is at fault; another process may succeed.
DEVICE_FAULT = (
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "cuda error",
    "cuda_error",
    "ecc error",
    "misaligned address",
)
#: After so many full batches that fitted, a lowered budget grows by this factor: about 1 % of the
#: time is at stake if that is too much.
GROW_AFTER, GROWTH = 100, 1.25
#: Share of a cost that did not fit which the budget may grow to again.
SAFE_SHARE = 0.8


def label(
    teacher: Teacher,
    structures: Sequence[Structure],
    refusals: Sequence[Failure | None] | None = None,
) -> list[Result]:
    """Return one result per structure, in the same order.

    refusals: what `screen` said of them, where that was asked before

    Whatever a structure does to the teacher, its neighbours are computed: a batch that raises is
    halved down to the one at fault, and one that runs out of memory also lowers
    ``teacher.budget``. Only KeyboardInterrupt, SystemExit and their like pass through.
    """
    if refusals is None:
        refusals = screen(teacher, structures)
    results: list[Result | None] = list(refusals)
    accepted = [index for index, result in enumerate(results) if result is None]
    for indices in plan_batches(teacher, structures, accepted):
        batch = [structures[index] for index in indices]
        for index, result in zip(indices, _compute(teacher, batch), strict=True):
            results[index] = result
    return [result for result in results if result is not None]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether *error* says that memory ran out, on the device or the host."""
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}".lower()
    return any(sign in text for sign in OUT_OF_MEMORY) or "outofmemory" in text


def is_device_fault(error: BaseException) -> bool:
    """Return whether *error* says that the device failed."""
    text = str(error).lower()
    return any(sign in text for sign in DEVICE_FAULT)


def _compute(teacher: Teacher, batch: Sequence[Structure]) -> list[Result]:
    """Return the results of *batch*, halving it as long as it raises."""
    if _cost(teacher, batch) > teacher.budget and len(batch) > 1:
        return _halve(teacher, batch)  # the budget was lowered since the batch was planned
    started = time.perf_counter()
    try:
        results = teacher.compute(batch)
        if len(results) != len(batch):
            raise RuntimeError(f"{len(results)} results for {len(batch)} structures")
        finished = _finish(teacher, batch, results, time.perf_counter() - started)
    except Exception as error:
        return _recover(teacher, batch, error)
    if teacher.ceiling is not None:
        _grow(teacher, _cost(teacher, batch))
    return finished


def _recover(teacher: Teacher, batch: Sequence[Structure], error: Exception) -> list[Result]:
    """Clean up after *error* and compute the halves, or fail the one structure."""
    if len(batch) == 1 and isinstance(error, RefusedError):
        return [error.failure]
    out_of_memory = is_out_of_memory(error)
    _reset(teacher)
    if len(batch) > 1:
        log.debug("%s: batch of %d failed: %s", teacher.name, len(batch), error)
        if out_of_memory:
            _shrink(teacher, _cost(teacher, batch))
            log.warning("%s: out of memory; budget now %g", teacher.name, teacher.budget)
        return _halve(teacher, batch)
    message = f"{type(error).__name__}: {error}".strip()[:500]
    if out_of_memory:
        return [Failure("out_of_memory", message, retry=True)]
    if is_device_fault(error):
        return [Failure("device_fault", message, retry=True)]
    return [Failure("teacher_error", message)]


def _reset(teacher: Teacher) -> None:
    try:
        teacher.reset()
    except Exception as error:  # after some faults a device refuses every call, this one too
        log.debug("%s: cannot be reset: %s", teacher.name, error)


def _shrink(teacher: Teacher, failed: float) -> None:
    """Lower the budget after a batch of cost *failed* ran out of memory."""
    most = failed * SAFE_SHARE
    teacher.ceiling = most if teacher.ceiling is None else min(teacher.ceiling, most)
    teacher.budget = min(teacher.budget, failed / 2)
    teacher.fitted = 0


def _grow(teacher: Teacher, cost: float) -> None:
    """Raise the budget again after many full batches fitted: memory may be free again.

    Up to the ceiling only, so that what does not fit is not tried again and again.
    """
    assert teacher.ceiling is not None
    if teacher.budget >= teacher.ceiling or cost < teacher.budget / 2:
        return
    teacher.fitted += 1
    if teacher.fitted >= GROW_AFTER:
        teacher.budget = min(teacher.budget * GROWTH, teacher.ceiling)
        teacher.fitted = 0


def _halve(teacher: Teacher, batch: Sequence[Structure]) -> list[Result]:
    middle = len(batch) // 2
    return _compute(teacher, batch[:middle]) + _compute(teacher, batch[middle:])


def _cost(teacher: Teacher, batch: Sequence[Structure]) -> float:
    return sum(teacher.cost(structure) for structure in batch)


def _finish(
    teacher: Teacher, batch: Sequence[Structure], results: Sequence[Result], seconds: float
) -> list[Result]:
    """Check the results and note batch size and each structure's share of the time."""
    costs = [teacher.cost(structure) for structure in batch]
    total = sum(costs)
    finished = []
    for structure, result, cost in zip(batch, results, costs, strict=True):
        checked = postcheck(teacher.capabilities, structure, result)
        if isinstance(checked, Prediction):
            checked = replace(checked, batch_size=len(batch), wall_seconds=seconds * cost / total)
        finished.append(checked)
    return finished
