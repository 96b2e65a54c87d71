"""Limits that the checks hold data to: packaged defaults, and a user's file on top of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlffdb.errors import ConfigError
from mlffdb.validation.finding import Severity

#: Version of the checks' code; raised whenever a check can say something else about the same data.
RULE_VERSION = "1"


class Threshold(BaseModel):
    """One limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: float | None = Field(description="the limit; null where a check has no number")
    unit: str = Field(description="unit of the limit and of the values held against it")
    severity: Severity = Field(description="what crossing the limit means")
    source: str = Field(description="where the number comes from")
    explanation: str = Field(description="one line for people")
    enabled: bool = Field(True, description="false switches this limit off")
    exempt_tags: tuple[str, ...] = Field((), description="structures with such a tag are let pass")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All limits in force, by name."""

    entries: Mapping[str, Threshold]

    def __getitem__(self, name: str) -> Threshold:
        return self.entries[name]

    def active(self, name: str) -> Threshold | None:
        """Return the limit *name*, or None where it is switched off."""
        entry = self.entries[name]
        return entry if entry.enabled else None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that decides a finding; prose and sources do not."""
        decisive = {
            name: (entry.value, entry.severity, entry.enabled, sorted(entry.exempt_tags))
            for name, entry in self.entries.items()
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def rule_version(self) -> str:
        """`RULE_VERSION` and the limits in force in one short text, kept with every finding."""
        return f"{RULE_VERSION}+{self.digest[:12]}"


#: Defaults of limits that registered checks brought along, by name.
ADDED: dict[str, Threshold] = {}


def load_thresholds(path: Path | None = None) -> Thresholds:
    """Return the packaged limits, changed by those of the YAML file *path*.

    The file names limits and what to change of them::

        force_max: 15.0               # a number alone is the value
        energy_outlier:
          value: 6.0
          severity: suspect

    Raises ConfigError naming file, line and what is allowed.
    """
    entries = {**_packaged(), **ADDED}
    if path is not None:
        entries.update(_changed(path, entries))
    return Thresholds(entries)


@cache
def _packaged() -> dict[str, Threshold]:
    text = (files("mlffdb.configs") / "thresholds.yaml").read_text(encoding="utf-8")
    return {name: Threshold.model_validate(entry) for name, entry in yaml.safe_load(text).items()}


def _changed(path: Path, entries: Mapping[str, Threshold]) -> dict[str, Threshold]:
    changed: dict[str, Threshold] = {}
    for key, node in _mapping(path, _compose(path)):
        where = f"{path}, line {key.start_mark.line + 1}"
        name = str(key.value)
        if name not in entries:
            known = ", ".join(sorted(entries))
            raise ConfigError(f"{where}: no threshold is called {name!r}; known: {known}")
        if name in changed:
            raise ConfigError(f"{where}: {name} is given twice; remove one of them")
        changed[name] = _one(path, name, node, entries[name])
    return changed


def _one(path: Path, name: str, node: yaml.Node, default: Threshold) -> Threshold:
    """Return *default* with what *node* changes."""
    lines: dict[str, int] = {"": node.start_mark.line + 1}
    update: dict[str, Any] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in _mapping(path, node):
            lines[str(key.value)] = key.start_mark.line + 1
            update[str(key.value)] = _plain(value)
    else:
        update["value"] = _plain(node)
    fields = default.model_dump()
    try:
        entry = Threshold.model_validate({**fields, **update})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        unknown = first["type"] == "extra_forbidden"
        hint = f"; allowed: {', '.join(Threshold.model_fields)}" if unknown else ""
        line = lines.get(field, lines[""])
        raise ConfigError(f"{path}, line {line}: {name}.{field}: {first['msg']}{hint}") from None
    if (entry.value is None) != (default.value is None):
        line = lines.get("value", lines[""])
        needs = "has no value to set" if default.value is None else "needs a number"
        raise ConfigError(f"{path}, line {line}: {name} {needs}; `enabled: false` switches it off")
    return entry


def _compose(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; name a readable YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: this is not YAML: {problem}") from None


def _mapping(path: Path, node: yaml.Node | None) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ConfigError(f"{path}, line {line}: expected lines of `name: value`")
    return [(key, value) for key, value in node.value]


def _plain(node: yaml.Node) -> Any:
    """Return the value of *node* as Python's own types."""
    return yaml.SafeLoader("").construct_object(node, deep=True)
