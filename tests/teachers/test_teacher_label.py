"""Batches, bisection, and what a label records."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from mlffdb.structures import Structure
from mlffdb.teachers.base import Failure, Prediction, RefusedError
from mlffdb.teachers.batches import plan_batches
from mlffdb.teachers.label import is_device_fault, is_out_of_memory, label
from tests.teachers.analytic import GOLD, PairTeacher


def chain(n_atoms: int, number: int = 2) -> Structure:
    positions = np.zeros((n_atoms, 3))
    positions[:, 0] = np.arange(n_atoms)
    numbers = np.full(n_atoms, 2)
    numbers[0] = number
    return Structure(numbers, positions, charge=0, multiplicity=1 + int(numbers.sum() % 2))


def gold() -> Structure:
    return Structure(np.array([GOLD, 1]), np.array([[0.0, 0, 0], [1.5, 0, 0]]), multiplicity=1)


def test_results_come_in_the_order_of_the_structures():
    structures = [chain(n) for n in (3, 20, 1, 7, 50, 7)]
    teacher = PairTeacher(budget=30)
    results = label(teacher, structures)
    assert [len(result.forces) for result in results] == [3, 20, 1, 7, 50, 7]
    assert [r.energy for r in results] == [teacher.one(s).energy for s in structures]


def test_nothing_to_label():
    assert label(PairTeacher(), []) == []


def test_batches_keep_to_the_budget_and_begin_with_the_largest():
    teacher = PairTeacher(budget=30)
    structures = [chain(n) for n in (3, 20, 1, 7, 50, 7)]
    batches = plan_batches(teacher, structures, range(6))
    sizes = [[structures[i].n_atoms for i in batch] for batch in batches]
    assert sizes == [[50], [20, 7], [7, 3, 1]]


def test_periodic_and_isolated_structures_are_never_computed_together():
    teacher = PairTeacher()
    crystal = Structure(np.array([6]), np.zeros((1, 3)), np.eye(3) * 4, (True, True, True))
    structures = [chain(2), crystal, chain(3), crystal]
    batches = plan_batches(teacher, structures, range(4))
    assert sorted(sorted(batch) for batch in batches) == [[0, 2], [1, 3]]


def test_one_bad_structure_fails_alone():
    structures = [chain(2 + i % 3) for i in range(15)]
    structures[11] = gold()
    teacher = PairTeacher()
    results = label(teacher, structures)
    failed = [i for i, result in enumerate(results) if isinstance(result, Failure)]
    assert failed == [11]
    assert results[11] == Failure("teacher_error", "ValueError: gold", retry=False)
    assert teacher.resets == len([n for n in teacher.calls if n]) - len(good_calls(teacher))


def good_calls(teacher: PairTeacher) -> list[int]:
    """Calls that did not raise: halving turns each failure of n > 1 into two calls."""
    failures = (len(teacher.calls) - 1) // 2 + 1  # the last failure is the single structure
    return teacher.calls[failures:]


def test_running_out_of_memory_lowers_the_budget_for_good(caplog):
    structures = [chain(5) for _ in range(64)]
    teacher = PairTeacher(memory=45, budget=1000)
    with caplog.at_level(logging.WARNING):
        results = label(teacher, structures)
    assert all(isinstance(result, Prediction) for result in results)
    assert teacher.budget <= 45
    assert "out of memory" in caplog.text
    teacher.calls.clear()
    label(teacher, structures)
    assert max(teacher.calls) * 5 <= 45
    assert sum(teacher.calls) == 64  # no call in vain any more


def test_a_lowered_budget_grows_again_but_not_to_what_failed():
    structures = [chain(5) for _ in range(64)]
    teacher = PairTeacher(memory=100, budget=160)
    label(teacher, structures)
    assert teacher.budget == 80  # half of what did not fit
    teacher.calls.clear()
    for _ in range(50):
        label(teacher, structures)
    assert 80 < teacher.budget <= 0.8 * 160
    again = [size for size in teacher.calls if size * 5 > 100]
    assert len(again) <= 2, "what does not fit is hardly tried again"
    assert teacher.budget <= 100


def test_a_budget_of_an_earlier_process_is_recalled_and_may_grow():
    structures = [chain(5) for _ in range(64)]
    teacher = PairTeacher(budget=160)
    teacher.recall(1000)
    assert (teacher.budget, teacher.ceiling) == (160, None)
    teacher.recall(40)
    assert teacher.budget == 40
    for _ in range(250):
        label(teacher, structures)
    assert teacher.budget == 160  # another program had the memory then


def test_a_structure_too_large_for_the_memory_can_be_tried_elsewhere():
    teacher = PairTeacher(memory=10)
    results = label(teacher, [chain(4), chain(40), chain(4)])
    assert isinstance(results[0], Prediction)
    assert isinstance(results[2], Prediction)
    assert results[1].code == "out_of_memory"
    assert results[1].retry


def test_batch_size_and_share_of_the_time_are_noted():
    results = label(PairTeacher(), [chain(10), chain(30)])
    assert [result.batch_size for result in results] == [2, 2]
    assert results[1].wall_seconds == pytest.approx(3 * results[0].wall_seconds)
    assert results[0].wall_seconds > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(error):
    class Interrupted(PairTeacher):
        def compute(self, batch):
            raise error

    with pytest.raises(error):
        label(Interrupted(), [chain(2), chain(3)])


def test_a_missing_result_is_an_error_not_a_shift():
    class Forgetful(PairTeacher):
        def compute(self, batch):
            return super().compute(batch)[: max(1, len(batch) - 1)]

    results = label(Forgetful(), [chain(n) for n in (2, 3, 4)])
    assert [len(result.forces) for result in results] == [2, 3, 4]


def test_a_refusal_raised_by_the_adapter_keeps_its_reason():
    class Choosy(PairTeacher):
        def compute(self, batch):
            if any(structure.n_atoms == 3 for structure in batch):
                raise RefusedError(Failure("odd", "three is too many"))
            return super().compute(batch)

    results = label(Choosy(), [chain(2), chain(3), chain(4)])
    assert results[1] == Failure("odd", "three is too many")
    assert isinstance(results[0], Prediction)
    assert isinstance(results[2], Prediction)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"energy": float("nan")}, "not_finite_result"),
        ({"energy": 1e9}, "out_of_bounds"),
        ({"forces": np.full((2, 3), np.inf)}, "not_finite_result"),
        ({"forces": np.full((2, 3), 1e6)}, "out_of_bounds"),
        ({"forces": np.zeros((3, 2))}, "bad_shape"),
        ({"stress": np.zeros(6)}, "bad_shape"),
        ({"energy_spread": float("nan")}, "not_finite_result"),
    ],
)
def test_impossible_results_become_failures(change, code):
    class Broken(PairTeacher):
        def compute(self, batch):
            first, *rest = super().compute(batch)
            return [dataclasses.replace(first, **change), *rest]

    broken, sound = label(Broken(), [chain(2), chain(2)])
    assert broken.code == code
    assert isinstance(sound, Prediction)


@pytest.mark.parametrize("wrong", [None, {"energy": None}, {"forces": [[0.0, 0.0, 0.0]] * 3}])
def test_what_is_no_result_fails_alone(wrong):
    class Careless(PairTeacher):
        def one(self, structure):
            result = super().one(structure)
            if structure.n_atoms != 3:
                return result
            return None if wrong is None else dataclasses.replace(result, **wrong)

    first, second, third = label(Careless(), [chain(n) for n in (2, 3, 4)])
    assert second.code == "teacher_error"
    assert isinstance(first, Prediction)
    assert isinstance(third, Prediction)


def test_stress_that_was_promised_is_not_left_out():
    class Silent(PairTeacher):
        def __init__(self):
            super().__init__()
            self.capabilities = dataclasses.replace(
                self.capabilities, stress=True, periodicity=frozenset({0, 3})
            )

    crystal = Structure(np.array([6]), np.zeros((1, 3)), np.eye(3) * 4, (True, True, True))
    alone, periodic = label(Silent(), [chain(2), crystal])
    assert isinstance(alone, Prediction)
    assert periodic.code == "missing_property"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes",
        "Warp CUDA error 2: out of memory",
        "Failed to allocate 1024 bytes on device 'cuda:0'",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
    ],
)
def test_messages_of_memory_running_out(text):
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("invalid index"))


def test_a_device_fault_may_be_tried_again():
    class Faulty(PairTeacher):
        def compute(self, batch):
            raise RuntimeError("CUDA error: device-side assert triggered")

        def reset(self):  # as torch.cuda.empty_cache() after such a fault
            raise RuntimeError("CUDA error: device-side assert triggered")

    results = label(Faulty(), [chain(2), chain(3)])
    assert {(result.code, result.retry) for result in results} == {("device_fault", True)}
    assert not is_device_fault(ValueError("shape"))
