"""The list of checks. A check is a small function over a batch, registered by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mlffdb.validation.batch import LabelBatch, StructureBatch
from mlffdb.validation.finding import Finding
from mlffdb.validation.thresholds import ADDED, Threshold, Thresholds

StructureFunction = Callable[[StructureBatch], Iterable[Finding]]
LabelFunction = Callable[[LabelBatch], Iterable[Finding]]


class Scope(StrEnum):
    """What a check looks at."""

    #: One structure at a time, before it is labelled.
    STRUCTURE = "structure"
    #: One label at a time.
    LABEL = "label"
    #: Many structures or labels together.
    SET = "set"


@dataclass(frozen=True, slots=True)
class Check:
    """A check and the limits that it applies; severity, unit and source stand with the limits."""

    name: str
    scope: Scope
    #: Names of its limits, the severest first.
    thresholds: tuple[str, ...]
    #: One line for people: what it finds.
    explanation: str
    on_structures: StructureFunction | None = None
    on_labels: LabelFunction | None = None


#: All checks by name, in the order in which they run.
CHECKS: dict[str, Check] = {}


def structure_check(
    name: str,
    explanation: str,
    *thresholds: str,
    defaults: Mapping[str, Threshold] | None = None,
) -> Callable[[StructureFunction], StructureFunction]:
    """Register a function over a `StructureBatch` as the check *name*.

    *thresholds* are the names of its limits (default: *name*), *defaults* those that the packaged
    file does not know.
    """

    def add(function: StructureFunction) -> StructureFunction:
        limits = thresholds or (name,)
        _register(Check(name, Scope.STRUCTURE, limits, explanation, on_structures=function))
        ADDED.update(defaults or {})
        return function

    return add


def label_check(
    name: str,
    explanation: str,
    *thresholds: str,
    defaults: Mapping[str, Threshold] | None = None,
) -> Callable[[LabelFunction], LabelFunction]:
    """Register a function over a `LabelBatch` as the check *name*; see `structure_check`."""

    def add(function: LabelFunction) -> LabelFunction:
        limits = thresholds or (name,)
        _register(Check(name, Scope.LABEL, limits, explanation, on_labels=function))
        ADDED.update(defaults or {})
        return function

    return add


def set_check(name: str, explanation: str, *thresholds: str) -> None:
    """Register a check that needs a whole set and is run by its own function."""
    _register(Check(name, Scope.SET, thresholds or (name,), explanation))


def catalogue(thresholds: Thresholds) -> list[dict[str, Any]]:
    """Return one row per limit of each check, for tables, reports and documentation."""
    return [
        {
            "check": check.name,
            "looks_at": check.scope.value,
            "threshold": name,
            "value": thresholds[name].value,
            "unit": thresholds[name].unit,
            "severity": thresholds[name].severity.value,
            "enabled": thresholds[name].enabled,
            "exempt_tags": list(thresholds[name].exempt_tags),
            "source": thresholds[name].source,
            "explanation": check.explanation,
        }
        for check in CHECKS.values()
        for name in check.thresholds
    ]


def _register(check: Check) -> None:
    if check.name in CHECKS:
        raise ValueError(f"a check called {check.name!r} is registered already")
    CHECKS[check.name] = check
