"""The plan: one YAML file that fixes what is sampled, labelled and exported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mlffdb.declarations import DeclaredTeacher
from mlffdb.errors import TeacherError
from mlffdb.sampling.input_file import MEANING, InputFile
from mlffdb.sampling.method import METHODS, Method
from mlffdb.sampling.registry import ByName
from mlffdb.sampling.source import SOURCES, Source

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Block(_Part):
    """A source and the methods that make structures from each of its items."""

    name: str = Field(pattern=NAME, description="name of the block; seeds follow from it")
    domain: str | None = Field(
        default=None,
        pattern="^[a-z][a-z0-9_-]*$",
        description="domain; the source's own where absent",
    )
    source: Annotated[Source, ByName(SOURCES)]
    methods: tuple[Annotated[Method, ByName(METHODS)], ...] = ()

    @model_validator(mode="after")
    def _methods_fit(self) -> Block:
        for place, method in enumerate(self.methods):
            reason = _misfit(self.source, method)
            if reason:
                raise PydanticCustomError(
                    "misfit", "{why}", {"why": reason, "at": ("methods", place)}
                )
        return self

    @property
    def steps(self) -> tuple[Method, ...]:
        """The methods, after one conformer where nothing else places a molecule's atoms first."""
        if not self.source.gives_molecules or (self.methods and self.methods[0].places_atoms):
            return self.methods
        from mlffdb.sampling.methods.etkdg import Etkdg

        return (Etkdg(), *self.methods)


def _misfit(source: Source, method: Method) -> str | None:
    """Say why *method* can do nothing with what *source* gives, or None."""
    if method.needs == "molecule" and not source.gives_molecules:
        return f"{method.type} needs molecules with bonds, which {source.type} does not give"
    if method.needs == "isolated" and source.periodic:
        return f"{method.type} is for isolated structures, and {source.type} gives crystals"
    if method.needs == "periodic" and source.periodic is False:
        return f"{method.type} is for crystals, and {source.type} gives isolated structures"
    return None


class LabelStage(_Part):
    """Who labels."""

    teachers: tuple[str, ...] = Field(
        default=(), description="teachers; the configured default if none"
    )


class ValidationStage(_Part):
    """How labels and structures are checked."""

    thresholds: InputFile | None = Field(
        default=None, description="file of thresholds; ours if absent"
    )


class ExportStage(_Part):
    """What is frozen at the end."""

    name: str | None = Field(
        default=None, pattern=NAME, description="name; the plan's own if absent"
    )
    teacher: str | None = Field(
        default=None, description="whose labels; the first of label.teachers"
    )
    where: str | None = Field(default=None, description="SQL condition on what is taken")
    split: tuple[float, float, float] = Field(
        default=(0.8, 0.1, 0.1), description="shares of train, validation and test"
    )
    seed: int = Field(default=0, ge=0, description="seed of the split")

    @field_validator("split")
    @classmethod
    def _whole(cls, split: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(split) < 0 or split[0] <= 0 or abs(sum(split) - 1) > 1e-6:
            raise ValueError(
                f"split {list(split)}: needs three shares, none below 0, that sum to 1"
            )
        return split


class Plan(_Part):
    """A validated plan; `load_plan` reads one from a file."""

    name: str = Field(pattern=NAME, description="name of the plan")
    description: str = Field(default="", description="one line on what it makes")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of all sampling")
    blocks: tuple[Block, ...] = Field(min_length=1, description="what is sampled")
    teachers: dict[str, DeclaredTeacher] = Field(
        default_factory=dict, description="ASE calculators as teachers, by name"
    )
    label: LabelStage = LabelStage()
    validation: ValidationStage = ValidationStage()
    export: ExportStage = ExportStage()

    _source: str = PrivateAttr("")

    @field_validator("blocks")
    @classmethod
    def _names_differ(cls, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        names = [block.name for block in blocks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two blocks are named {twice!r}; seeds follow from the name")
        return blocks

    @model_validator(mode="after")
    def _teachers_are_known(self) -> Plan:
        from mlffdb.teachers import registry

        for name in self.label.teachers:
            try:
                if name not in self.teachers:
                    registry.describe(name)
            except TeacherError as error:
                why = {"why": str(error), "at": ("label", "teachers")}
                raise PydanticCustomError("misfit", "{why}", why) from None
        return self

    @property
    def source(self) -> str:
        """Where it was read from: a path, or ``packaged:NAME``."""
        return self._source

    def read_from(self, source: str) -> Plan:
        """Remember where this plan came from; returns itself."""
        self._source = source
        return self

    def block(self, name: str) -> Block:
        """Return the block *name*; raises KeyError."""
        return {block.name: block for block in self.blocks}[name]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what the plan means: all but its description, files by contents."""
        return self._hash({"description"})

    @cached_property
    def sampling_digest(self) -> str:
        """SHA-256 (hex) of what fixes the structures: the seed and the blocks."""
        return self._hash(set(type(self).model_fields) - {"seed", "blocks"})

    def _hash(self, without: Collection[str]) -> str:
        meaning: dict[str, Any] = self.model_dump(
            mode="json", context=MEANING, exclude=set(without)
        )
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
