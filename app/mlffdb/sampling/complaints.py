"""What is wrong with a plan, with the line, the key and what is allowed."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mlffdb.errors import PlanError
from mlffdb.sampling.marked_yaml import Path
from mlffdb.sampling.method import METHODS, Method
from mlffdb.sampling.names import suggestion
from mlffdb.sampling.plan import Plan
from mlffdb.sampling.registry import Registry
from mlffdb.sampling.source import SOURCES, Source

MAX_COMPLAINTS = 10


def plan_error(error: ValidationError, where: str, lines: dict[Path, int]) -> PlanError:
    """Return *error* as a PlanError: a line of text for each complaint, at most ten."""
    complaints = [dict(complaint) for complaint in error.errors(include_url=False)]
    texts = [_complaint(one, where, lines) for one in complaints if not _follows(one, complaints)]
    if len(texts) > MAX_COMPLAINTS:
        texts[MAX_COMPLAINTS:] = [f"… and {len(texts) - MAX_COMPLAINTS} more"]
    return PlanError("\n".join(texts))


def _follows(complaint: dict[str, Any], complaints: list[dict[str, Any]]) -> bool:
    """Whether a list is only too short because its entries are wrong."""
    loc = complaint["loc"]
    return complaint["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and other is not complaint for other in complaints
    )


def _complaint(complaint: dict[str, Any], where: str, lines: dict[Path, int]) -> str:
    loc = complaint["loc"]
    if complaint["type"] == "misfit":
        loc = (*loc, *complaint["ctx"]["at"])
    if complaint["type"] == "union_tag_invalid":
        loc = (*loc, "type")
    path = _known_path(loc, lines)
    line = f", line {lines[path]}" if path else ""
    return f"{where}{line}: {_written(path)}{_said(complaint)}"


def _known_path(loc: tuple[str | int, ...], lines: dict[Path, int]) -> Path:
    """Drop from *loc* what is not in the file: names of types, and keys that are missing."""
    path: Path = ()
    for part in loc:
        if (*path, part) in lines:
            path = (*path, part)
    return path


def _written(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')}: " if text else ""


def _said(complaint: dict[str, Any]) -> str:
    kind, context = complaint["type"], complaint.get("ctx", {})
    key = str(complaint["loc"][-1]) if complaint["loc"] else ""
    if kind == "extra_forbidden":
        model, _ = _model_at(complaint["loc"])
        return f"unknown key {key!r}; {suggestion(key, model.model_fields)}"
    if kind == "missing":
        return f"the key {key!r} is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        _, registry = _model_at((*complaint["loc"], ""))
        return _unknown_type(context.get("tag"), registry or METHODS)
    message = str(complaint["msg"]).removeprefix("Value error, ")
    if kind in ("value_error", "misfit"):
        return message
    return f"{message[:1].lower()}{message[1:]}, not {_short(complaint['input'])}"


def _unknown_type(tag: str | None, registry: Registry) -> str:
    kind = registry.base.__name__.lower()
    if tag is None:
        return f"the {kind} needs a 'type'; known: {', '.join(registry.load())}"
    if tag in registry.broken:
        return f"{kind} {tag!r} is a plugin that does not load: {registry.broken[tag]}"
    return f"unknown {kind} {tag!r}; {suggestion(tag, registry.load())}"


def _model_at(loc: tuple[str | int, ...]) -> tuple[type[BaseModel], Registry | None]:
    """Return the model whose key is last in *loc*, and the registry if it is chosen by name."""
    model: type[BaseModel] = Plan
    registry: Registry | None = None
    for part in loc[:-1]:
        if registry is not None and part in registry.load():
            model, registry = registry.load()[str(part)], None
        elif part in model.model_fields:
            inner = _model_in(model.model_fields[str(part)].annotation)
            registry = {Source: SOURCES, Method: METHODS}.get(inner or Plan)
            model = inner or model
    return model, registry


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model class inside *annotation*."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
