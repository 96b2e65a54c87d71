"""Computing a random sample of labels again: finds faults of hardware and libraries.

The labels come from other processes (the workers), in other batches, perhaps on another device;
what the teacher says here must agree within the tolerance that it declares.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.pipeline.teachers import load_teacher
from mlffdb.store import audits, runs, workers
from mlffdb.store.audits import AuditRow, LabellingTeacher, StoredLabel
from mlffdb.store.database import Database
from mlffdb.teachers import registry
from mlffdb.teachers.base import Failure, Result, Teacher
from mlffdb.teachers.contract.comparing import Deviation, deviation, largest
from mlffdb.teachers.label import label

#: Labels fetched, computed and stored at once.
CHUNK = 256
#: Teachers from a file of the user's are asked for by its path and stored by its name.
OWN_FILE, FILE = "fennol:", ".fnx"
#: Disagreements that a report lists.
WORST = 10


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A label that does not come out again."""

    structure_id: UUID
    formula: str
    #: eV/atom, eV/Å and eV/Å³; None where there is none, or where computing failed.
    energy: float | None
    force: float | None
    stress: float | None
    #: What lies beyond the tolerance, or how it failed.
    why: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What came of an audit."""

    run_id: int
    teacher: str
    fingerprint: str
    #: Of what computed here; differs from the former only where that was asked for.
    fingerprint_here: str
    device: str
    #: Seed of the sample; the same seed draws the same labels.
    seed: int
    labels: int
    audited: int
    #: Largest differences: eV/atom, eV/Å, eV/Å³.
    largest: Deviation
    #: Labels that do not agree, those that could not be computed again included.
    disagreeing: int
    worst: list[Disagreement]


def audit(
    database: Database,
    settings: Settings,
    *,
    teacher: str | None = None,
    fraction: float = 0.01,
    limit: int | None = None,
    device: str = "cpu",
    seed: int | None = None,
    across: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> AuditReport:
    """Compute a random sample of a teacher's labels again and compare.

    teacher: name, ``NAME@FINGERPRINT`` (its first digits), or ``fennol:PATH`` where the labels are
        by a file of the user's; the only one with labels if None
    fraction, limit: share of its labels, rounded up, and at most so many
    seed: of the sample; drawn if None
    across: compare even where the teacher here is another version than the labels'
    Raises TeacherError where no teacher, or more than one, is meant, and where the teacher here
    has another fingerprint and *across* is not given.
    """
    loaded = None
    if teacher is not None and teacher.endswith(FILE):  # known by name once it is loaded
        loaded = load_teacher(teacher, device=device, settings=settings)
        teacher = loaded.name
    stored = _labelling(database, teacher)
    if loaded is None:
        loaded = _load_named(stored[0].name, device, settings)
    try:
        chosen = _same_teacher(stored, loaded, across)
        seed = secrets.randbits(31) if seed is None else seed
        config = {"teacher": chosen.name, "fingerprint": chosen.fingerprint, "fraction": fraction,
                  "fingerprint_here": loaded.identity.fingerprint, "limit": limit,
                  "device": device}  # fmt: skip
        with runs.recorded(database, "audit", name=chosen.name, config=config, seed=seed) as run:
            count = min(math.ceil(fraction * chosen.labels), limit or chosen.labels)
            found = _compute(database, run.run_id, chosen, loaded, count, seed, on_progress)
            report = _report(run.run_id, chosen, loaded, seed, found)
            run.counts.update(audited=report.audited, disagreeing=report.disagreeing)
    finally:
        loaded.close()
    return report


@dataclass(frozen=True, slots=True)
class _Compared:
    label: StoredLabel
    result: Result
    #: None where it failed.
    apart: Deviation | None


def _labelling(database: Database, name: str | None) -> list[LabellingTeacher]:
    """Return the exact teachers that *name* may mean; all have the same name."""
    with database.begin() as connection:
        known = audits.labelling_teachers(connection)
    stem, _, digits = (name or "").rpartition("@")  # a name itself may end in @float64
    found = [
        one
        for one in known
        if name in (None, one.name)
        or (stem == one.name and one.fingerprint.startswith(digits.lower()))
    ]
    names = sorted({one.name for one in found or known})
    if not known:
        raise TeacherError("there are no labels to audit; run `mlffdb label`")
    if not found:
        raise TeacherError(f"no labels by teacher {name}; there are some by {', '.join(names)}")
    if len(names) > 1:
        raise TeacherError(f"several teachers have labels; name one: --teacher {' | '.join(names)}")
    return found


def _load_named(name: str, device: str, settings: Settings) -> Teacher:
    if name.startswith(OWN_FILE) and name not in registry.names(settings):
        stem = name.removeprefix(OWN_FILE)
        raise TeacherError(
            f"the labels by {name} are by a file of yours; name it: --teacher "
            f"{OWN_FILE}PATH/{stem}{FILE}"
        )
    return load_teacher(name, device=device, settings=settings)


def _same_teacher(
    stored: Sequence[LabellingTeacher], loaded: Teacher, across: bool
) -> LabellingTeacher:
    """Return whose labels to compute again; raises TeacherError where it is not clear."""
    same = [one for one in stored if one.fingerprint == loaded.identity.fingerprint]
    if same:
        return same[0]
    if not across:
        raise TeacherError(
            f"the labels by {loaded.name} are of another version than what is here "
            f"({_differences(stored[0], loaded)}); audit where that version is installed, or "
            "compare the two with --across"
        )
    if len(stored) > 1:
        choices = " | ".join(f"{one.name}@{one.fingerprint[:12]}" for one in stored)
        raise TeacherError(f"{loaded.name} has labels of several versions; name one: {choices}")
    return stored[0]


def _differences(stored: LabellingTeacher, loaded: Teacher) -> str:
    here = loaded.identity
    pairs: list[tuple[str, Any, Any]] = [
        (key, stored.versions.get(key), here.versions.get(key))
        for key in sorted({*stored.versions, *here.versions})
    ]
    pairs += [
        ("weights", (stored.weights_sha256 or "")[:12], (here.weights_sha256 or "")[:12]),
        ("precision", stored.precision, here.precision),
    ]
    settings = dict(here.settings)
    pairs += [
        (key, stored.settings.get(key), settings.get(key))
        for key in sorted({*stored.settings, *settings})
    ]
    return "; ".join(
        f"{what}: {then} there, {now} here" for what, then, now in pairs if then != now
    )


def _compute(
    database: Database,
    run_id: int,
    chosen: LabellingTeacher,
    loaded: Teacher,
    count: int,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> list[_Compared]:
    worker_id = uuid4()
    compared: list[_Compared] = []
    with database.begin() as connection:
        workers.register(
            connection, worker_id, kind="audit", device=loaded.device, run_id=run_id,
            teacher_id=chosen.teacher_id,
        )  # fmt: skip
        ids = audits.draw(connection, chosen.teacher_id, count=count, seed=seed)
    for start in range(0, len(ids), CHUNK):
        on_progress(start, len(ids))
        with database.begin() as connection:
            stored = audits.fetch(connection, chosen.teacher_id, ids[start : start + CHUNK])
        results = label(loaded, [one.structure for one in stored])
        found = [_compare(one, result) for one, result in zip(stored, results, strict=True)]
        with database.begin() as connection:
            audits.write(
                connection,
                [row for row in (_row(one, loaded) for one in found) if row is not None],
                teacher_id=chosen.teacher_id,
                run_id=run_id,
                worker_id=worker_id,
                device=loaded.device,
            )
        compared += found
    on_progress(len(ids), len(ids))
    _sign_off(database, worker_id, compared)
    return compared


def _sign_off(database: Database, worker_id: UUID, compared: Sequence[_Compared]) -> None:
    failed = sum(one.apart is None for one in compared)
    seconds = sum(
        one.result.wall_seconds for one in compared if not isinstance(one.result, Failure)
    )
    with database.begin() as connection:
        workers.beat(
            connection, worker_id, done=len(compared) - failed, failed=failed, late=0,
            compute_seconds=seconds, budget=None, stopped=True,
        )  # fmt: skip


def _compare(stored: StoredLabel, result: Result) -> _Compared:
    if isinstance(result, Failure):
        return _Compared(stored, result, None)
    apart = deviation(
        stored.structure.n_atoms,
        (result.energy, result.forces, result.stress),
        (stored.energy, stored.forces, stored.stress),
    )
    return _Compared(stored, result, apart)


def _row(one: _Compared, teacher: Teacher) -> AuditRow | None:
    if isinstance(one.result, Failure) or one.apart is None:
        return None
    assert one.apart.force is not None
    return AuditRow(
        one.label.structure_id,
        one.result.energy,
        one.result.forces,
        one.result.stress,
        (one.result.energy - one.label.energy) / one.label.structure.n_atoms,
        one.apart.force,
        one.apart.within(teacher.capabilities),
    )


def _report(
    run_id: int,
    chosen: LabellingTeacher,
    loaded: Teacher,
    seed: int,
    found: Sequence[_Compared],
) -> AuditReport:
    bad = [
        (_severity(one, loaded), _disagreement(one, why))
        for one in found
        if (why := _why(one, loaded)) is not None
    ]
    bad.sort(key=lambda pair: pair[0], reverse=True)
    return AuditReport(
        run_id=run_id,
        teacher=chosen.name,
        fingerprint=chosen.fingerprint,
        fingerprint_here=loaded.identity.fingerprint,
        device=loaded.device,
        seed=seed,
        labels=chosen.labels,
        audited=len(found),
        largest=largest([one.apart for one in found if one.apart is not None]),
        disagreeing=len(bad),
        worst=[disagreement for _, disagreement in bad[:WORST]],
    )


def _why(one: _Compared, teacher: Teacher) -> str | None:
    if isinstance(one.result, Failure):
        return f"cannot be computed again: {one.result.code}: {one.result.message}"
    assert one.apart is not None
    excess = one.apart.excess(teacher.capabilities)
    return None if excess is None else f"differs in {excess}"


def _severity(one: _Compared, teacher: Teacher) -> float:
    """Return how many times the tolerance the label is off."""
    if one.apart is None:
        return math.inf
    able = teacher.capabilities
    return max(
        (one.apart.energy or 0.0) / able.energy_tolerance,
        (one.apart.force or 0.0) / able.force_tolerance,
        (one.apart.stress or 0.0) / able.stress_tolerance,
    )


def _disagreement(one: _Compared, why: str) -> Disagreement:
    apart = one.apart or Deviation()
    return Disagreement(
        one.label.structure_id, one.label.formula, apart.energy, apart.force, apart.stress, why
    )
