"""`mlffdb import`."""

from __future__ import annotations

from pathlib import Path

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json, say
from mlffdb_cli.progress import bar

SHOWN = 10


@click.command("import", short_help="Import structures from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@database_options
@click.option("--domain", help="Domain of all structures, such as organic or inorganic.")
@click.option("--format", "file_format", help="Format, where the suffix does not tell it.")
@click.option("--charge", type=int, help="Charge in e, where the file does not say it.")
@click.option("--dry-run", is_flag=True, help="Read everything and store nothing.")
@click.option("--all-rejections", is_flag=True, help="List every rejection, not the first ten.")
@json_option
def import_command(
    files: tuple[Path, ...],
    domain: str | None,
    file_format: str | None,
    charge: int | None,
    dry_run: bool,
    all_rejections: bool,
    as_json: bool,
) -> None:
    """Import structures from files: all that ASE reads, SDF, MOL, SMILES, SPICE-style HDF5.

    Importing twice adds nothing. Ends with 2 if anything was rejected; the rest is imported.

    \b
    Example:
      mlffdb import molecules.sdf crystals/*.cif --domain organic
    """
    from mlffdb.pipeline.importing import import_files

    database = None if dry_run else connect()
    with bar("importing", quiet=as_json) as progress:
        report = import_files(
            database,
            files,
            domain=domain,
            file_format=file_format,
            charge=charge,
            on_progress=lambda found, path: progress.update(found.read, note=path.name),
        )
    if database is not None:
        database.close()
    if as_json:
        print_json(
            {
                "inserted": report.inserted,
                "existing": report.existing,
                "rejected": report.rejected,
                "rejections": report.rejections,
                "unreadable": report.unreadable,
                "dry_run": dry_run,
            }
        )
    else:
        unread = f", {len(report.unreadable):,} files not read" if report.unreadable else ""
        verb = "can be imported" if dry_run else "inserted"
        click.echo(
            f"{report.inserted:,} {verb}, {report.existing:,} already there, "
            f"{report.rejected.total():,} rejected{unread}."
        )
        for code, count in report.rejected.most_common():
            click.echo(f"  {count:,} × {code}")
        if report.inserted and not dry_run:
            click.echo("Next: mlffdb label, or mlffdb stats")
    shown = report.rejections if all_rejections else report.rejections[:SHOWN]
    for rejection in shown:
        say(f"rejected: {rejection.file}, index {rejection.index}: {rejection.reason}")
    if len(shown) < report.rejected.total():
        say(f"… and {report.rejected.total() - len(shown):,} more; --all-rejections lists them")
    for reason in report.unreadable.values():
        say(f"error: {reason}")
    if not report.complete:
        raise SystemExit(2)
