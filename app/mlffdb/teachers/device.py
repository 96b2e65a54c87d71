"""Devices, and the one numerical backend that a process may use."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from mlffdb.errors import TeacherError

_DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")

#: Backend and precision that this process has loaded a teacher with; None before the first.
_claimed: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A parsed device: ``cpu``, or GPU number ``index``."""

    index: int | None = None

    def __str__(self) -> str:
        return "cpu" if self.index is None else f"cuda:{self.index}"


def parse_device(text: str) -> Device:
    """Return the device that *text* names: ``cpu``, ``cuda`` (the first) or ``cuda:N``.

    Raises TeacherError for anything else.
    """
    match = _DEVICE.fullmatch(text)
    if match is None:
        raise TeacherError(f"unknown device {text!r}; use cpu or cuda:N")
    return Device() if text == "cpu" else Device(int(match[1] or 0))


def claim_backend(backend: str, precision: str) -> None:
    """Reserve this process for *backend* (torch, jax) at *precision*.

    torch and jax in one process compete for the same device memory and threads, and two
    precisions of one backend leak into each other through global settings. Raises TeacherError
    where the process is taken by another backend or precision.
    """
    global _claimed  # noqa: PLW0603 - it is the process that is claimed
    if _claimed not in (None, (backend, precision)):
        assert _claimed is not None
        raise TeacherError(
            f"this process already runs a teacher on {_claimed[0]} ({_claimed[1]}); one on "
            f"{backend} ({precision}) needs a process of its own"
        )
    _claimed = (backend, precision)


def torch_device(device: Device) -> Any:
    """Return the ``torch.device``; raises TeacherError where torch sees no such GPU."""
    import torch

    if device.index is not None:
        visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
        _require(device, visible, "torch", "install a CUDA build of torch")
    return torch.device(str(device))


def jax_device(device: Device) -> Any:
    """Return the ``jax.Device``; raises TeacherError where jax sees no such GPU.

    On the CPU jax is kept from taking a GPU's memory, if it was not started before.
    """
    if device.index is None and "jax" not in sys.modules:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    if device.index is None:
        return jax.devices("cpu")[0]
    try:
        gpus = jax.devices("gpu")
    except RuntimeError:
        gpus = []
    _require(device, len(gpus), "jax", "install the extra: pip install 'mlffdb[cuda]'")
    return gpus[device.index]


def _require(device: Device, visible: int, backend: str, remedy: str) -> None:
    assert device.index is not None
    if device.index < visible:
        return
    seen = "no GPU" if visible == 0 else f"only {visible} GPU{'s' if visible > 1 else ''}"
    hint = f"{remedy}, or use --device cpu" if visible == 0 else f"use --gpu 0 to {visible - 1}"
    raise TeacherError(f"{device} was asked for but {backend} sees {seen}; {hint}")
