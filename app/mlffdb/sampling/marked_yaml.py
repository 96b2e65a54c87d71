"""YAML with the line of every key."""

from __future__ import annotations

import re
from typing import Any

import yaml

from mlffdb.errors import PlanError

Path = tuple[str | int, ...]
MAX_DEPTH = 40


class _Loader(yaml.SafeLoader):
    """Only true and false are booleans: NO is a molecule and No is an element."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF")
)


def read_marked(text: str, where: str) -> tuple[Any, dict[Path, int]]:
    """Return the value of a YAML document, and the line (from 1) of every key and entry.

    Raises PlanError with *where* and the line for text that is not YAML and for a key given twice.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {(): 1}
        return (None if node is None else _Reader(loader, where, lines).value(node, ())), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = f", line {mark.line + 1}" if mark else ""
        raise PlanError(f"{where}{line}: this is not YAML: {problem}") from None
    finally:
        loader.dispose()


class _Reader:
    def __init__(self, loader: _Loader, where: str, lines: dict[Path, int]) -> None:
        self._loader = loader
        self._where = where
        self._lines = lines

    def value(self, node: yaml.Node, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            raise self._error(node, "nested too deeply")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._entry(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key_node, child in node.value:
            key = str(self._loader.construct_object(key_node))
            if key in result:
                raise self._error(key_node, f"key {key!r} is given twice")
            self._lines[*path, key] = key_node.start_mark.line + 1
            result[key] = self.value(child, (*path, key))
        return result

    def _entry(self, node: yaml.Node, path: Path) -> Any:
        self._lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _error(self, node: yaml.Node, problem: str) -> PlanError:
        return PlanError(f"{self._where}, line {node.start_mark.line + 1}: {problem}")
