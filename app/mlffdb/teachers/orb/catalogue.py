"""Orb's entries in the registry: each published model, and each at another precision."""

from __future__ import annotations

from functools import partial

from mlffdb.config import Settings
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.device import parse_device, torch_device
from mlffdb.teachers.entries import require, weights_ready
from mlffdb.teachers.orb.models import DEFAULT_PRECISION, MODELS, full_name, parse_name
from mlffdb.teachers.orb.teacher import load_orb
from mlffdb.teachers.registry import Entry, TeacherInfo, packages_ready
from mlffdb.teachers.weights import obtain_weights

_MODULES = ("orb_models", "torch")


def entries() -> list[Entry]:
    """Return the published models at the default precision."""
    return [_entry(name) for name in MODELS]


def at_precision(name: str) -> Entry | None:
    """Return the entry of ``NAME@PRECISION``; None for a name that is not an Orb model's.

    Raises TeacherError for an unknown precision.
    """
    return _entry(name) if name.partition("@")[0] in MODELS else None


def _entry(name: str) -> Entry:
    model, precision = parse_name(name)
    name = full_name(model, precision)
    suffix = "" if precision == DEFAULT_PRECISION else f", in {precision}"
    info = TeacherInfo(
        name,
        model.description + suffix,
        model.weights.licence,
        model.capabilities,
        model.weights.url,
        "orb",
    )

    def load(device: str, settings: Settings) -> Teacher:
        require(packages_ready("orb", *_MODULES), name)
        torch_device(parse_device(device))  # a GPU that is missing is said before fetching
        path, digest = obtain_weights(model.weights, settings)
        return load_orb(name, path, digest, device=device)

    weights = (model.weights,)
    return Entry(info, partial(weights_ready, weights, "orb", _MODULES), load, weights)
