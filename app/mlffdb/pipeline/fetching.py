"""Fetching the weights of teachers ahead of their first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlffdb.config import Settings
from mlffdb.teachers import registry
from mlffdb.teachers.weights import find_weights, obtain_weights, weights_cache


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file that a teacher needs, and how it stands."""

    teacher: str
    file: str
    url: str
    licence: str
    #: What the licence asks of a user; empty for a free one.
    terms: str
    #: Pinned, or of the file at hand; None where neither is known.
    sha256: str | None
    #: Where it lies, or will lie.
    path: Path
    #: ``here``, ``fetched``, or ``missing``.
    state: str


def list_weights(names: Sequence[str], settings: Settings) -> list[WeightsFile]:
    """Return the files of the teachers *names*, each once; nothing is fetched or checked.

    Raises TeacherError for an unknown teacher. One that needs no weights has no files.
    """
    found: dict[str, WeightsFile] = {}
    for name in names:
        for weights in registry.published_weights(name):
            path = find_weights(weights.file, settings)
            found.setdefault(
                weights.file,
                WeightsFile(
                    name,
                    weights.file,
                    weights.url,
                    weights.licence,
                    weights.terms,
                    weights.sha256,
                    path or weights_cache(settings) / weights.file,
                    "here" if path else "missing",
                ),
            )
    return list(found.values())


def fetch_weights(names: Sequence[str], settings: Settings) -> list[WeightsFile]:
    """Fetch what is missing and check all; return the files as they are then.

    Raises TeacherError for an unknown teacher, a file that cannot be had or is not the one that
    was published. What was fetched before stays.
    """
    before = {file.file: file for file in list_weights(names, settings)}
    after = []
    for name in names:
        for weights in registry.published_weights(name):
            stood = before.pop(weights.file, None)
            if stood is None:
                continue
            path, digest = obtain_weights(weights, settings)
            state = "here" if stood.state == "here" else "fetched"
            after.append(
                WeightsFile(
                    name,
                    weights.file,
                    weights.url,
                    weights.licence,
                    weights.terms,
                    digest,
                    path,
                    state,
                )
            )
    return after
