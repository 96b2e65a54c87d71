"""`mlffdb db`: the life of the embedded PostgreSQL."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import click

from mlffdb.config import Settings
from mlffdb.errors import ConfigError
from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import print_json


@click.group(short_help="Start, stop and look into the embedded PostgreSQL.")
def db() -> None:
    """Start, stop and look into the embedded PostgreSQL."""


def _embedded(found: Settings) -> Settings:
    if not found.embedded:
        raise ConfigError(
            "a database URL is set, so the embedded PostgreSQL is not in use; unset "
            "MLFFDB_DATABASE_URL to use it"
        )
    return found


@db.command()
@database_options
@click.option(
    "--listen", metavar="ADDRESS[:PORT]", help="Also listen on TCP, with passwords (scram)."
)
@json_option
def start(listen: str | None, as_json: bool) -> None:
    """Start it; it runs until `mlffdb db stop`.

    Nothing but a private Unix socket reaches it, unless --listen is given: then other machines
    do, with the password that is kept in the data folder.

    \b
    Example:
      mlffdb db start --listen 0.0.0.0:5433
    """
    from mlffdb.store.embedded import EmbeddedServer

    found = _embedded(settings())
    server = EmbeddedServer(found.data_dir, version=found.postgres_version)
    server.start(listen=listen)
    tcp = server.listening()
    if as_json:
        print_json(
            {
                "running": True,
                "data_dir": found.data_dir,
                "tcp_url": tcp,
                "password_file": server.password_file if tcp else None,
            }
        )
        return
    click.echo(f"Running on {found.data_dir}.")
    if tcp is None:
        return
    click.echo(f"From other machines: export MLFFDB_DATABASE_URL={tcp}")
    click.echo(f"The password is in {server.password_file}. On machines that share your home:")
    click.echo(f"  (umask 077; echo {_pgpass(tcp, server.password_file)} >> ~/.pgpass)")
    click.echo("With both, run once: mlffdb init, so that queries can log in by TCP too")


def _pgpass(url: str, password_file: Path) -> str:
    """Return the line of ~/.pgpass for *url* as the shell makes it, without the password."""
    from sqlalchemy import make_url

    found = make_url(url)
    host = (found.host or "").replace(":", "\\:")  # IPv6
    head = f"{host}:{found.port}:{found.database}:{found.username}:"
    return f'{shlex.quote(head)}"$(cat {shlex.quote(str(password_file))})"'


@db.command()
@database_options
@json_option
def stop(as_json: bool) -> None:
    """Stop it; the next command that needs it starts it again.

    \b
    Example:
      mlffdb db stop
    """
    from mlffdb.store.embedded import EmbeddedServer

    found = _embedded(settings())
    stopped = EmbeddedServer(found.data_dir, version=found.postgres_version).stop()
    if as_json:
        print_json({"running": False, "was_running": stopped, "data_dir": found.data_dir})
    else:
        click.echo("Stopped." if stopped else "It was not running.")


@db.command(short_help="Print the URL that other programs can connect to.")
@database_options
@json_option
def url(as_json: bool) -> None:
    """Print the URL that other programs can connect to (with no password in it).

    \b
    Example:
      mlffdb db url
    """
    from mlffdb.store.database import Database, shown

    with Database(settings()) as database:
        text = shown(database.url)
    if as_json:
        print_json({"url": text})
    else:
        click.echo(text)


@db.command(context_settings={"ignore_unknown_options": True})
@database_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql as the owner; further arguments go to psql.

    \b
    Example:
      mlffdb db psql -- -c '\\d+ structure'
    """
    from mlffdb.store.database import Database, libpq

    with Database(settings()) as database:
        given = libpq(database.url)
        program = str(database.server.program("psql"))
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE",
             "password": "PGPASSWORD"}  # fmt: skip
    environment = {names[key]: str(value) for key, value in given.items() if key in names}
    status = subprocess.run(
        [program, *arguments], env={**os.environ, **environment}, check=False
    ).returncode
    raise SystemExit(status)


@db.command()
@database_options
@json_option
@click.pass_context
def upgrade(ctx: click.Context, as_json: bool) -> None:
    """Bring the schema to this version; the same as `mlffdb init`.

    \b
    Example:
      mlffdb db upgrade
    """
    from mlffdb_cli.commands.setup import init

    ctx.invoke(init, as_json=as_json)
