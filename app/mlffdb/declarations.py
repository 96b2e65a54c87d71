"""Teachers that a user declares: any ASE calculator, by import path and keyword arguments.

Written as ``teachers:`` in a plan, or as tables ``[teachers.NAME]`` in mlffdb.toml.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
#: Where a calculator may read charge or multiplicity from: a key of ``atoms.info``, or the sum of
#: the atoms' initial charges or magnetic moments.
CHARGE_PLACE = r"^(info\.\w+|initial_charges)$"
SPIN_PLACE = r"^(info\.\w+|initial_magmoms)$"


class DeclaredTeacher(BaseModel):
    """An ASE calculator and what it can do; what is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calculator: str = Field(pattern=IMPORT_PATH, description="package.module:Class")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments; files among them are hashed"
    )
    device_argument: str | None = Field(
        default=None, description="keyword that takes cpu or cuda:N; without it the CPU only"
    )
    elements: tuple[str, ...] = Field(
        min_length=1, description="symbols, and ranges such as H-Rn by atomic number"
    )
    periodicity: tuple[Literal[0, 1, 2, 3], ...] = Field(
        default=(0,),
        min_length=1,
        description="numbers of periodic directions: 0 molecules, 3 crystals",
    )
    charge: str | None = Field(
        default=None,
        pattern=CHARGE_PLACE,
        description="where it reads the charge: info.KEY or initial_charges; else neutral only",
    )
    multiplicity: str | None = Field(
        default=None,
        pattern=SPIN_PLACE,
        description="where it reads 2S+1: info.KEY, or initial_magmoms; else singlets only",
    )
    stress: bool = Field(default=False, description="whether it gives stress for crystals")
    conservative: bool = Field(
        default=True, description="whether forces are the gradient of the energy"
    )
    equivariant: bool = Field(
        default=True, description="whether forces turn with the structure exactly"
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32", description="arithmetic; part of the fingerprint"
    )
    packages: tuple[str, ...] = Field(
        default=(), description="further packages whose versions decide the numbers"
    )
    max_atoms: int | None = Field(default=None, ge=1, description="largest structure")
    energy_tolerance: float = Field(default=1e-4, gt=0, description="when computed again, eV/atom")
    force_tolerance: float = Field(default=1e-3, gt=0, description="when computed again, eV/Å")
    stress_tolerance: float = Field(default=1e-4, gt=0, description="when computed again, eV/Å³")
    licence: str = Field(default="not stated", description="licence of the weights or the method")

    @field_validator("elements")
    @classmethod
    def _known(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        atomic_numbers_of(elements)
        return elements


def atomic_numbers_of(elements: tuple[str, ...]) -> frozenset[int]:
    """Return the atomic numbers of symbols and ranges (H-Rn); raises ValueError."""
    from ase.data import atomic_numbers

    found: set[int] = set()
    for part in elements:
        first, _, last = part.partition("-")
        try:
            low, high = atomic_numbers[first], atomic_numbers[last or first]
        except KeyError as error:
            raise ValueError(f"{part!r}: {error} is no element") from None
        if not 1 <= low <= high:
            raise ValueError(f"{part!r} is no range of elements")
        found.update(range(low, high + 1))
    return frozenset(found)
