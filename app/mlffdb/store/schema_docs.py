"""docs/schema.md from the models and views: `python -m mlffdb.store.schema_docs > docs/schema.md`.

What it says stands in the database too: `\\d+ TABLE` in psql shows the same comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import CheckConstraint, Column, Computed, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from mlffdb.store import views
from mlffdb.store.schema import Base

HEAD = """\
# The database

Written by `python -m mlffdb.store.schema_docs` from the models in `app/mlffdb/store/schema` and the
views in `app/mlffdb/store/views.py`; a test holds that it is current. `mlffdb db psql -- -c '\\d+
TABLE'` shows the same comments.

Units: eV, Å, eV/Å, eV/Å³ (tensile positive, Voigt xx yy zz yz xz xy), charge in e, multiplicity
2S+1. Large arrays are little-endian `bytea`, atoms in canonical order. Absent is NULL, never zero.
Columns are NOT NULL unless marked.

The **views** are what `mlffdb sql` and `--where` can read; their names and columns stay as they are
as far as possible. The **tables** are for mlffdb itself and for owners who know what they do.
"""


def document() -> str:
    """Return the whole page, Markdown."""
    lines = [HEAD, "## Views", ""]
    for view in views.VIEWS:
        lines += _view(view)
    lines += ["## Tables", ""]
    for table in Base.metadata.sorted_tables:
        lines += _table(table)
    return "\n".join(lines).rstrip() + "\n"


def _view(view: views.View) -> Iterator[str]:
    yield from (f"### {view.name}", "", f"{view.comment}.", "")
    yield from ("| column | meaning |", "|---|---|")
    yield from (f"| `{name}` | {_cell(meaning)} |" for name, meaning in view.columns.items())
    yield ""


def _table(table: Table) -> Iterator[str]:
    yield from (f"### {table.name}", "", f"{table.comment}.", "")
    yield from ("| column | type | meaning |", "|---|---|---|")
    for column in table.columns:
        yield f"| `{column.name}` | {_type(column)} | {_cell(_meaning(column))} |"
    yield ""
    yield from _rules(table)
    yield ""


def _type(column: Column[Any]) -> str:
    text = str(column.type.compile(dialect=_dialect())).lower()
    text = text.replace(" with time zone", "tz").replace("double precision", "float8")
    return f"{text}{' NULL' if column.nullable else ''}"


def _meaning(column: Column[Any]) -> str:
    keys = "; ".join(f"→ `{key.target_fullname}`" for key in column.foreign_keys)
    computed = "; computed" if isinstance(column.computed, Computed) else ""
    return "; ".join(part for part in (f"{column.comment}{computed}", keys) if part)


def _rules(table: Table) -> Iterator[str]:
    yield f"- Key: `{_names(table.primary_key.columns)}`"
    unique = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    yield from sorted(f"- Unique: `{_names(constraint.columns)}`" for constraint in unique)
    checks = [c for c in table.constraints if isinstance(c, CheckConstraint)]
    yield from sorted(f"- `{_name(check)}`: `{check.sqltext}`" for check in checks)
    yield from sorted(f"- `{_index(index)}`" for index in table.indexes)


def _names(columns: Iterable[Column[Any]]) -> str:
    return ", ".join(column.name for column in columns)


def _name(constraint: CheckConstraint) -> str:
    """Return the name that the database knows the constraint by."""
    return str(_dialect().identifier_preparer.format_constraint(constraint))


def _index(index: Index) -> str:
    text = " ".join(str(CreateIndex(index).compile(dialect=_dialect())).split())
    return re.sub(r"^CREATE (UNIQUE )?INDEX (\S+) ON \S+ ", r"\2`: `\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _dialect() -> postgresql.base.PGDialect:
    dialect: postgresql.base.PGDialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return dialect


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 - its purpose
