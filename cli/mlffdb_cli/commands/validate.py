"""`mlffdb validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json, print_rows
from mlffdb_cli.progress import bar


@click.command(short_help="Check structures and labels: valid, suspect or rejected.")
@database_options
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file with limits that replace the packaged ones.",
)
@click.option("--checks", is_flag=True, help="List the checks with their limits and sources.")
@json_option
def validate(thresholds: Path | None, checks: bool, as_json: bool) -> None:
    """Check structures and labels that have no verdict yet: valid, suspect or rejected.

    Findings are kept with value and limit; checking again adds to the history.

    \b
    Example:
      mlffdb validate
      mlffdb validate --checks
      mlffdb sql "SELECT * FROM findings WHERE severity = 'reject' LIMIT 5"
    """
    from mlffdb.pipeline import validating

    if checks:
        _list_checks(thresholds, as_json)
        return
    database = connect()
    with bar("validating", quiet=as_json) as progress:
        report = validating.validate(
            database,
            thresholds_file=thresholds,
            on_progress=lambda what, done, total: progress.update(done, total, what),
        )
    database.close()
    if as_json:
        print_json(report)
    else:
        print_validation_report(report)


def print_validation_report(report: Any, *, hint: bool = True) -> None:
    """Print verdicts and findings, and what comes next."""
    parts = {"structures": report.structures}
    parts |= {f"labels by {name}": checked for name, checked in report.labels.items()}
    if not any(checked.checked for checked in parts.values()):
        click.echo(f"Nothing to check: everything has a verdict by rules {report.rule_version}.")
        return
    print_rows(
        ["checked", "rows", "valid", "suspect", "rejected", "findings"],
        [
            [
                name,
                checked.checked,
                checked.verdicts["valid"],
                checked.verdicts["suspect"],
                checked.verdicts["rejected"],
                ", ".join(f"{n} {check}" for check, n in checked.findings.most_common()) or "none",
            ]
            for name, checked in parts.items()
            if checked.checked
        ],
    )
    if report.structures.near_duplicates:
        click.echo(f"{report.structures.near_duplicates:,} new pairs of near-duplicates.")
    for name, checked in report.labels.items():
        for domain, fit in checked.energies.items():
            for note in fit.get("notes", []):
                click.echo(f"{name}, {domain}: {note}")
    if hint:
        click.echo("Next: mlffdb export NAME --teacher TEACHER")


def _list_checks(thresholds: Path | None, as_json: bool) -> None:
    from mlffdb.validation import CHECKS, load_thresholds

    limits = load_thresholds(thresholds)
    rows = [
        {
            "check": check.name,
            "looks_at": check.scope.value,
            "limit": name,
            "value": limits[name].value,
            "unit": limits[name].unit,
            "severity": limits[name].severity.value,
            "source": limits[name].source,
            "what": check.explanation,
        }
        for check in CHECKS.values()
        for name in check.thresholds
    ]
    if as_json:
        print_json(rows)
    else:
        print_rows(list(rows[0]), [list(row.values()) for row in rows])
