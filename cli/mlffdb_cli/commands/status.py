"""`mlffdb status`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json, print_table

#: Part of the report → its title and what of it is shown to people; --json has everything.
SECTIONS = {
    "sampling": ("Sampling", ("plan", "tasks", "done", "running", "failed", "structures")),
    "sampling_failures": ("Failures of sampling", ("plan", "error_code", "tasks", "example")),
    "labelling": (
        "Labelling",
        ("teacher", "pending", "running", "done", "failed", "cancelled", "labels_last_minute"),
    ),
    "failures": ("Failures of labelling", ("teacher", "error_code", "tasks", "example")),
    "quality": ("Verdicts", ("teacher", "verdict", "rows", "share")),
    "workers": ("Workers alive", ("kind", "teacher", "host", "pid", "device", "done", "failed",
                                  "compute_share")),
    "snapshots": ("Snapshots", ("name", "version", "status", "train", "val", "test",
                                "created_at")),
    "runs": ("Last runs", ("action", "name", "status", "started_at", "error")),
}  # fmt: skip
LONGEST = 100


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
    click.echo(f"{found['database']}, {found['database_bytes'] / 2**20:,.0f} MiB")
    click.echo(f"{found['structures']:,} structures, {found['labels']:,} labels")
    click.echo(
        f"{found['rejected_structures']:,} structures rejected before labelling, "
        f"{found['near_duplicates']:,} pairs of near-duplicates"
    )
    for row in found["quality"]:
        row["teacher"] = row["teacher"] or "(structures)"
    for key, (title, columns) in SECTIONS.items():
        if found[key]:
            click.echo()
            print_table([_short(row, columns) for row in found[key]], title)
    click.echo(f"\nNext: {next_step(found)}")


def _short(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Keep what people read in a table; long texts by their beginning."""
    return {
        column.removeprefix("labels_"): _beginning(row[column])
        for column in columns
        if column in row
    }


def _beginning(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%d %b %H:%M")
    if not isinstance(value, str) or len(value) <= LONGEST:
        return value
    return f"{value[: LONGEST - 1].rstrip()}…"


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
