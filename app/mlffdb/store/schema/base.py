"""What all tables share: naming of constraints, and short ways to say columns and checks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Double, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID
from sqlalchemy.orm import DeclarativeBase, MappedColumn, mapped_column

JSON = JSONB(none_as_null=True)
TIME = TIMESTAMP(timezone=True)
ID = UUID(as_uuid=True)


class Base(DeclarativeBase):
    """Root of the models; its metadata holds the naming of constraints."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def column(kind: Any, *args: Any, comment: str, **options: Any) -> MappedColumn[Any]:
    """Return a column that is NOT NULL unless said, with a comment that `\\d+` shows."""
    options.setdefault("nullable", False)
    return mapped_column(kind, *args, comment=comment, **options)


def check(name: str, condition: str) -> CheckConstraint:
    """Return a named CHECK."""
    return CheckConstraint(condition, name=name)


def one_of(name: str, *values: str) -> CheckConstraint:
    """Return a CHECK that the text column *name* holds one of *values*."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return check(name, f"{name} IN ({allowed})")


def finite(name: str) -> CheckConstraint:
    """Return a CHECK that the float column *name* is neither NaN nor infinite."""
    return check(
        f"{name}_finite",
        f"{name} > '-Infinity'::double precision AND {name} < 'Infinity'::double precision",
    )


def finite_elements(name: str, length: int) -> CheckConstraint:
    """Return a CHECK that the array *name* has *length* elements, all of them finite."""
    return check(
        name,
        f"array_ndims({name}) = 1 AND cardinality({name}) = {length}"
        f" AND array_position({name}, NULL) IS NULL"
        f" AND array_position({name}, 'NaN'::double precision) IS NULL"
        f" AND array_position({name}, 'Infinity'::double precision) IS NULL"
        f" AND array_position({name}, '-Infinity'::double precision) IS NULL",
    )


__all__ = [
    "ID",
    "JSON",
    "TIME",
    "Base",
    "Double",
    "Text",
    "check",
    "column",
    "finite",
    "finite_elements",
    "one_of",
]
