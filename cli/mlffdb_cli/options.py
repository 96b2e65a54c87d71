"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from mlffdb.config import ENV_PREFIX, Settings, load_settings
from mlffdb.declarations import DeclaredTeacher
from mlffdb.errors import ConfigError
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


def plan_teachers_option(command: Command) -> Command:
    """Add --plan, whose declared teachers are known while the command runs."""
    return click.option(
        "--plan",
        metavar="PLAN",
        expose_value=False,
        is_eager=True,
        callback=_teachers_of_plan,
        help="Plan that declares teachers (its block teachers).",
    )(command)


def _teachers_of_plan(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    from mlffdb.sampling import load_plan

    if value is not None:
        use_teachers(ctx, load_plan(value).teachers)


def use_teachers(ctx: click.Context, teachers: Mapping[str, DeclaredTeacher]) -> None:
    """Let *teachers* be settings of this process and those it starts, while the command runs."""
    if not teachers:
        return
    name = ENV_PREFIX + "TEACHERS"
    before = os.environ.get(name)
    found = load_settings()
    merged = found.model_copy(update={"teachers": {**found.teachers, **teachers}})
    os.environ[name] = merged.variables()[name]

    def restore() -> None:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before

    ctx.call_on_close(restore)


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.ensure_object(dict)[parameter.name] = value


def data_dir_option() -> str:
    """Return `` --data-dir FOLDER`` if it was given, for commands that are suggested."""
    given = click.get_current_context().find_object(dict) or {}
    return f" --data-dir {given['data_dir']}" if "data_dir" in given else ""


def settings(**overrides: Any) -> Settings:
    """Return the settings in force for this command; raises ConfigError."""
    given = click.get_current_context().find_object(dict) or {}
    found = load_settings(**{**given, **overrides})
    if "data_dir" in given and not found.embedded:
        raise ConfigError(
            "--data-dir is the folder of the embedded database, but a database URL is set; unset "
            "MLFFDB_DATABASE_URL or leave --data-dir out"
        )
    return found


def connect() -> Database:
    """Return the database of this command; its schema must be current."""
    from mlffdb.pipeline.setup import connect as connect_current

    return connect_current(settings())
