"""Which GPUs there are, found without torch or jax: those would take memory on them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

from mlffdb.errors import TeacherError

VISIBLE = "CUDA_VISIBLE_DEVICES"
TIMEOUT_SECONDS = 30
_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[0-9a-fA-F-]+)\)")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[0-9a-zA-Z/-]+)\)")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that a worker may have for itself."""

    #: What to set CUDA_VISIBLE_DEVICES to: a UUID, or what it was set to for this process.
    handle: str
    #: What labels say: the physical device, such as ``cuda:3``.
    name: str


def find_gpus() -> list[Gpu]:
    """Return the GPUs that this process may use, in CUDA's order.

    Those of CUDA_VISIBLE_DEVICES where it is set (a batch system sets it), else all that
    ``nvidia-smi -L`` lists; a GPU in MIG mode counts as its instances. None of both: an empty list.
    """
    listing = _nvidia_smi()
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return _listed(listing)
    numbers = {uuid: number for number, uuid in _GPU.findall(listing)}
    found = []
    for handle in (part.strip() for part in visible.split(",")):
        if not handle or handle in ("-1", "NoDevFiles"):
            break  # as CUDA does: what follows an invalid entry is not seen
        found.append(Gpu(handle, f"cuda:{numbers.get(handle, handle)}"))
    return found


def choose_gpus(text: str) -> list[Gpu]:
    """Return the GPUs that *text* names: ``all``, or numbers such as ``0,1,3``.

    Numbers count among the GPUs that this process may use, as torch and jax count them. Raises
    TeacherError where there is none, or a number is not among them.
    """
    numbers = None if text.strip() == "all" else _numbers(text)
    found = find_gpus()
    if not found:
        where = f"{VISIBLE} is empty" if VISIBLE in os.environ else "nvidia-smi lists none"
        raise TeacherError(f"no GPU to be used here ({where}); use --workers N for the CPU")
    if numbers is None:
        return found
    missing = [number for number in numbers if not 0 <= number < len(found)]
    if missing:
        raise TeacherError(f"there is no GPU {missing[0]} here; there are 0 to {len(found) - 1}")
    return [found[number] for number in numbers]


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise TeacherError(f"--gpus {text!r} is not understood; write all, or 0,1,3") from None
    if len(set(numbers)) < len(numbers):
        raise TeacherError(f"--gpus {text} names a GPU twice; --workers N runs several on each")
    return numbers


def _listed(listing: str) -> list[Gpu]:
    found: list[Gpu] = []
    for line in listing.splitlines():
        if gpu := _GPU.match(line):
            found.append(Gpu(gpu[2], f"cuda:{gpu[1]}"))
        elif (mig := _MIG.match(line)) and found:
            if not found[-1].handle.startswith("MIG-"):
                found.pop()  # the whole GPU that is divided
            found.append(Gpu(mig[1], f"cuda:{mig[1]}"))
    return found


def _nvidia_smi() -> str:
    """Return the listing, or nothing where there is no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
