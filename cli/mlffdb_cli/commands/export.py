"""`mlffdb export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlffdb_cli.options import connect, database_options, json_option, settings
from mlffdb_cli.output import print_json, say
from mlffdb_cli.progress import bar


@click.command(short_help="Freeze valid labels into train/val/test files.")
@click.argument("name")
@database_options
@click.option("--teacher", required=True, help="Whose labels; NAME@FINGERPRINT picks a version.")
@click.option("--where", metavar="CONDITION", help="Only labels that meet this SQL condition over "
              "the view dataset.")  # fmt: skip
@click.option("--split", default="0.8/0.1/0.1", show_default=True, help="train/val/test, as shares "
              "or numbers.")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the split."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of exports; "
              "exports/ if not given.")  # fmt: skip
@json_option
def export(
    name: str,
    teacher: str,
    where: str | None,
    split: str,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Freeze the valid labels into NAME v1, v2, …: train.h5, val.h5, test.h5 and what they hold.

    No molecule, parent or trajectory is in two splits. The same labels and seed give the same
    bytes; exporting again without a change makes no new version.

    \b
    Example:
      mlffdb export mydata --teacher gfn2-xtb
      mlffdb export small --teacher gfn2-xtb --where "n_atoms <= 20"
    """
    from mlffdb.pipeline import exporting

    folder = out or settings().exports_dir
    database = connect()
    with bar("exporting", quiet=as_json) as progress:
        report = exporting.export(
            database,
            name,
            teacher=teacher,
            out=folder,
            where=where,
            split=split,
            seed=seed,
            on_progress=progress.update,
        )
    database.close()
    if as_json:
        print_json(report)
    else:
        print_export_report(report)


def print_export_report(report: Any, *, hint: bool = True) -> None:
    """Print what an export did, and how to open it."""
    parts = ", ".join(f"{count:,} {split}" for split, count in report.counts.items())
    verb = "Froze" if report.created else "Unchanged:"
    click.echo(
        f"{verb} {report.name} v{report.version}: {report.structures:,} structures ({parts})"
    )
    click.echo(f"in {report.path}")
    for reason, count in report.left_out.items():
        click.echo(f"  left out: {count:,} × {reason}")
    for warning in report.warnings:
        say(f"warning: {warning}")
    if hint:
        click.echo(
            f"Open it: python -c \"import mlffdb; print(mlffdb.load('{report.path}/train.h5')[0])\""
        )
