"""GFN2-xTB in one and in two processes, each reused for all of its structures."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from mlffdb.config import load_settings
from mlffdb.teachers import registry
from mlffdb.teachers.label import label

#: Short and many, so that some are not slowed by other programs.
ROUNDS = 60


def rows(quick: bool) -> list[dict[str, Any]]:
    """Return one row: two processes against one, in turns, best time of each."""
    count = 20
    processes = [_start(count) for _ in range(2)]
    try:
        times = [(_round(processes[:1]), _round(processes)) for _ in range(5 if quick else ROUNDS)]
    finally:
        for process in processes:
            process.communicate()
    one, two = (min(column) for column in zip(*times, strict=True))
    return [
        {
            "teacher": "gfn2-xtb, 2 processes against 1",
            "structures": count,
            "adapter_per_s": round(2 * count / two, 1),
            "bare_per_s": round(count / one, 1),
            "ratio": round(2 * one / two, 3),
        }
    ]


def _start(count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _hear(process)  # it is warm
    return process


def _round(processes: list[subprocess.Popen[str]]) -> float:
    """Return the seconds until each has computed all of its structures once."""
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _hear(process)
    return time.perf_counter() - started


def _hear(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError("a process of the benchmark died")


def _work(count: int) -> None:
    from benchmarks.teachers import make_structures

    structures = make_structures(count)
    teacher = registry.load("gfn2-xtb", settings=load_settings())
    label(teacher, structures[:5])
    print("ready", flush=True)
    for _ in sys.stdin:
        label(teacher, structures)
        print("done", flush=True)


if __name__ == "__main__":
    _work(int(sys.argv[1]))
