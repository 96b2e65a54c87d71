"""Labelling: checks, batches, and the search for the one bad structure of a failed batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure, Prediction, RefusedError, Result, Teacher
from mlffdb.teachers.batches import plan_batches
from mlffdb.teachers.checks import postcheck, precheck

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


def label(teacher: Teacher, structures: Sequence[Structure]) -> list[Result]:
    """Return one result per structure, in the same order.

    Whatever a structure does to the teacher, its neighbours are computed: a batch that raises is
    halved down to the one at fault, and one that runs out of memory also lowers
    ``teacher.budget``. Only KeyboardInterrupt, SystemExit and their like pass through.
    """
    results: list[Result | None] = [precheck(teacher, structure) for structure in structures]
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
    except Exception as error:
        return _recover(teacher, batch, error)
    return _finish(teacher, batch, results, time.perf_counter() - started)


def _recover(teacher: Teacher, batch: Sequence[Structure], error: Exception) -> list[Result]:
    """Clean up after *error* and compute the halves, or fail the one structure."""
    if len(batch) == 1 and isinstance(error, RefusedError):
        return [error.failure]
    out_of_memory = is_out_of_memory(error)
    teacher.reset()
    if len(batch) > 1:
        log.debug("%s: batch of %d failed: %s", teacher.name, len(batch), error)
        if out_of_memory:
            teacher.budget = min(teacher.budget, _cost(teacher, batch) / 2)
            log.warning("%s: out of memory; budget now %g", teacher.name, teacher.budget)
        return _halve(teacher, batch)
    message = f"{type(error).__name__}: {error}".strip()[:500]
    if out_of_memory:
        return [Failure("out_of_memory", message, retry=True)]
    if is_device_fault(error):
        return [Failure("device_fault", message, retry=True)]
    return [Failure("teacher_error", message)]


def _halve(teacher: Teacher, batch: Sequence[Structure]) -> list[Result]:
    middle = len(batch) // 2
    return _compute(teacher, batch[:middle]) + _compute(teacher, batch[middle:])


def _cost(teacher: Teacher, batch: Sequence[Structure]) -> float:
    return sum(teacher.cost(structure) for structure in batch)


def _finish(
    teacher: Teacher, batch: Sequence[Structure], results: Sequence[Result], seconds: float
) -> list[Result]:
    """Check the results and note batch size and each structure's share of the time."""
    total = _cost(teacher, batch)
    finished = []
    for structure, result in zip(batch, results, strict=True):
        checked = postcheck(teacher.capabilities, structure, result)
        if isinstance(checked, Prediction):
            share = seconds * teacher.cost(structure) / total
            checked = replace(checked, batch_size=len(batch), wall_seconds=share)
        finished.append(checked)
    return finished
