"""`mlffdb doctor`."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import out, print_json

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]–[/]", "problem": "[red]!![/]"}


@click.command(short_help="Say what is installed and ready, with remedies.")
@database_options
@json_option
def doctor(as_json: bool) -> None:
    """Say what is installed and ready; each problem comes with its remedy.

    Ends with 1 if there is a problem; what is merely not installed is none.

    \b
    Example:
      mlffdb doctor
    """
    from mlffdb.pipeline.doctor import examine

    checks = examine(settings())
    if as_json:
        print_json(checks)
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column()
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in checks:
            remedy = f"\n[dim]→ {escape(check.remedy)}[/]" if check.remedy else ""
            table.add_row(MARKS[check.state], check.topic, f"{escape(check.message)}{remedy}")
        out().print(table)
    if any(check.state == "problem" for check in checks):
        raise SystemExit(1)
