"""`mlffdb status`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json, print_table


@click.command(short_help="Say where everything stands and what comes next.")
@database_options
@json_option
def status(as_json: bool) -> None:
    """Say where everything stands: sampling, labelling, failures, verdicts, workers, snapshots.

    \b
    Example:
      mlffdb status
      mlffdb status --json
    """
    from mlffdb.pipeline import asking

    database = connect()
    found = asking.status(database)
    database.close()
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{found['structures']:,} structures, {found['labels']:,} labels, "
        f"{found['database_bytes'] / 2**20:,.0f} MiB in {found['database']}"
    )
    click.echo(
        f"{found['rejected_structures']:,} structures rejected before labelling, "
        f"{found['near_duplicates']:,} pairs of near-duplicates"
    )
    for key, title in (
        ("sampling", "Sampling"),
        ("labelling", "Labelling"),
        ("failures", "Failures"),
        ("quality", "Verdicts"),
        ("workers", "Workers alive"),
        ("snapshots", "Snapshots"),
        ("runs", "Last runs"),
    ):
        if found[key]:
            click.echo()
            print_table([_short(row) for row in found[key]], title)
    click.echo(f"\nNext: {next_step(found)}")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what people do not read in a table."""
    return {
        key: value[:12] if key in ("plan_digest", "root_hash") and value else value
        for key, value in row.items()
        if key not in ("example_id", "teacher_id", "worker_id", "remaining_cost", "seed", "counts")
    }


def next_step(found: dict[str, Any]) -> str:
    """Return what to do next."""
    if not found["structures"]:
        return "mlffdb sample, or mlffdb import FILE"
    if any(row["done"] + row["failed"] < row["tasks"] for row in found["sampling"]):
        return "mlffdb sample PLAN, which continues"
    if not found["labels"] or any(row["pending"] + row["running"] for row in found["labelling"]):
        return "mlffdb label"
    if not any(row["teacher"] for row in found["quality"]):
        return "mlffdb validate"
    if not found["snapshots"]:
        return "mlffdb export NAME --teacher TEACHER"
    return 'mlffdb stats, or mlffdb sql "SELECT …"'
