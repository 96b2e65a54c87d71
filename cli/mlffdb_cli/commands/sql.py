"""`mlffdb sql`."""

from __future__ import annotations

import sys

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_csv, print_json, print_rows


@click.command(short_help="Ask the database, by SQL over documented views.")
@click.argument("statement", required=False)
@database_options
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Cancel it after so many seconds.",
)
@click.option("--views", "list_views", is_flag=True, help="List the views and their columns.")
def sql(
    statement: str | None, as_json: bool, as_csv: bool, timeout: float, list_views: bool
) -> None:
    """Run an SQL query over the documented views, as a role that can only read them.

    Without STATEMENT it is read from standard input; --views says what there is.

    \b
    Example:
      mlffdb sql "SELECT formula, structures FROM composition_by_formula LIMIT 5"
      mlffdb sql --csv "SELECT * FROM composition_by_element" > elements.csv
    """
    from mlffdb.store import reader

    if list_views:
        _print_views(as_json)
        return
    if statement is None or statement == "-":
        if sys.stdin.isatty():
            raise click.UsageError("give a query, or --views to see what there is")
        statement = sys.stdin.read()
    if not statement.strip():
        raise click.UsageError("the query is empty")
    database = connect()
    found = reader.query(database, statement, timeout=timeout)
    database.close()
    if as_json:
        print_json(found.as_dicts())
    elif as_csv:
        print_csv(found.columns, found.rows)
    else:
        print_rows(found.columns, found.rows)
        click.echo(f"{len(found.rows):,} row{'' if len(found.rows) == 1 else 's'}", err=True)


def _print_views(as_json: bool) -> None:
    from mlffdb.store.views import VIEWS

    if as_json:
        print_json([{"view": v.name, "what": v.comment, "columns": v.columns} for v in VIEWS])
        return
    for view in VIEWS:
        click.echo(click.style(view.name, bold=True) + f": {view.comment}")
        for column, comment in view.columns.items():
            click.echo(f"    {column:<20} {comment}")
