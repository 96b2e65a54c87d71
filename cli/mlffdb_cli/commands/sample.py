"""`mlffdb sample`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlffdb_cli.options import connect, database_options, json_option, settings
from mlffdb_cli.output import print_json, print_rows, say
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
    from mlffdb_workers.campaign import SampleReport
    from mlffdb_workers.state import LoopOptions
    from mlffdb_workers.telemetry import Telemetry


@click.command(short_help="Sample structures from a plan.")
@click.argument("plan", required=False)
@database_options
@click.option("--workers", type=click.IntRange(1), help="Processes; one per core if not given.")
@click.option(
    "--device", default="cpu", show_default=True, help="cpu or cuda:N, for engines that can use it."
)
@loop_options
@telemetry_options
@click.option("--dry-run", is_flag=True, help="Print what would be made, and make nothing.")
@json_option
@stopping_is_no_error()
def sample(
    plan: str | None,
    workers: int | None,
    device: str,
    options: LoopOptions,
    telemetry: Telemetry,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Sample structures as PLAN says: a packaged plan's name or a YAML file.

    Without PLAN the one named in mlffdb.toml is taken; if there is none, the packaged plans are
    listed. A killed run continues where it was.

    \b
    Example:
      mlffdb sample quickstart --dry-run
      mlffdb sample my-plan.yaml --workers 8
    """
    from mlffdb.sampling import load_plan

    name = plan or settings().plan
    if name is None:
        _list_plans(as_json)
        return
    loaded = load_plan(name)
    if dry_run:
        show_plan(loaded, as_json)
        return
    from mlffdb.teachers.device import parse_device
    from mlffdb_workers import campaign

    parse_device(device)
    database = connect()
    with bar(f"sampling {loaded.name}", quiet=as_json) as progress:
        report = campaign.sample(
            database,
            loaded,
            workers=workers or campaign.default_workers(),
            device=device,
            options=options,
            telemetry=telemetry,
            on_stop=lambda: say_stopping(options),
            on_progress=lambda p: progress.update(
                p.done + p.failed, p.tasks, f"{p.inserted:,} structures, tasks"
            ),
        )
    database.close()
    if as_json:
        print_json(report)
    else:
        print_sample_report(report)
    if report.totals.interrupted:
        say_interrupted()
    elif complain(report):
        raise SystemExit(2)


def complain(report: SampleReport) -> bool:
    """Say what failed; returns whether anything did."""
    failed = report.totals.failed
    if failed:
        say(f"error: {failed:,} tasks failed; the structures of the others are there")
    return complain_of_stopped(report.totals) or bool(failed)


def print_sample_report(report: Any, *, hint: bool = True) -> None:
    """Print what came of sampling, and what comes next."""
    found = report.progress
    click.echo(
        f"{found.inserted:,} structures, {found.existing:,} found twice, "
        f"{sum(found.rejected.values()):,} rejected; "
        f"{found.done:,} of {found.tasks:,} tasks done"
        + (f", {found.failed:,} failed" if found.failed else "")
        + "."
    )
    for code, count in found.rejected.items():
        click.echo(f"  {count:,} × {code}")
    for code, count, example in report.failures:
        click.echo(f"  {count:,} tasks failed by {code}: {example}")
    if report.totals.restarts:
        click.echo(f"  {report.totals.restarts} workers died and were started again")
    if hint and not found.open and not report.totals.interrupted:
        click.echo("Next: mlffdb label, or mlffdb stats")


def show_plan(plan: Any, as_json: bool) -> None:
    """Print what a plan would make."""
    from mlffdb.sampling import describe

    rows = describe(plan)
    if as_json:
        print_json({"plan": plan.name, "digest": plan.digest, "blocks": rows})
        return
    print_rows(
        ["block", "domain", "source", "items", "methods", "makes", "engine"],
        [
            [row.block, row.domain, row.source, row.items, row.methods, row.expected, row.engines]
            for row in rows
        ],
        f"{plan.name}: {plan.description}" if plan.description else plan.name,
    )
    click.echo(f"{sum(row.expected for row in rows):,} structures if nothing is rejected.")
    for row in rows:
        for problem in row.problems:
            say(f"warning: {row.block}: {problem}")


def _list_plans(as_json: bool) -> None:
    from mlffdb.sampling import packaged_plans

    plans = packaged_plans()
    if as_json:
        print_json(plans)
        return
    print_rows(
        ["plan", "structures", "what"],
        [[plan.name, plan.expected, plan.description] for plan in plans],
        "Packaged plans",
    )
    click.echo("Start one: mlffdb sample NAME (add --dry-run to see what it makes)")
    click.echo('Or write your own, and name it in mlffdb.toml: plan = "my-plan.yaml"')
