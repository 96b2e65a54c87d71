"""`mlffdb teachers fetch`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import print_json, print_rows, say


@click.command(short_help="Fetch and check the weights of teachers ahead of their first use.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@database_options
@json_option
def fetch(names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Fetch the weights of the teachers NAME... and check them.

    Files that are in MLFFDB_WEIGHTS_DIR or were fetched before are only checked; an interrupted
    download goes on where it ended. By fetching you accept the licence that is shown.

    \b
    Example:
      mlffdb teachers fetch ani1x
      mlffdb teachers fetch ani1ccx fennol:fennix-bio1S --dry-run
    """
    from mlffdb.pipeline.fetching import fetch_weights, list_weights

    found = settings()
    files = list_weights(names, found)
    if not dry_run:
        _say_licences(files)
        files = fetch_weights(names, found)
    if as_json:
        print_json(files)
        return
    for name in names:
        if not any(file.teacher == name for file in files):
            click.echo(f"{name} needs no weights of its own.")
    if files:
        columns = ["file", "state", "licence", "sha256", "path"]
        print_rows(columns, [_row(file) for file in files])
    if dry_run and any(file.state == "missing" for file in files):
        click.echo(f"\nNext: mlffdb teachers fetch {' '.join(names)}")
    else:
        click.echo(f"\nNext: mlffdb label --teacher {names[0]}")


def _say_licences(files: Any) -> None:
    """Show each licence once, before anything under it is fetched."""
    for licence in dict.fromkeys(file.licence for file in files if file.state == "missing"):
        missing = [file for file in files if file.licence == licence and file.state == "missing"]
        named = missing[0].file + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        say(f"{named}: licence {licence}")


def _row(file: Any) -> list[Any]:
    digest = file.sha256[:16] + "…" if file.sha256 else "noted at the first fetch"
    return [file.file, file.state, file.licence, digest, file.path]
