"""`mlffdb run`: the whole pipeline in one command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlffdb.errors import MlffdbError
from mlffdb_cli.commands.export import print_export_report
from mlffdb_cli.commands.label import device_of, print_label_report, run_teacher
from mlffdb_cli.commands.sample import print_sample_report, show_plan
from mlffdb_cli.commands.validate import print_validation_report
from mlffdb_cli.options import (
    data_dir_option,
    database_options,
    json_option,
    settings,
    use_teachers,
)
from mlffdb_cli.output import print_json
from mlffdb_cli.progress import bar
from mlffdb_cli.telemetry_options import telemetry_options
from mlffdb_cli.working import complain_of_stopped, loop_options, say_stopping

if TYPE_CHECKING:
    from mlffdb_workers.gpus import Gpu
    from mlffdb_workers.state import LoopOptions
    from mlffdb_workers.telemetry import Telemetry

QUERIES = (
    "SELECT * FROM composition_by_element",
    "SELECT formula, energy_per_atom, force_max FROM dataset ORDER BY force_max DESC LIMIT 5",
    "SELECT method, structures FROM composition_by_method",
)  # fmt: skip


class InterruptedRunError(MlffdbError):
    """A stage was stopped by the user; running the command again continues."""

    exit_code = 130


@click.command(short_help="Do it all: init, sample, label, validate, export.")
@click.argument("plan")
@database_options
@click.option("--workers", type=click.IntRange(1), help="Processes; one per core if not given.")
@click.option("--gpu", type=click.IntRange(0), metavar="N", help="Compute on GPU number N.")
@click.option("--gpus", metavar="LIST", help="all, or numbers such as 0,1,3: a labelling process "
              "for each; sampling uses the first.")  # fmt: skip
@click.option("--device", help="cpu or cuda:N; cpu if none of these three is given.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of exports.")
@loop_options
@telemetry_options
@click.option("--dry-run", is_flag=True, help="Print what would be made, and make nothing.")
@json_option
def run(
    plan: str,
    workers: int | None,
    gpu: int | None,
    gpus: str | None,
    device: str | None,
    out: Path | None,
    options: LoopOptions,
    telemetry: Telemetry,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Do it all: init, sample, label, validate, export, and a short report.

    PLAN is a packaged plan's name or a YAML file. What is done already is skipped, so that an
    interrupted run continues and a finished one ends at once.

    \b
    Example:
      mlffdb run quickstart
      mlffdb run my-plan.yaml --gpu 0
    """
    from mlffdb.pipeline.labelling import default_teacher
    from mlffdb.pipeline.setup import prepare
    from mlffdb.sampling import load_plan
    from mlffdb.store import reader
    from mlffdb.store.database import Database
    from mlffdb_workers.gpus import choose_gpus

    if sum(given is not None for given in (gpu, gpus, device)) > 1:
        raise click.UsageError("give one of --gpu, --gpus and --device")
    loaded = load_plan(plan)
    if dry_run:
        show_plan(loaded, as_json)
        return
    use_teachers(click.get_current_context(), loaded.teachers)
    found = settings()
    where_it_runs = device_of(gpu, gpus, device)
    chosen = choose_gpus(gpus) if gpus is not None else []
    teachers = list(loaded.label.teachers) or [default_teacher(found, where_it_runs)]
    _check(loaded, teachers, where_it_runs)
    with Database(found) as database:
        stage = _Stages(as_json)
        init = prepare(database)
        stage.done("init", f"schema {init.after} in {init.database}")
        if loaded.export.where is not None:  # a mistake in it, seen now
            reader.select_labelled(database, loaded.export.where, teacher_id=0)
        report = _stages(
            database,
            loaded,
            teachers,
            workers=workers,
            device=where_it_runs,
            gpus=chosen,
            options=options,
            telemetry=telemetry,
            out=out or found.exports_dir,
            stage=stage,
        )
    if as_json:
        print_json({"plan": loaded.name, "init": init, **report, "seconds": stage.seconds})
        return
    click.echo(f"\nDone in {sum(stage.seconds.values()):.0f} s ({stage.summary()}).")
    click.echo(f"Files: {report['export'].path}")
    click.echo("Ask the database, for example:")
    option = data_dir_option()
    for query in QUERIES:
        click.echo(f'  mlffdb sql{option} "{query}"')


def _check(plan: Any, teachers: list[str], device: str) -> None:
    """Raise now what would stop a later stage, after hours perhaps."""
    from mlffdb.teachers import registry
    from mlffdb.validation import load_thresholds

    for name in teachers:
        registry.check_device(name, device)
    load_thresholds(plan.validation.thresholds)


def _stages(
    database: Any,
    plan: Any,
    teachers: list[str],
    *,
    workers: int | None,
    device: str,
    gpus: Sequence[Gpu],
    options: LoopOptions,
    telemetry: Telemetry,
    out: Path,
    stage: _Stages,
) -> dict[str, Any]:
    from mlffdb.pipeline import exporting, validating
    from mlffdb_workers import campaign

    quiet = stage.quiet
    with bar("sampling", quiet=quiet) as progress:
        sampled = campaign.sample(
            database,
            plan,
            workers=workers or campaign.default_workers(),
            device=device,
            options=options,
            telemetry=telemetry,
            on_stop=lambda: say_stopping(options),
            on_progress=lambda p: progress.update(
                p.done + p.failed, p.tasks, f"{p.inserted:,} structures, tasks"
            ),
        )
    stage.done("sample", print_sample_report, sampled)
    _go_on(sampled)
    labelled = []
    for name in teachers:
        labelled.append(
            run_teacher(
                database,
                name,
                quiet=quiet,
                workers=workers,
                device=device,
                gpus=gpus,
                options=options,
                telemetry=telemetry,
            )
        )
        stage.done("label", print_label_report, labelled[-1])
        _go_on(labelled[-1])
    with bar("validating", quiet=quiet) as progress:
        validated = validating.validate(
            database,
            thresholds_file=plan.validation.thresholds,
            on_progress=lambda what, done, total: progress.update(done, total, what),
        )
    stage.done("validate", print_validation_report, validated)
    with bar("exporting", quiet=quiet) as progress:
        exported = exporting.export(
            database,
            plan.export.name or plan.name,
            teacher=plan.export.teacher or teachers[0],
            out=out,
            where=plan.export.where,
            split="/".join(f"{share:g}" for share in plan.export.split),
            seed=plan.export.seed,
            on_progress=progress.update,
        )
    stage.done("export", print_export_report, exported)
    return {"sample": sampled, "label": labelled, "validate": validated, "export": exported}


def _go_on(report: Any) -> None:
    complain_of_stopped(report.totals)
    if report.totals.interrupted:
        raise InterruptedRunError("interrupted; run the same command again to continue")


class _Stages:
    """Prints each stage's result as it ends, and keeps its time."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    def done(self, name: str, show: Any, *arguments: Any) -> None:
        """Note the end of stage *name*; *show* is a line, or prints a report."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._begun
        self._begun = now
        if self.quiet:
            return
        if callable(show):
            click.echo(click.style(f"\n{name}", bold=True))
            show(*arguments, hint=False)
        else:
            click.echo(click.style(name, bold=True) + f": {show}")

    def summary(self) -> str:
        """Return the stages with their seconds."""
        return ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.seconds.items())
