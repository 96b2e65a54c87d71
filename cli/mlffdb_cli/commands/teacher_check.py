"""`mlffdb teachers check`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import database_options, json_option, plan_teachers_option, settings
from mlffdb_cli.output import print_json, print_rows
from mlffdb_cli.progress import bar

#: Exit status where a teacher breaks the contract.
BROKEN = 1


@click.command(short_help="Run the contract suite on a teacher.")
@click.argument("name")
@click.option("--device", default="cpu", help="cpu or cuda:N.")
@plan_teachers_option
@database_options
@json_option
def check(name: str, device: str, as_json: bool) -> None:
    """Run the contract suite on a teacher, on small built-in structures that it supports.

    Order, company, repetition, atom order, translation, rotation, forces and stress by finite
    differences, and refusals. Where a teacher declares that it is not equivariant or not
    conservative, the deviation is measured. The result is kept in the database, and `mlffdb
    teachers` shows it. Ends with 1 if the contract is broken.

    \b
    Example:
      mlffdb teachers check gfn2-xtb
      mlffdb teachers check orb-v2 --device cuda:0 --json
    """
    from mlffdb.pipeline.contracts import check_teacher

    found = settings()
    with bar(f"checking {name}", quiet=as_json) as progress:
        report = check_teacher(name, device=device, settings=found, on_progress=progress.update)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.broken:
        raise SystemExit(BROKEN)


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.2g}"


def _print(report: Any) -> None:
    click.echo(f"{report.teacher} on {report.device}, {report.structures} structures")
    rows = [
        [one.check, one.status, *map(_short, (one.energy, one.force, one.stress)), one.why or ""]
        for one in report.checks
    ]
    print_rows(["check", "result", "eV/atom", "eV/Å", "eV/Å³", "why"], rows)
    if report.not_stored:
        click.echo(f"Not stored: {report.not_stored}")
    if report.broken:
        names = ", ".join(one.check for one in report.broken)
        click.echo(f"{report.teacher} breaks the contract: {names}. Do not label with it.")
    else:
        click.echo(f"The contract holds. Next: mlffdb label --teacher {report.teacher}")
