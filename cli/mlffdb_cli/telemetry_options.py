"""Options about logs, metrics and traces, of every command that starts workers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlffdb_cli.options import Command
from mlffdb_cli.output import print_rows

if TYPE_CHECKING:
    from mlffdb_workers.trace import WorkerPhases

FILE = click.Path(path_type=Path, dir_okay=False, resolve_path=True)
#: Phases that the summary shows; the last four run beside the first three.
PHASES = ("load", "compute", "wait", "claim", "prepare", "write", "renew")
#: Fields of Telemetry.
_FIELDS = ("log_level", "log_format", "log_file", "metrics_port", "metrics_host", "profile")


def telemetry_options(command: Command) -> Command:
    """Add logs, metrics and traces; *command* gets them as ``telemetry``, and is told about."""

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        from mlffdb_workers.telemetry import Telemetry, telling

        fields = {name: given.pop(name) for name in _FIELDS}
        found = {name: value for name, value in fields.items() if value is not None}
        if found.keys() & {"log_file", "log_format"}:
            found.setdefault("log_level", "info")
        telemetry = Telemetry(**found)
        if given["dry_run"]:
            return command(telemetry=telemetry, **given)

        def show(workers: list[WorkerPhases]) -> None:
            if workers and not given["as_json"]:
                _print_phases(workers)
                click.echo(f"Trace: {telemetry.profile}, for https://ui.perfetto.dev")

        with telling(telemetry, show):
            return command(telemetry=telemetry, **given)

    for option in reversed(_OPTIONS):
        called = option(called)
    return called


_OPTIONS = (
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="How much is logged; info if a file or a format is given, else warning.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        help="A line of text or a JSON object per event; text if not given.",
    ),
    click.option(
        "--log-file", type=FILE, help="Append the log to this file instead of standard error."
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help="Serve Prometheus metrics on this port; further workers take the ports after it.",
    ),
    click.option(
        "--metrics-host",
        metavar="HOST",
        help="Address that metrics are served on; 127.0.0.1 if not given.",
    ),
    click.option(
        "--profile",
        type=FILE,
        help="Write a trace of what the workers did, for ui.perfetto.dev.",
    ),
)


def _print_phases(workers: list[WorkerPhases]) -> None:
    click.echo()
    print_rows(
        ["worker", "seconds", *PHASES],
        [
            [worker.name, round(worker.seconds, 1), *(f"{worker.share(p):.1%}" for p in PHASES)]
            for worker in workers
        ],
        "Share of each worker's time; claim to renew go on beside the others",
        expendable=["renew", "prepare"],
    )
