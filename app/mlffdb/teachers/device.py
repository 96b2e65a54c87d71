"""Devices, and the one numerical backend that a process may use."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlffdb.errors import TeacherError

_DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")

#: Backend that this process has loaded a teacher with, and its precision where that is a setting of
#: the process; None before the first.
_claimed: tuple[str, str | None] | None = None


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


def claim_backend(backend: str, precision: str | None = None) -> None:
    """Reserve this process for *backend* (torch, jax).

    precision: where it is a setting of the process (jax); teachers on torch set theirs around each
    call, see `torch_precision`

    torch and jax in one process compete for the same device memory and threads. Raises TeacherError
    where the process is taken by another backend or precision.
    """
    global _claimed  # noqa: PLW0603 - it is the process that is claimed
    if _claimed not in (None, (backend, precision)):
        assert _claimed is not None
        raise TeacherError(
            f"this process already runs a teacher on {_described(*_claimed)}; one on "
            f"{_described(backend, precision)} needs a process of its own"
        )
    _claimed = (backend, precision)


@contextmanager
def torch_precision(precision: str) -> Iterator[None]:
    """Compute in *precision* inside, and leave torch's settings as they were found.

    precision: ``float32-highest``; ``float32-high``, which allows TF32 where a GPU has it; or
    ``float64``. Sets torch's default dtype, precision of matrix products and TF32 in cuDNN, which
    hold for the whole process: so none of them outlives the call that needs it.
    """
    import torch

    dtype = torch.get_default_dtype()
    products = torch.get_float32_matmul_precision()
    tf32 = torch.backends.cudnn.allow_tf32
    high = precision == "float32-high"
    try:
        torch.set_default_dtype(torch.float64 if precision == "float64" else torch.float32)
        torch.set_float32_matmul_precision("high" if high else "highest")
        torch.backends.cudnn.allow_tf32 = high
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = tf32


def _described(backend: str, precision: str | None) -> str:
    return backend if precision is None else f"{backend} ({precision})"


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
