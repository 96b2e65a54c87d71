"""The whole schema as SQL: `python -m mlffdb.store.ddl` prints it.

The first migration was written by this; later ones are written by hand and held against it.
"""

from __future__ import annotations

from sqlalchemy import ExecutableDDLElement
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment, SetTableComment

from mlffdb.store import views
from mlffdb.store.schema import Base, extras


def statements() -> list[str]:
    """Return the statements that make an empty database into an mlffdb one, in order."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    result = []
    for table in Base.metadata.sorted_tables:
        parts: list[ExecutableDDLElement] = [CreateTable(table), SetTableComment(table)]
        parts += [SetColumnComment(column) for column in table.columns if column.comment]
        parts += [
            CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
        result += [str(part.compile(dialect=dialect)).strip() for part in parts]
    return result + extras.statements() + views.statements()


def script() -> str:
    """Return all statements as one SQL script."""
    return "".join(f"{statement.rstrip(';')};\n" for statement in statements())


if __name__ == "__main__":
    print(script(), end="")  # noqa: T201 - its purpose
