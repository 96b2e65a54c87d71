"""Sources and methods by name: the modules of a package of ours, and entry points."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import entry_points
from operator import or_
from typing import Annotated, Any

from pydantic import BaseModel, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema


def type_name(cls: type[BaseModel]) -> str | None:
    """Return the name that plans use: the default of the field ``type``, or None for a base."""
    default = cls.model_fields["type"].default
    return default if isinstance(default, str) else None


@dataclass
class Registry:
    """Classes derived from *base*, by the default of their field ``type``."""

    base: type[BaseModel]
    #: Package whose modules hold ours.
    package: str
    #: Entry point group of other packages.
    group: str
    classes: dict[str, type[BaseModel]] = field(default_factory=dict)
    #: Plugins that did not load: name → reason.
    broken: dict[str, str] = field(default_factory=dict)

    def load(self) -> dict[str, type[BaseModel]]:
        """Return all classes by name, ours first; a plugin cannot take the name of one of ours."""
        if not self.classes:
            self._load_own()
            self._load_plugins()
        return self.classes

    def _load_own(self) -> None:
        package = importlib.import_module(self.package)
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{self.package}.{info.name}")
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, self.base):
                    name = type_name(value)
                    if name is not None and value.__module__ == module.__name__:
                        self.classes[name] = value

    def _load_plugins(self) -> None:
        for point in entry_points(group=self.group):
            try:
                cls = point.load()
            except Exception as error:
                self.broken[point.name] = f"{type(error).__name__}: {error}"
                continue
            if not (isinstance(cls, type) and issubclass(cls, self.base)):
                self.broken[point.name] = f"{point.value} is no {self.base.__name__}"
            elif type_name(cls) != point.name:
                self.broken[point.name] = f"its field 'type' says {type_name(cls)!r}"
            else:
                self.classes.setdefault(point.name, cls)


@dataclass(frozen=True)
class ByName:
    """Annotation of a pydantic field: any class of the registry, told by its ``type``."""

    registry: Registry

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        union: Any = reduce(or_, self.registry.load().values())
        return handler.generate_schema(Annotated[union, Field(discriminator="type")])
