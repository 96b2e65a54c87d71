"""`mlffdb init`."""

from __future__ import annotations

import click

from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import print_json, say


@click.command(short_help="Create the schema, or upgrade it; twice is harmless.")
@database_options
@json_option
def init(as_json: bool) -> None:
    """Create the database's schema, or upgrade it; twice is harmless.

    Without a URL a PostgreSQL of our own is set up and started.

    \b
    Example:
      mlffdb init
      mlffdb init --database-url postgresql://me@server/mlff
    """
    from mlffdb.pipeline import setup

    report = setup.init(settings())
    if as_json:
        print_json({**plain_report(report)})
    elif report.before is None:
        click.echo(f"Created schema {report.after} in {report.database}.")
        click.echo("Next: mlffdb sample, mlffdb import FILE, or mlffdb run quickstart")
    elif report.changed:
        click.echo(f"Upgraded {report.database} from schema {report.before} to {report.after}.")
    else:
        click.echo(f"Nothing to do: {report.database} has schema {report.after}.")
    if report.reader_problem and not as_json:
        say(
            f"warning: the role that `sql` and `--where` run under could not be made: "
            f"{report.reader_problem}; ask an administrator for CREATEROLE, or set "
            "MLFFDB_READER_URL to a login that can only read"
        )
    if report.limits_problem and not as_json:
        say(
            f"warning: the limits on connections could not be set: {report.limits_problem}; "
            "docs/queue.md lists them for an administrator"
        )


def plain_report(report: object) -> dict[str, object]:
    """Return an InitReport as a dictionary."""
    from mlffdb_cli.output import plain

    found = plain(report)
    assert isinstance(found, dict)
    return found
