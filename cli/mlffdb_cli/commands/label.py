"""`mlffdb label`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import connect, database_options, json_option, settings
from mlffdb_cli.output import print_json, say
from mlffdb_cli.progress import bar


@click.command(short_help="Label structures with energy, forces and stress.")
@database_options
@click.option("--teacher", "names", multiple=True, help="Who labels; may be given more than once.")
@click.option("--gpu", type=click.IntRange(0), metavar="N", help="Compute on GPU number N.")
@click.option("--device", help="cpu or cuda:N; cpu if neither this nor --gpu is given.")
@click.option("--workers", type=click.IntRange(1), help="Processes; on the CPU one per core.")
@click.option("--follow", is_flag=True, help="Go on with structures that come later.")
@click.option("--where", metavar="CONDITION", help="Only structures that meet this SQL condition "
              "over the view structures.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="At most so many open tasks.")
@click.option("--dry-run", is_flag=True, help="Say what would be labelled, and label nothing.")
@json_option
def label(
    names: tuple[str, ...],
    gpu: int | None,
    device: str | None,
    workers: int | None,
    follow: bool,
    where: str | None,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Label the structures that have no label yet, with energy, forces and stress.

    Without --teacher: the teachers that have open tasks, else the configured one, else orb-v2 on
    a GPU and gfn2-xtb without. Structures are checked first. Interrupting it is safe, and running
    it again continues. Ends with 2 if some could not be labelled; the others are.

    \b
    Example:
      mlffdb label --gpu 0
      mlffdb label --teacher gfn2-xtb --workers 8
    """
    from mlffdb.pipeline import labelling
    from mlffdb.teachers import registry

    if gpu is not None and device is not None:
        raise click.UsageError("give --gpu or --device, not both")
    if follow and len(names) > 1:
        raise click.UsageError("--follow takes one --teacher")
    where_it_runs = f"cuda:{gpu}" if gpu is not None else device or "cpu"
    for name in names:
        registry.check_device(name, where_it_runs)
    database = connect()
    chosen = list(names) or labelling.choose_teachers(
        database, settings(), gpu=where_it_runs != "cpu"
    )
    for name in chosen:
        registry.check_device(name, where_it_runs)
    if dry_run:
        _show_plan(database, chosen, where, where_it_runs, as_json)
        return
    reports = []
    for name in chosen:
        report = run_teacher(
            database,
            name,
            device=where_it_runs,
            workers=workers,
            follow=follow,
            where=where,
            limit=limit,
            quiet=as_json,
        )
        reports.append(report)
        if not as_json:
            print_label_report(report)
        if report.totals.interrupted:
            break
    database.close()
    if as_json:
        print_json(reports)
    if any(report.totals.interrupted for report in reports):
        say("Interrupted; run the same command again to continue.")
        return
    failing = [report for report in reports if report.totals.failed and report.failures]
    for report in failing:
        reasons = ", ".join(f"{count:,} × {code}" for code, count, _ in report.failures)
        say(f"error: {report.teacher} could not label all: {reasons}; the others are labelled")
    if failing:
        raise SystemExit(2)


def run_teacher(database: Any, name: str, *, quiet: bool, workers: int | None, **given: Any) -> Any:
    """Label by one teacher, showing progress, and return the report."""
    from mlffdb_workers import campaign

    count = workers or (campaign.default_workers() if given["device"] == "cpu" else 1)
    if workers is None and not name.startswith("gfn"):
        count = 1  # these use all cores, or the GPU, from one process
    with bar(f"labelling by {name}", quiet=quiet) as progress:
        return campaign.label(
            database,
            name,
            workers=count,
            on_progress=lambda p: progress.update(
                p.done + p.failed,
                p.done + p.failed + p.open,
                f"({p.failed:,} failed)" if p.failed else "",
            ),
            **given,
        )


def print_label_report(report: Any, *, hint: bool = True) -> None:
    """Print what came of labelling by one teacher, and what comes next."""
    found, totals = report.progress, report.totals
    if not (found.open or found.done or found.failed or found.cancelled):
        click.echo(f"{report.teacher}: nothing to label. Next: mlffdb status, to see why")
        return
    click.echo(
        f"{report.teacher}: {totals.done:,} labelled now; {found.done:,} labelled in all, "
        f"{found.open:,} open, {found.failed:,} failed, {found.cancelled:,} cancelled."
    )
    if report.rejected_before:
        click.echo(f"  {report.rejected_before:,} rejected by the checks before labelling")
    for code, count, example in report.failures:
        click.echo(f"  {count:,} × {code}: {example}")
    if totals.restarts:
        click.echo(f"  {totals.restarts} workers died and were started again")
    if hint and not found.open:
        click.echo("Next: mlffdb validate")


def _show_plan(
    database: Any, names: list[str], where: str | None, device: str, as_json: bool
) -> None:
    from mlffdb.pipeline import labelling

    rows = [labelling.would_label(database, name, where) for name in names]
    if as_json:
        print_json({"device": device, "teachers": rows})
        return
    for row in rows:
        click.echo(
            f"{row['teacher']} on {device}: {row['new']:,} structures without a label, "
            f"{row['open']:,} tasks open, {row['unchecked']:,} structures not checked yet."
        )
