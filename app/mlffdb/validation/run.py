"""Running the registered checks over a batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mlffdb.errors import ConfigError
from mlffdb.structures import StructureArrays
from mlffdb.validation.batch import LabelArrays, LabelBatch, StructureBatch, Tags
from mlffdb.validation.finding import Finding
from mlffdb.validation.registry import CHECKS, Check, Scope
from mlffdb.validation.thresholds import Thresholds


def check_structures(
    structures: StructureArrays,
    thresholds: Thresholds,
    *,
    domains: Sequence[str] = (),
    tags: Tags = (),
    only: Collection[str] | None = None,
) -> list[Finding]:
    """Return what all structure checks, or those named in *only*, find, ordered by structure.

    *domains* and *tags* are those of the structures, where known. Raises ConfigError where *only*
    names what is no structure check.
    """
    batch = StructureBatch(structures, thresholds, domains, tags)
    return _ordered(
        finding
        for check in _chosen(Scope.STRUCTURE, only)
        if check.on_structures is not None
        for finding in check.on_structures(batch)
    )


def check_labels(
    structures: StructureArrays,
    labels: LabelArrays,
    thresholds: Thresholds,
    *,
    only: Collection[str] | None = None,
) -> list[Finding]:
    """Return what all label checks, or those named in *only*, find, ordered by structure.

    Energy outliers need the whole set and come from `EnergyReference`. Raises ConfigError where
    *only* names what is no label check.
    """
    batch = LabelBatch(structures, labels, thresholds)
    return _ordered(
        finding
        for check in _chosen(Scope.LABEL, only)
        if check.on_labels is not None
        for finding in check.on_labels(batch)
    )


def _chosen(scope: Scope, only: Collection[str] | None) -> list[Check]:
    checks = {name: check for name, check in CHECKS.items() if check.scope is scope}
    unknown = sorted(set(only or ()) - set(checks))
    if unknown:
        raise ConfigError(
            f"no {scope.value} check is called {unknown[0]!r}; known: {', '.join(checks)}"
        )
    return [check for name, check in checks.items() if only is None or name in only]


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: finding.index)
