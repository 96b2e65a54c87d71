"""`mlffdb status`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mlffdb.errors import DatabaseError
from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import out, print_json, print_table, say

if TYPE_CHECKING:
    from mlffdb.pipeline.watching import Watch

#: Further parts of the report → title and what of them is shown to people; --json has everything.
SECTIONS = {
    "quality": ("Verdicts", ("teacher", "verdict", "rows", "share")),
    "snapshots": ("Snapshots", ("name", "version", "status", "train", "val", "test",
                                "created_at")),
    "runs": ("Last runs", ("action", "name", "status", "started_at", "error")),
}  # fmt: skip
LONGEST = 100


@click.command(short_help="Say where everything stands and what comes next.")
@database_options
@click.option("--watch", is_flag=True, help="Show what is going on, again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.2), default=2.0, show_default=True,
              metavar="SECONDS", help="With --watch: how often to look.")  # fmt: skip
@json_option
def status(watch: bool, interval: float, as_json: bool) -> None:
    """Say where everything stands: sampling, labelling, failures, verdicts, workers, snapshots.

    --watch follows a campaign: rates, time left, every worker, what is stuck and what fails. It
    costs the database little, also with millions of tasks. With --json it prints one object a line.

    \b
    Example:
      mlffdb status
      mlffdb status --watch
      mlffdb status --json
    """
    from mlffdb.pipeline import asking
    from mlffdb.pipeline.watching import Watch, Watcher

    database = connect()
    try:
        if watch:
            _follow(Watcher(database).look, interval, as_json)
            return
        found = asking.status(database)
    finally:
        database.close()
    if as_json:
        print_json(found)
        return
    _print(found, Watch(**{key: found[key] for key in Watch.__slots__}))


def _print(found: dict[str, Any], watched: Watch) -> None:
    from mlffdb_cli.standing_tables import tables

    click.echo(f"{found['database']}, {found['database_bytes'] / 2**20:,.0f} MiB")
    click.echo(f"{found['structures']:,} structures, {found['labels']:,} labels")
    click.echo(
        f"{found['rejected_structures']:,} structures rejected before labelling, "
        f"{found['near_duplicates']:,} pairs of near-duplicates"
    )
    for row in found["quality"]:
        row["teacher"] = row["teacher"] or "(structures)"
    console = out()
    for table in tables(watched, console.width):
        console.print()
        console.print(table)
    for key, (title, columns) in SECTIONS.items():
        if found[key]:
            click.echo()
            print_table([_short(row, columns) for row in found[key]], title)
    click.echo(f"\nNext: {found['next']}")


def _follow(look: Callable[[], Watch], interval: float, as_json: bool) -> None:
    """Show what *look* finds until Ctrl-C; a database that is away is waited for."""
    try:
        if as_json:
            _repeat(look, interval, lambda found: print_json(found, indent=None), say)
        elif out().is_terminal and not out().is_dumb_terminal:
            _live(look, interval)
        else:
            _repeat(look, interval, _print_lines, say)
    except KeyboardInterrupt:
        return


def _live(look: Callable[[], Watch], interval: float) -> None:
    from rich.live import Live
    from rich.text import Text

    from mlffdb_cli.standing_tables import screen

    console = out()
    with Live(console=console, auto_refresh=False) as live:
        _repeat(
            look,
            interval,
            lambda found: live.update(screen(found, console.width), refresh=True),
            lambda problem: live.update(Text(problem), refresh=True),
        )


def _print_lines(found: Watch) -> None:
    from mlffdb_cli.standing_tables import lines

    for line in lines(found):
        click.echo(line)


def _repeat(
    look: Callable[[], Watch],
    interval: float,
    show: Callable[[Watch], None],
    complain: Callable[[str], None],
) -> None:
    while True:
        try:
            found = look()
        except DatabaseError as error:
            complain(f"{error}; trying again")
        else:
            show(found)
        time.sleep(interval)


def _short(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Keep what people read in a table; long texts by their beginning."""
    return {column: _beginning(row[column]) for column in columns if column in row}


def _beginning(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%d %b %H:%M")
    if not isinstance(value, str) or len(value) <= LONGEST:
        return value
    return f"{value[: LONGEST - 1].rstrip()}…"
