"""Teachers as the store keeps them: where the contract of a teacher meets its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlffdb.config import Settings
from mlffdb.store.labels import TeacherRow
from mlffdb.teachers import Teacher, registry
from mlffdb.teachers.registry import Readiness, TeacherInfo


def load_teacher(name: str, *, device: str, settings: Settings) -> Teacher:
    """Return the loaded teacher; raises TeacherError with what is missing and the remedy."""
    return registry.load(name, device=device, settings=settings)


@dataclass(frozen=True, slots=True)
class Family:
    """Teachers that differ by a number at the end of their names only, or one alone."""

    #: Such as ``fennol:ani1x_model0 to 7``.
    label: str
    info: TeacherInfo
    readiness: Readiness


def families(settings: Settings) -> list[Family]:
    """Return all teachers, grouped where capabilities and readiness are the same."""
    groups: dict[Any, list[tuple[TeacherInfo, Readiness]]] = {}
    for name in registry.names():
        info, ready = registry.describe(name), registry.readiness(name, settings)
        stem = name.rstrip("0123456789")
        key = (stem, info.description, info.licence, info.capabilities, ready.ready)
        groups.setdefault(key if stem != name else name, []).append((info, ready))
    found = []
    for members in groups.values():
        info, ready = members[0]
        last = members[-1][0].name
        to = f" to {last[len(last.rstrip('0123456789')) :]}" if len(members) > 1 else ""
        found.append(Family(info.name + to, info, ready))
    return found


def teacher_row(teacher: Teacher) -> TeacherRow:
    """Return the row of *teacher*; its fingerprint is over everything that decides its numbers."""
    identity = teacher.identity
    return TeacherRow(
        name=identity.name,
        fingerprint=identity.fingerprint,
        versions=identity.versions,
        weights_sha256=identity.weights_sha256,
        precision=identity.precision,
        settings=identity.settings,
        untrained=identity.untrained,
        conservative=teacher.capabilities.conservative,
        licence=teacher.capabilities.licence,
    )
