"""Printing: tables for people, JSON and CSV for programs; results to stdout, the rest to stderr."""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import json
import math
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

#: Cells up to this length stay on one line.
UNBROKEN = 24
#: Longer words may be broken where there is no room.
LONG_WORD = 16
#: Blanks between columns.
GAP = 2


def out() -> Console:
    """Return the console for results; where it is no terminal, lines are as long as they need."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000
    return console


def err() -> Console:
    """Return the console for progress, warnings and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Print a line for people, to stderr."""
    click.echo(message, err=True)


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line per kind
    """Return *value* as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID | Path | datetime.timedelta):
        return str(value)
    return value


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print *value* as JSON; without *indent* on one line."""
    click.echo(json.dumps(plain(value), indent=indent, ensure_ascii=False))


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print *rows* as CSV with a header."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in rows:
        cells = [plain(cell) for cell in row]
        writer.writerow([json.dumps(c) if isinstance(c, list | dict) else c for c in cells])


def print_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Print dictionaries with the same keys as a table."""
    if not rows:
        return
    print_rows(list(rows[0]), [list(row.values()) for row in rows], title)


def print_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str | None = None,
    *,
    expendable: Sequence[str] = (),
) -> None:
    """Print rows as `drawn` lays them out for the terminal."""
    console = out()
    console.print(drawn(columns, rows, title, width=console.width, expendable=expendable))


def drawn(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str | None = None,
    *,
    width: int,
    expendable: Sequence[str] = (),
) -> RenderableType:
    """Return rows as a table with numbers right-aligned; one too wide as a list of records.

    expendable: columns that are left out, one by one from the first, before that
    """
    listed = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in listed]
    shown = list(range(len(columns)))
    wraps = [_wraps(name, index, cells) for index, name in enumerate(columns)]
    least = [_least(name, i, cells, wraps[i]) for i, name in enumerate(columns)]

    def too_wide() -> bool:
        return sum(least[i] + GAP for i in shown) - GAP > width

    for name in expendable:
        if too_wide() and name in columns:
            shown.remove(list(columns).index(name))
    heading = [Text(title, style="bold")] if title else []
    if too_wide():
        return Group(*heading, *_records(columns, cells))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index in shown:
        values = [row[index] for row in listed if row[index] is not None]
        numeric = bool(values) and all(isinstance(value, int | float) for value in values)
        table.add_column(
            columns[index],
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=not wraps[index],
            min_width=least[index] if wraps[index] else None,
        )
    for row in cells:
        table.add_row(*(escape(row[index]) for index in shown))
    return Group(*heading, table)


def _wraps(name: str, index: int, cells: Sequence[Sequence[str]]) -> bool:
    """Whether the column's text is long enough to be broken into lines."""
    return max(len(name), *(len(row[index]) for row in cells), 0) > UNBROKEN


def _least(name: str, index: int, cells: Sequence[Sequence[str]], wraps: bool) -> int:
    """Return how narrow the column may become."""
    texts = [name, *(row[index] for row in cells)]
    if not wraps:
        return max(map(len, texts))
    words = [len(word) for text in texts for word in text.split()]
    return max(len(name), min(max(words, default=0), LONG_WORD))


def _records(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[RenderableType]:
    for number, row in enumerate(cells):
        if number:
            yield Text()
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            table.add_row(name, escape(cell))
        yield table


def _cell(value: Any) -> str:  # noqa: PLR0911 - one line per kind
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.7g}" if abs(value) < 1e7 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, decimal.Decimal):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, bytes | memoryview):
        return f"<{len(bytes(value))} bytes>"
    return str(value)
