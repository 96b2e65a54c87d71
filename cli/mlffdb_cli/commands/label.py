"""`mlffdb label`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mlffdb_cli.launching import launch_options
from mlffdb_cli.options import (
    connect,
    database_options,
    json_option,
    plan_teachers_option,
    settings,
)
from mlffdb_cli.output import print_json, say
from mlffdb_cli.progress import bar
from mlffdb_cli.telemetry_options import telemetry_options
from mlffdb_cli.working import (
    complain_of_stopped,
    loop_options,
    say_interrupted,
    say_stopping,
    stopping_is_no_error,
)

if TYPE_CHECKING:
    from mlffdb_workers.campaign import LabelReport
    from mlffdb_workers.state import LoopOptions
    from mlffdb_workers.telemetry import Telemetry


@click.command(short_help="Label structures with energy, forces and stress.")
@database_options
@click.option("--teacher", "names", multiple=True, help="Who labels; may be given more than once.")
@plan_teachers_option
@click.option("--gpu", type=click.IntRange(0), metavar="N", help="Compute on GPU number N.")
@click.option("--gpus", metavar="LIST", help="all, or numbers such as 0,1,3: a process for each.")
@click.option("--device", help="cpu or cuda:N; cpu if none of these three is given.")
@click.option("--workers", type=click.IntRange(1), help="Processes, with --gpus so many on "
              "each; else one, or one per core for a teacher that uses one core.")  # fmt: skip
@click.option("--follow/--until-empty", help="Go on with structures that come later, or end when "
              "nothing is open (the default).")  # fmt: skip
@click.option("--where", metavar="CONDITION", help="Only structures that meet this SQL condition "
              "over the view structures.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="At most so many open tasks.")
@click.option("--order", type=click.Choice(["mixed", "cost"]), default="mixed", show_default=True,
              help="mixed: every stretch has all sizes; cost: small structures first.")  # fmt: skip
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, metavar="N",
              help="Of the tasks that this command adds; smaller is labelled first.")  # fmt: skip
@launch_options
@loop_options
@telemetry_options
@click.option("--dry-run", is_flag=True, help="Say what would be labelled, and label nothing.")
@json_option
@stopping_is_no_error()
def label(
    names: tuple[str, ...],
    gpu: int | None,
    gpus: str | None,
    device: str | None,
    workers: int | None,
    where: str | None,
    limit: int | None,
    order: str,
    priority: int,
    options: LoopOptions,
    telemetry: Telemetry,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Label the structures that have no label yet, with energy, forces and stress.

    Without --teacher: the teachers that have open tasks, else the configured one, else orb-v2 on
    a GPU and gfn2-xtb without. Structures are checked first. Interrupting it is safe, and running
    it again continues. Ends with 2 if some could not be labelled; the others are.

    A first Ctrl-C (or SIGTERM) lets the batch at hand end, as long as --grace says.

    \b
    Example:
      mlffdb label --gpus all
      mlffdb label --teacher gfn2-xtb --workers 8
      mlffdb label --launcher slurm --workers 8 --gpus-per-worker 1 --time 8:00:00
    """
    from mlffdb.pipeline import labelling
    from mlffdb.teachers import registry
    from mlffdb_workers.gpus import choose_gpus

    if sum(given is not None for given in (gpu, gpus, device)) > 1:
        raise click.UsageError("give one of --gpu, --gpus and --device")
    if options.follow and len(names) > 1:
        raise click.UsageError("--follow takes one --teacher")
    where_it_runs = device_of(gpu, gpus, device)
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
    found = choose_gpus(gpus) if gpus is not None else []
    reports = []
    for name in chosen:
        report = run_teacher(
            database,
            name,
            device=where_it_runs,
            gpus=found,
            workers=workers,
            where=where,
            limit=limit,
            order=order,
            priority=priority,
            options=options,
            telemetry=telemetry,
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
        say_interrupted()
        return
    if complain(reports):
        raise SystemExit(2)


def complain(reports: Sequence[LabelReport]) -> bool:
    """Say what failed; returns whether anything did."""
    failing = [report for report in reports if report.totals.failed and report.failures]
    for report in failing:
        reasons = ", ".join(f"{count:,} × {code}" for code, count, _ in report.failures)
        say(f"error: {report.teacher} could not label all: {reasons}; the others are labelled")
    stopped = [complain_of_stopped(report.totals) for report in reports]
    return bool(failing) or any(stopped)


def device_of(gpu: int | None, gpus: str | None, device: str | None) -> str:
    """Return the device that the options name; inside of each process of --gpus it is cuda:0."""
    if gpus is not None:
        return "cuda:0"
    return f"cuda:{gpu}" if gpu is not None else device or "cpu"


def run_teacher(
    database: Any,
    name: str,
    *,
    quiet: bool,
    workers: int | None,
    options: LoopOptions,
    **given: Any,
) -> Any:
    """Label by one teacher, showing progress, and return the report."""
    from mlffdb.teachers import registry
    from mlffdb_workers import campaign

    # a method for one core has a process on each; a model has all cores, or the GPU, of one
    each = campaign.default_workers() if registry.describe(name).cpu_only else 1
    with bar(f"labelling by {name}", quiet=quiet) as progress:
        return campaign.label(
            database,
            name,
            workers=workers or each,
            options=options,
            on_stop=lambda: say_stopping(options),
            on_progress=lambda p: progress.update(
                p.done + p.failed,
                p.done + p.failed + p.open,
                f"({p.failed:,} failed)" if p.failed else "",
                cost=(p.ended_cost, p.ended_cost + p.open_cost),
            ),
            **given,
        )


def print_label_report(report: Any, *, hint: bool = True) -> None:
    """Print what came of labelling by one teacher, and what comes next."""
    found, totals = report.progress, report.totals
    if not report.teacher_id:
        click.echo(f"{report.teacher}: stopped before it was loaded.")
        return
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
    if hint and not found.open and not totals.interrupted:
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
