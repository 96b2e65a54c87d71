"""Orb in the benchmark of teachers: networks of full size with random weights.

CPU: through the adapter against bare `predict` on graphs that are ready, the same batches taking
turns; what the adapter's time goes to; and one call of Orb's own ASE calculator per structure.
GPU: the learned budget against every fixed batch of a sweep, against ASE calls, and the share of
time in which the device computes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.teachers import alternate, make_structures
from mlffdb.structures import Structure
from mlffdb.teachers.base import Prediction
from mlffdb.teachers.checks import postcheck, precheck
from mlffdb.teachers.device import torch_precision
from mlffdb.teachers.label import label
from mlffdb.teachers.orb import OrbTeacher, load_orb, save_random_checkpoint
from mlffdb.teachers.orb.graphs import in_order, since_07
from mlffdb.teachers.orb.models import MODELS

BATCH = 8
SWEEP = (1, 4, 16, 64, 256, 1024, 4096)


def measure(name: str, quick: bool) -> list[dict[str, Any]]:
    """Return the rows of one model: CPU, and GPU where torch sees one."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.ckpt"
        save_random_checkpoint(path, name)
        rows = [_cpu(name, path, quick)]
        if torch.cuda.is_available():
            rows.append(_gpu(name, path, quick))
        else:
            rows.append({"teacher": f"{name} on a GPU", "note": "skipped: torch sees no GPU"})
    return rows


def _cpu(name: str, path: Path, quick: bool) -> dict[str, Any]:
    structures = make_structures(BATCH if quick else 2 * BATCH)
    batches = [structures[i : i + BATCH] for i in range(0, len(structures), BATCH)]
    started = time.perf_counter()
    teacher = load_orb(name, path, "0" * 64, device="cpu")
    loaded = time.perf_counter()
    label(teacher, batches[0])
    first = time.perf_counter()
    ready = {id(batch): teacher._graphs(in_order(batch)) for batch in batches}
    seconds = alternate(
        lambda batch: label(teacher, batch),
        lambda batch: _predict(teacher, ready[id(batch)]),
        batches,
        quick=True,  # a call takes seconds, so few passes do
    )
    count = len(structures)
    return {
        "teacher": f"{name} (random weights)",
        "structures": count,
        "adapter_per_s": round(count / seconds[0], 2),
        "bare_per_s": round(count / seconds[1], 2),
        "ratio": round(seconds[1] / seconds[0], 3),
        "cpu_ratio": round(_processor_ratio(teacher, batches[0], ready[id(batches[0])]), 3),
        "ase_per_s": round(_ase_rate(name, path, "cpu", structures[:BATCH]), 2),
        "load_s": round(loaded - started, 2),
        "first_call_s": round(first - loaded, 2),
        **_shares(teacher, batches[0]),
    }


def _processor_ratio(teacher: OrbTeacher, batch: Sequence[Structure], graphs: Any) -> float:
    """Return processor time of bare `predict` over the adapter's; other programs matter less."""
    times = np.empty((3, 2))
    for turn in times:
        started = time.process_time()
        label(teacher, batch)
        middle = time.process_time()
        _predict(teacher, graphs)
        turn[:] = middle - started, time.process_time() - middle
    best = times.min(axis=0)
    return float(best[1] / best[0])


def _shares(teacher: OrbTeacher, batch: Sequence[Structure]) -> dict[str, float]:
    """Return which part of a call's time each step takes, in percent."""
    spent = dict.fromkeys(("graphs", "network"), 0.0)
    started = time.perf_counter()
    with (
        _timed(type(teacher._graphs), "__call__", spent, "graphs"),
        _timed(teacher._network, "predict", spent, "network"),
    ):
        results = label(teacher, batch)
    total = time.perf_counter() - started
    started = time.perf_counter()
    for structure, result in zip(batch, results, strict=True):
        precheck(teacher, structure)
        postcheck(teacher.capabilities, structure, result)
    spent["checks"] = time.perf_counter() - started
    spent["conversion"] = total - sum(spent.values())
    return {f"{step}_%": round(100 * part / total, 2) for step, part in spent.items()}


@contextmanager
def _timed(owner: Any, method: str, spent: dict[str, float], step: str) -> Iterator[None]:
    inner = getattr(owner, method)

    def timed(*args: Any) -> Any:
        started = time.perf_counter()
        try:
            return inner(*args)
        finally:
            spent[step] += time.perf_counter() - started

    setattr(owner, method, timed)
    try:
        yield
    finally:
        setattr(owner, method, inner)


def _predict(teacher: OrbTeacher, graphs: Any) -> Any:
    import torch

    mode = torch.enable_grad() if MODELS[teacher.name].gradient else torch.inference_mode()
    with torch_precision("float32-highest"), mode:
        out = teacher._network.predict(graphs)
        return {key: value.detach().cpu() for key, value in out.items()}


def _ase_rate(name: str, path: Path, device: str, structures: Sequence[Structure]) -> float:
    """Return structures per second by Orb's own ASE calculator, one after the other."""
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = ORB_PRETRAINED_MODELS[name](
            weights_path=str(path), device=device, precision="float32-highest", compile=False
        )
        if since_07():
            from orb_models.forcefield.inference.calculator import ORBCalculator

            calculator = ORBCalculator(*loaded, device=device)
        else:
            from orb_models.forcefield.calculator import ORBCalculator

            calculator = ORBCalculator(loaded, device=device)
        seconds = []
        for structure in structures:
            atoms = structure.to_atoms()
            atoms.info = {"charge": 0.0, "spin": 1.0}
            started = time.perf_counter()
            calculator.calculate(atoms)
            seconds.append(time.perf_counter() - started)
    return 1 / float(np.median(seconds[1:]))


def _gpu(name: str, path: Path, quick: bool) -> dict[str, Any]:
    structures = make_structures(512 if quick else 8192)
    teacher = load_orb(name, path, "0" * 64, device="cuda:0")
    learned = teacher.budget
    rate = _rate(teacher, structures)
    busy = _busy(lambda: label(teacher, structures))
    fixed = {}
    for size in (one for one in SWEEP if one <= len(structures)):
        teacher.budget = size * teacher.cost(structures[0])
        fixed[size] = _rate(teacher, structures[: max(16 * size, 64)])
    best = max(fixed, key=lambda size: fixed[size])
    one_by_one = _ase_rate(name, path, "cuda:0", structures[:64])
    return {
        "teacher": f"{name} on cuda:0 (random weights)",
        "structures": len(structures),
        "adapter_per_s": round(rate, 1),
        "ase_per_s": round(one_by_one, 1),
        "over_ase": round(rate / one_by_one, 1),
        "best_fixed_batch": best,
        "over_best_fixed": round(rate / fixed[best], 3),
        "device_busy_%": round(100 * busy, 1),
        "budget_edges": int(learned),
    }


def _rate(teacher: OrbTeacher, structures: Sequence[Structure]) -> float:
    label(teacher, structures[:64])  # warms up
    started = time.perf_counter()
    results = label(teacher, structures)
    seconds = time.perf_counter() - started
    if not all(isinstance(result, Prediction) for result in results):
        raise RuntimeError("structures failed")
    return len(structures) / seconds


def _busy(work: Callable[[], object]) -> float:
    """Return the share of the time in which the GPU computes, by torch's profiler."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    device = sum(event.self_device_time_total for event in recorded.key_averages())
    return float(device / 1e6 / seconds)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2] == "1")))
