"""What entries of the registry share: saying what is missing before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.teachers.registry import Readiness, packages_ready
from mlffdb.teachers.weights import Weights, find_weights


def weights_ready(
    weights: Sequence[Weights], extra: str, modules: tuple[str, ...], settings: Settings
) -> Readiness:
    """Return whether *modules* are installed and all *weights* on this machine."""
    packages = packages_ready(extra, *modules)
    missing = [file for file in weights if find_weights(file.file, settings) is None]
    if not packages.ready or not missing:
        return packages
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return Readiness(
        False,
        f"weights {missing[0].file}{more} are not on this machine",
        "`mlffdb teachers fetch`, or MLFFDB_WEIGHTS_DIR",
    )


def require(state: Readiness, name: str) -> None:
    """Raise TeacherError where the teacher *name* is not ready."""
    if not state.ready:
        raise TeacherError(f"{name} cannot be loaded: {state.reason}; {state.remedy}")
