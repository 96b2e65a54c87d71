"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlffdb.config import Settings, load_settings
from mlffdb.store.database import Database

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def database_options(command: Command) -> Command:
    """Add --database-url and --data-dir; they win over the environment and mlffdb.toml."""
    command = click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        expose_value=False,
        callback=_remember,
        help="Folder of the embedded database.",
    )(command)
    return click.option(
        "--database-url",
        metavar="URL",
        expose_value=False,
        callback=_remember,
        help="PostgreSQL server, such as postgresql://me@host/mlff; else the embedded one.",
    )(command)


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.ensure_object(dict)[parameter.name] = value


def settings(**overrides: Any) -> Settings:
    """Return the settings in force for this command."""
    ctx = click.get_current_context()
    return load_settings(**{**(ctx.find_object(dict) or {}), **overrides})


def connect() -> Database:
    """Return the database of this command; its schema must be current."""
    from mlffdb.pipeline.setup import connect as connect_current

    return connect_current(settings())
