"""Reading plans: from a path, by the name of a packaged one, or back from the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlffdb.errors import PlanError
from mlffdb.sampling.complaints import plan_error
from mlffdb.sampling.input_file import FOLDER
from mlffdb.sampling.marked_yaml import read_marked
from mlffdb.sampling.names import suggestion
from mlffdb.sampling.plan import Plan

PACKAGE = "mlffdb.configs"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class PlanInfo:
    """A plan that comes with mlffdb."""

    name: str
    description: str
    #: Structures that it makes if nothing is rejected.
    expected: int


def load_plan(name_or_path: str | Path) -> Plan:
    """Return the packaged plan of this name, or the plan in this file.

    Raises PlanError: a line of text per mistake, each with file, line, key and what is allowed.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix in SUFFIXES or path.is_file():
        return _parse(_text(path), path.name, path.resolve().parent, str(path))
    packaged = _packaged()
    name = str(name_or_path)
    if name not in packaged:
        raise PlanError(
            f"no plan {name!r}: there is no such file, and {suggestion(name, packaged)}"
        )
    return _parse(packaged[name], f"{name}.yaml", Path(), f"packaged:{name}")


def restore_plan(values: Mapping[str, Any], source: str = "") -> Plan:
    """Return the plan that ``plan.model_dump(mode="json")`` gave; raises PlanError.

    Files that it names must still be where they were.
    """
    try:
        return Plan.model_validate(values).read_from(source)
    except ValidationError as error:
        raise plan_error(error, source or "plan", {}) from None


def packaged_plans() -> list[PlanInfo]:
    """Return the plans that come with mlffdb, by name."""
    from mlffdb.sampling.tasks import tasks

    plans = {name: load_plan(name) for name in _packaged()}
    return [
        PlanInfo(name, plan.description, sum(task.expected for task in tasks(plan)))
        for name, plan in plans.items()
    ]


def _packaged() -> dict[str, str]:
    """Texts of the packaged plans by name; files without blocks are no plans."""
    texts = {}
    for entry in resources.files(PACKAGE).iterdir():
        if entry.name.endswith(SUFFIXES):
            text = entry.read_text(encoding="utf-8")
            if "\nblocks:" in text:
                texts[entry.name.rsplit(".", 1)[0]] = text
    return dict(sorted(texts.items()))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise PlanError(f"{path}: the plan cannot be read: {reason}") from None


def _parse(text: str, where: str, folder: Path, source: str) -> Plan:
    values, lines = read_marked(text, where)
    if not isinstance(values, dict):
        raise PlanError(f"{where}: a plan is a mapping with {', '.join(Plan.model_fields)}")
    try:
        return Plan.model_validate(values, context={FOLDER: folder}).read_from(source)
    except ValidationError as error:
        raise plan_error(error, where, lines) from None
