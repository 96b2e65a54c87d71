"""Teachers as the store keeps them: where the contract of a teacher meets its row."""

from __future__ import annotations

from mlffdb.config import Settings
from mlffdb.store.labels import TeacherRow
from mlffdb.teachers import Teacher, registry


def load_teacher(name: str, *, device: str, settings: Settings) -> Teacher:
    """Return the loaded teacher; raises TeacherError with what is missing and the remedy."""
    return registry.load(name, device=device, settings=settings)


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
