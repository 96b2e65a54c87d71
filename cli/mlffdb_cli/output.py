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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table


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


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


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
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None
) -> None:
    """Print *rows* as a table; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    listed = [list(row) for row in rows]
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in listed)
        table.add_column(
            name, justify="right" if numeric else "left", overflow="fold", header_style="dim"
        )
    for row in listed:
        table.add_row(*(_cell(value) for value in row))
    out().print(table)


def _cell(value: Any) -> str:  # noqa: PLR0911 - one line per kind
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
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
