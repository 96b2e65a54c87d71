"""`mlffdb teachers pause` and `resume`."""

from __future__ import annotations

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json


@click.command(short_help="Let workers claim no more tasks of a teacher.")
@click.argument("name")
@click.option("--why", metavar="TEXT", help="Reason, shown wherever the pause is.")
@database_options
@json_option
def pause(name: str, why: str | None, as_json: bool) -> None:
    """Let workers claim no more tasks of a teacher, until `mlffdb teachers resume`.

    Batches that are claimed already are finished and stored. Pausing is for all versions and
    settings of the name that this database knows.

    \b
    Example:
      mlffdb teachers pause orb-v2 --why "GPU 3 gives wrong forces"
    """
    from mlffdb.pipeline.tasks import pause_teacher

    database = connect()
    found = pause_teacher(database, name, why)
    database.close()
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{name} is paused: {found.pending:,} pending tasks stay where they are, {found.running:,} "
        f"running ones are finished.\nNext: mlffdb teachers resume {name}"
    )


@click.command(short_help="Let workers claim the tasks of a paused teacher again.")
@click.argument("name")
@database_options
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let workers claim the tasks of a paused teacher again.

    \b
    Example:
      mlffdb teachers resume orb-v2
    """
    from mlffdb.pipeline.tasks import resume_teacher

    database = connect()
    found = resume_teacher(database, name)
    database.close()
    if as_json:
        print_json(found)
        return
    was = "is claimed again" if found.changed else "was not paused"
    click.echo(
        f"{name} {was}: {found.pending:,} pending tasks.\nNext: mlffdb label --teacher {name}"
    )
