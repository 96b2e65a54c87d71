"""`mlffdb audit`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import (
    connect,
    database_options,
    json_option,
    plan_teachers_option,
    settings,
)
from mlffdb_cli.output import print_json, print_rows, say
from mlffdb_cli.progress import bar

#: Exit status where labels do not come out again.
DISAGREES = 1


@click.command(short_help="Compute a random sample of labels again and compare.")
@database_options
@click.option("--teacher", metavar="NAME", help="Whose labels, NAME or NAME@FINGERPRINT; the only "
              "one if not given.")  # fmt: skip
@plan_teachers_option
@click.option("--fraction", type=click.FloatRange(0, 1, min_open=True), default=0.01,
              show_default=True, help="Share of its labels.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@click.option("--device", default="cpu", help="cpu or cuda:N; best another than they came from.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the sample; drawn if not given.")
@click.option("--across", is_flag=True,
              help="Compare even if the teacher here is another version.")  # fmt: skip
@json_option
def audit(
    teacher: str | None,
    fraction: float,
    limit: int | None,
    device: str,
    seed: int | None,
    across: bool,
    as_json: bool,
) -> None:
    """Compute a random sample of labels again and compare, to find faults of hardware or libraries.

    It runs in a process of its own, in other batches, and on another device if you name one. What
    differs by more than the tolerance that the teacher declares is listed, and the command ends
    with 1. All that was computed is kept in the table audit; labels stay as they are.

    \b
    Example:
      mlffdb audit --fraction 0.01
      mlffdb audit --teacher orb-v2 --device cuda:1 --limit 1000
    """
    from mlffdb.pipeline import auditing

    database = connect()
    with bar("auditing", quiet=as_json) as progress:
        report = auditing.audit(
            database,
            settings(),
            teacher=teacher,
            fraction=fraction,
            limit=limit,
            device=device,
            seed=seed,
            across=across,
            on_progress=progress.update,
        )
    database.close()
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.disagreeing:
        raise SystemExit(DISAGREES)


def _print(report: Any) -> None:
    largest = report.largest
    parts = [
        f"{value:.2g} {unit}"
        for value, unit in (
            (largest.energy, "eV/atom"),
            (largest.force, "eV/Å"),
            (largest.stress, "eV/Å³"),
        )
        if value is not None
    ]
    click.echo(
        f"{report.audited:,} of {report.labels:,} labels by {report.teacher} computed again on "
        f"{report.device} (seed {report.seed}); largest differences {', '.join(parts) or 'none'}."
    )
    if report.fingerprint_here != report.fingerprint:
        click.echo("The teacher here is another version than that of the labels.")
    if not report.disagreeing:
        click.echo("All agree within the teacher's tolerance. Next: mlffdb export NAME")
        return
    rows = [
        [str(one.structure_id), one.formula, one.energy, one.force, one.why] for one in report.worst
    ]
    print_rows(["structure", "formula", "eV/atom", "eV/Å", "why"], rows)
    say(
        f"error: {report.disagreeing:,} of {report.audited:,} labels do not come out again; export "
        "none by this teacher before it is known why"
    )
