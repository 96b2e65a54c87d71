"""`mlffdb stats`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json, print_table


@click.command(short_help="Say what the data is made of.")
@database_options
@json_option
def stats(as_json: bool) -> None:
    """Say what the data is made of: domains, elements, sizes, methods, periodic share.

    \b
    Example:
      mlffdb stats
      mlffdb sql "SELECT * FROM composition_by_element ORDER BY atoms DESC"
    """
    from mlffdb.pipeline import asking

    database = connect()
    found = asking.stats(database)
    database.close()
    if as_json:
        print_json(found)
        return
    if not found["structures"]:
        click.echo("No structures yet. Next: mlffdb sample, or mlffdb import FILE")
        return
    click.echo(
        f"{found['structures']:,} structures of {found['formulas']:,} formulas and "
        f"{found['elements']} elements, {100 * found['periodic_share']:.1f} % periodic;\n"
        f"{found['min_atoms']}–{found['max_atoms']} atoms, {found['mean_atoms']:.1f} on average"
    )
    for name, title, _ in asking.COMPOSITION:
        click.echo()
        print_table([_rounded(row) for row in found[name]], f"{title} ({name})")


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: round(value, 3) if isinstance(value, float) else value for k, value in row.items()}
