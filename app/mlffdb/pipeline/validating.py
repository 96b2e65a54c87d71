"""Checking structures before they are labelled, and labels after.

Incremental: what has a current verdict by the rules in force is not checked again, except labels
that the energy check sees otherwise since more labels came. A verdict and its findings are added
to the history in one transaction per chunk, so an interrupted run continues where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from mlffdb.store import labels, runs, verdicts
from mlffdb.store.database import Database
from mlffdb.store.verdicts import FindingRow, StoredLabel
from mlffdb.structures import StructureArrays
from mlffdb.validation import (
    Finding,
    LabelArrays,
    Thresholds,
    check_labels,
    check_structures,
    find_duplicates,
    load_thresholds,
    verdict,
)
from mlffdb.validation.batch import value_of
from mlffdb.validation.energy import EnergyReference

CHUNK = 2000
ENERGY_CHECK = "energy_outlier"

#: Called with what is being checked, how many are done, and of how many.
OnProgress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Checked:
    """Verdicts and findings of one pass."""

    verdicts: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    near_duplicates: int = 0
    #: Tasks cancelled because their structure was rejected since.
    cancelled: int = 0
    #: Fit of energies by domain.
    energies: dict[str, Any] = field(default_factory=dict)

    @property
    def checked(self) -> int:
        """Structures or labels that were checked now."""
        return self.verdicts.total()

    @property
    def rejected(self) -> int:
        """How many of them were rejected."""
        return self.verdicts["rejected"]


@dataclass(slots=True)
class ValidationReport:
    """What `mlffdb validate` did."""

    rule_version: str
    structures: Checked
    labels: dict[str, Checked]


def _quiet(_what: str, _done: int, _total: int) -> None:
    return None


def validate(
    database: Database,
    *,
    thresholds_file: Path | None = None,
    on_progress: OnProgress = _quiet,
) -> ValidationReport:
    """Check all structures and labels that have no verdict by the rules in force."""
    thresholds = load_thresholds(thresholds_file)
    rules = thresholds.rule_version
    config = {"rule_version": rules, "thresholds": thresholds_file}
    with runs.recorded(database, "validate", name=rules, config=config) as run:
        structures = _structures(database, run.run_id, thresholds, on_progress)
        found = {}
        for teacher_id, name, conservative in _teachers(database):
            key = name if name not in found else f"{name} #{teacher_id}"
            found[key] = _labels(
                database, run.run_id, teacher_id, conservative, thresholds, name, on_progress
            )
        run.counts.update(
            structures=dict(structures.verdicts),
            near_duplicates=structures.near_duplicates,
            labels={name: dict(checked.verdicts) for name, checked in found.items()},
            energies={name: checked.energies for name, checked in found.items()},
        )
    return ValidationReport(rules, structures, found)


def validate_structures(database: Database, *, on_progress: OnProgress = _quiet) -> Checked:
    """Check the structures that have no verdict, if there are any: what labelling does first.

    A structure judged by other thresholds keeps that verdict here; `validate` looks again.
    """
    thresholds = load_thresholds()
    with database.begin() as connection:
        if not verdicts.unjudged_structures(connection, limit=1):
            return Checked()
    rules = thresholds.rule_version
    with runs.recorded(
        database, "validate", name=rules, config={"rule_version": rules, "before": "label"}
    ) as run:
        found = _structures(database, run.run_id, thresholds, on_progress, unjudged_only=True)
        run.counts.update(structures=dict(found.verdicts), near_duplicates=found.near_duplicates)
    return found


def _structures(
    database: Database,
    run_id: int,
    thresholds: Thresholds,
    on_progress: OnProgress,
    *,
    unjudged_only: bool = False,
) -> Checked:
    checked = Checked()
    rules = thresholds.rule_version
    with database.begin() as connection:
        ids = (
            verdicts.unjudged_structures(connection)
            if unjudged_only
            else verdicts.stale_structures(connection, rules)
        )
    # near-duplicates first: they are stored as pairs, and a verdict says that all is done
    checked.near_duplicates = _find_pairs(database, run_id, ids, thresholds, on_progress)
    for chunk in _chunks(ids):
        with database.begin() as connection:
            stored = verdicts.read_structures(connection, chunk)
            findings = check_structures(
                StructureArrays.of([item.structure for item in stored]),
                thresholds,
                domains=[item.domain for item in stored],
                tags=[item.tags for item in stored],
            )
            kept = [item.structure_id for item in stored]
            _write(connection, run_id, rules, None, kept, findings, checked)
        on_progress("structures", checked.checked, len(ids))
    with database.begin() as connection:
        checked.cancelled = labels.cancel_rejected(connection)
    return checked


def _find_pairs(
    database: Database,
    run_id: int,
    ids: Sequence[UUID],
    thresholds: Thresholds,
    on_progress: OnProgress,
) -> int:
    """Store near-duplicates of *ids* among all structures of the same formula."""
    limit = thresholds.active("duplicate")
    if limit is None:
        return 0
    new = set(ids)
    found = 0
    with database.begin() as connection:
        formulas = verdicts.formulas_of(connection, ids)
    for done, (same, structures) in enumerate(verdicts.with_formulas(database, formulas), 1):
        if len(same) > 1:
            pairs = [
                (same[a], same[b], distance)
                for a, b, distance in find_duplicates(
                    StructureArrays.of(structures), value_of(limit)
                )
                if same[a] in new or same[b] in new
            ]
            with database.begin() as connection:
                found += verdicts.add_pairs(connection, run_id, pairs)
        on_progress("near-duplicates by formula", done, len(formulas))
    return found


def _labels(
    database: Database,
    run_id: int,
    teacher_id: int,
    conservative: bool,
    thresholds: Thresholds,
    name: str,
    on_progress: OnProgress,
) -> Checked:
    checked = Checked()
    rules = thresholds.rule_version
    with database.begin() as connection:
        stale = verdicts.stale_labels(connection, teacher_id, rules)
        before = verdicts.current_findings(connection, teacher_id, ENERGY_CHECK)
        compositions = verdicts.label_compositions(connection, teacher_id)
    outliers: dict[UUID, Finding] = {}
    for domain, composition in compositions.items():
        found, checked.energies[domain] = _energies(composition, thresholds)
        outliers |= found
    ids = sorted(set(stale) | (before ^ set(outliers)))
    for chunk in _chunks(ids):
        with database.begin() as connection:
            stored = verdicts.read_labels(connection, teacher_id, chunk)
            kept = [item.stored.structure_id for item in stored]
            findings = check_labels(*_arrays(stored, conservative), thresholds)
            findings += [
                replace(outliers[identity], index=index)
                for index, identity in enumerate(kept)
                if identity in outliers
            ]
            _write(connection, run_id, rules, teacher_id, kept, findings, checked)
        on_progress(f"labels of {name}", checked.checked, len(ids))
    return checked


def _energies(
    composition: verdicts.LabelComposition, thresholds: Thresholds
) -> tuple[dict[UUID, Finding], dict[str, Any]]:
    """Return the energy outliers of one teacher and domain, and the fit in words."""
    exempt = set(thresholds[ENERGY_CHECK].exempt_tags)
    rows = np.flatnonzero([exempt.isdisjoint(tags) for tags in composition.tags])
    if not len(rows):
        return {}, {}
    elements = np.flatnonzero(composition.counts[rows].any(axis=0))
    counts = composition.counts[np.ix_(rows, elements)]
    charges, energies = composition.charges[rows], composition.energies[rows]
    reference = EnergyReference([int(number) for number in elements])
    reference.accumulate(counts, charges, energies)
    fit = reference.solve()
    found = fit.findings(counts, charges, energies, thresholds)
    return {composition.ids[rows[one.index]]: one for one in found}, fit.summary()


def _arrays(
    stored: Sequence[StoredLabel], conservative: bool
) -> tuple[StructureArrays, LabelArrays]:
    structures = StructureArrays.of([item.stored.structure for item in stored])
    none = np.full(6, np.nan)
    forces = [
        np.full((item.stored.structure.n_atoms, 3), np.nan) if item.forces is None else item.forces
        for item in stored
    ]
    return structures, LabelArrays(
        energies=np.array([item.energy for item in stored]),
        forces=np.concatenate(forces) if forces else np.zeros((0, 3)),
        stresses=np.array(
            [none if item.stress is None else item.stress for item in stored]
        ).reshape(-1, 6),
        conservative=conservative,
        domains=[item.stored.domain for item in stored],
        tags=[item.stored.tags for item in stored],
    )


def _write(
    connection: Any,
    run_id: int,
    rules: str,
    teacher_id: int | None,
    ids: Sequence[UUID],
    findings: Sequence[Finding],
    checked: Checked,
) -> None:
    by_index: dict[int, list[Finding]] = {}
    for finding in findings:
        by_index.setdefault(finding.index, []).append(finding)
        checked.findings[finding.check] += 1
    given = {identity: verdict(by_index.get(index, [])) for index, identity in enumerate(ids)}
    checked.verdicts.update(given.values())
    verdicts.write(
        connection,
        run_id=run_id,
        rule_version=rules,
        teacher_id=teacher_id,
        verdicts=given,
        findings=[
            FindingRow(
                ids[one.index],
                one.check,
                str(one.severity),
                one.value,
                one.threshold,
                one.unit,
                one.message,
                one.atoms,
            )
            for one in findings
        ],
    )


def _teachers(database: Database) -> Iterable[tuple[int, str, bool]]:
    from sqlalchemy import text

    with database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT teacher_id, name, conservative FROM teacher t"
                " WHERE EXISTS (SELECT FROM label l WHERE l.teacher_id = t.teacher_id) ORDER BY 1"
            )
        ).all()
    return [(row[0], row[1], row[2]) for row in rows]


def _chunks(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
