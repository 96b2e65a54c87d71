"""`--launcher`: the same command on a cluster instead of here."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mlffdb_cli.options import Command, connect, settings
from mlffdb_cli.output import print_json, say
from mlffdb_cli.progress import bar

if TYPE_CHECKING:
    from mlffdb_workers.launchers import Launch

#: Options that are about launching, or that each worker gets anew.
NOT_REPEATED = ("launcher", "names", "workers", "gpu", "gpus", "device", "dry_run", "as_json")
#: Options that make no sense without --launcher.
LAUNCHING = ("gpus_per_worker", "cpus_per_worker", "time_limit", "sbatch")

#: Options that workers on several machines cannot share, and what to do instead.
ONE_FILE = {
    "profile": "profile one worker by `mlffdb label --profile` on one of them",
    "log_file": "each logs to a file of its own in this folder",
}


def launch_options(command: Command) -> Command:
    """Add the options of launching; with --launcher, *command* is submitted and not called."""

    @functools.wraps(command)
    def launched(**given: Any) -> Any:
        launcher = given.pop("launcher")
        asked = {name: given.pop(name) for name in LAUNCHING}
        if launcher != "local":
            return _launch(launcher, asked, given)
        if any(asked.values()):
            raise click.UsageError(
                "--gpus-per-worker, --cpus-per-worker, --time and --sbatch go with --launcher"
            )
        return command(**given)

    for option in reversed(_OPTIONS):
        launched = option(launched)
    return launched


_OPTIONS = (
    click.option(
        "--launcher",
        type=click.Choice(["local", "slurm", "print"]),
        default="local",
        help="Where --workers run: here, or as a Slurm array job; print shows the job's script.",
    ),
    click.option(
        "--gpus-per-worker", type=click.IntRange(1), metavar="N", help="GPUs of each Slurm task."
    ),
    click.option(
        "--cpus-per-worker",
        type=click.IntRange(1),
        metavar="N",
        help="Cores of each Slurm task; 2 per GPU, or 1, if not given.",
    ),
    click.option(
        "--time", "time_limit", metavar="TIME", help="Time limit of each Slurm task, like 12:00:00."
    ),
    click.option(
        "--sbatch",
        multiple=True,
        metavar="OPTION",
        help="Further option of sbatch, like --sbatch=--partition=gpu; may be given again.",
    ),
)


def _launch(kind: str, asked: dict[str, Any], given: dict[str, Any]) -> None:
    """Show the job's script, or submit it and say how to watch it."""
    from mlffdb.pipeline import labelling, validating
    from mlffdb_workers.launchers import launch_workers
    from mlffdb_workers.launchers.environment import is_loopback, shared_environment
    from mlffdb_workers.launchers.slurm import Slurm

    if any(given.get(name) is not None for name in ("gpu", "gpus", "device")):
        raise click.UsageError("with --launcher give --gpus-per-worker instead of a device")
    found = settings()
    environment = shared_environment(found)
    launcher = Slurm()
    with connect() as database:
        gpus = asked["gpus_per_worker"] or 0
        names = given["names"] or labelling.choose_teachers(database, found, gpu=gpus > 0)
        launch = _request(names, gpus, asked, given, environment)
        script = launcher.script(launch)
        if kind == "print" or given["dry_run"]:
            _show_script(script, as_json=given["as_json"])
            return
        with bar("checking structures", quiet=given["as_json"]) as progress:
            # here and once, or every worker would begin by checking the same ones
            validating.validate_structures(
                database, on_progress=lambda what, done, n: progress.update(done, n, what)
            )
        plan = [labelling.would_label(database, name, given["where"]) for name in names]
        report = launch_workers(database, launcher, launch, name=", ".join(names))
    if is_loopback(found):
        say("note: the database's URL is that of this machine for itself; others cannot reach it")
    if given["as_json"]:
        print_json({"run_id": report.run_id, **asdict(report.submission), "teachers": plan})
        return
    for row in plan:
        click.echo(
            f"{row['teacher']}: {row['new']:,} structures without a label, "
            f"{row['open']:,} tasks open."
        )
    job = report.submission
    click.echo(f"Submitted job {job.job_id}: {launch.workers} × {shlex.join(launch.command)}")
    click.echo("Watch it: " + ", ".join([*job.watch, "mlffdb status --watch"]))
    click.echo(f"Stop it: {job.stop}")


def _request(
    names: Sequence[str],
    gpus: int,
    asked: dict[str, Any],
    given: dict[str, Any],
    environment: dict[str, str],
) -> Launch:
    """Return what to launch; raises TeacherError where a teacher cannot use what it would get."""
    from mlffdb.teachers import registry
    from mlffdb_workers.launchers import Launch

    for name in names:
        registry.check_device(name, "cuda:0" if gpus else "cpu")
    cpus = asked["cpus_per_worker"] or max(1, 2 * gpus)
    teachers = [word for name in names for word in ("--teacher", name)]
    # a method for one core has a process on each; a model has all cores of one process
    processes = cpus if all(registry.describe(name).cpu_only for name in names) else 1
    device = ("--gpus", "all") if gpus else ("--device", "cpu", "--workers", str(processes))
    return Launch(
        command=("label", *teachers, *device, *_repeated()),
        workers=given["workers"] or 1,
        environment=environment if gpus else {**environment, "OMP_NUM_THREADS": str(cpus)},
        folder=Path.cwd(),
        gpus_per_worker=gpus,
        cpus_per_worker=cpus,
        time=asked["time_limit"],
        options=tuple(asked["sbatch"]),
    )


def _repeated() -> Iterator[str]:
    """Give the options of this command line that each worker gets too."""
    context = click.get_current_context()
    telemetry = (context.find_object(dict) or {}).get("telemetry", {})
    values = {**context.params, **telemetry}
    for option in context.command.params:
        name = option.name or ""
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not typed or name not in values or name in (*NOT_REPEATED, *LAUNCHING):
            continue
        if name in ONE_FILE:
            raise click.UsageError(
                f"{option.opts[0]} names one file, and cannot go with --launcher, which starts "
                f"workers on several machines; {ONE_FILE[name]}"
            )
        value = values[name]
        if isinstance(option, click.Option) and option.is_flag:
            yield (option.opts if value else option.secondary_opts)[0]
            continue
        for one in value if option.multiple else [value]:
            yield from (option.opts[0], str(one))


def _show_script(script: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"script": script})
    else:
        click.echo(script, nl=False)
