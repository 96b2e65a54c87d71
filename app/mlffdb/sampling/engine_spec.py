"""Naming an engine in a plan: what gives energies and forces to a method."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from mlffdb.errors import TeacherError
from mlffdb.sampling.names import suggestion

#: ASE calculators by short name.
ASE_CALCULATORS = {
    "emt": "ase.calculators.emt:EMT",
    "lj": "ase.calculators.lj:LennardJones",
    "morse": "ase.calculators.morse:MorsePotential",
}
#: MMFF94 by RDKit, for molecules with bonds.
MMFF = "mmff"


class EngineSpec(BaseModel):
    """A teacher's name, ``mmff``, an ASE calculator's short name or ``package.module:Class``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="teacher, mmff, emt, lj, morse or package.module:Class")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of an ASE calculator"
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == MMFF or name in ASE_CALCULATORS or _is_teacher(name):
            return name
        if ":" in name:
            _check_import_path(name)
            return name
        raise ValueError(
            f"unknown engine {name!r}; {suggestion(name, engine_names())}, "
            "or an ASE calculator as package.module:Class"
        )

    @property
    def import_path(self) -> str | None:
        """``package.module:Class`` of an ASE calculator, None for a teacher and for mmff."""
        if self.name in ASE_CALCULATORS:
            return ASE_CALCULATORS[self.name]
        return self.name if ":" in self.name and not _is_teacher(self.name) else None

    @property
    def label(self) -> str:
        """Name and settings as one text, for origins."""
        if not self.settings:
            return self.name
        return f"{self.name} {json.dumps(self.settings, sort_keys=True, default=str)}"


def engine_names() -> list[str]:
    """Return all engines with a short name: teachers, then the others."""
    from mlffdb.teachers import registry

    return [*registry.names(), MMFF, *ASE_CALCULATORS]


@cache
def _is_teacher(name: str) -> bool:
    from mlffdb.teachers import registry

    try:
        registry.describe(name)
    except TeacherError:
        return False
    return True


def _check_import_path(path: str) -> None:
    module, _, attribute = path.partition(":")
    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    if not found or not attribute.isidentifier():
        raise ValueError(
            f"engine {path!r}: no module {module!r} is installed, or no class is named"
        )


#: Field of a method: a name alone, or a name with settings.
EngineField = Annotated[
    EngineSpec,
    BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value),
]
